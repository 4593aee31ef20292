"""The way of every command: read the configuration, ask the service, answer, and leave with the agreed status.

Answers go to standard output: one JSON document with ``--json``, else words for people. Questions, refusals and the
sign of patience go to standard error, so that a pipe holds answers only.
"""

import contextlib
import functools
import getpass
import io
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, TypeVar

import click

from stravinsky_rollback_mcp.errors import EXIT_DONE, Code, RollbackError, exit_code

if TYPE_CHECKING:
    from rich.console import Console

    from stravinsky_rollback_mcp.config import Config
    from stravinsky_rollback_mcp.schema import Spoken
    from stravinsky_rollback_mcp.service import Caller, RollbackService

Outcome = TypeVar("Outcome")
Answer = TypeVar("Answer", bound="Spoken")
Decorated = TypeVar("Decorated", bound=Callable[..., object])

_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What every command accepts."""

    as_json: bool
    project: str | None
    store: str | None
    is_quiet: bool
    is_plain: bool
    is_unaudited: bool = False


def with_terminal(function: Callable[..., int | None]) -> Callable[..., None]:
    """A command's function gets a ``Terminal`` first and may return an exit status; refusals are shown here."""

    @functools.wraps(function)
    def command(
        *,
        as_json: bool,
        project: str | None,
        store: str | None,
        quiet: bool,
        no_color: bool,
        without_audit: bool = False,
        **given: object,
    ) -> None:
        options = Options(
            as_json=as_json,
            project=project,
            store=store,
            is_quiet=quiet,
            is_plain=no_color,
            is_unaudited=without_audit,
        )
        context = click.get_current_context()
        context.exit(_run(Terminal(options, _words(context)), function, given))

    for option in reversed(_COMMON):
        command = option(command)
    return command


_COMMON = (
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document, as the MCP tools return it."),
    click.option("--project", metavar="DIR", help="The project; else the nearest folder above with a .claude."),
    click.option("--store", metavar="DIR", help="Where backups lie; else ~/.stravinsky/rollback."),
    click.option("--quiet", is_flag=True, help="Print nothing when all went well."),
    click.option("--no-color", is_flag=True, help="Plain text, also on a terminal."),
)


WITHOUT_AUDIT = click.option(
    "--without-audit", is_flag=True, help="Go on where the audit cannot be written; it takes this over later."
)


def example(words: str) -> str:
    """The end of a command's help; the first character keeps its lines as they are."""
    return f"\b\nExample:\n  stravinsky-rollback {words}"


def _words(context: click.Context) -> str:
    """The command as it was typed, without the program: ``backup create``."""
    names: list[str] = []
    while context.parent is not None:
        names.append(context.info_name or "")
        context = context.parent
    return " ".join(reversed(names))


def _run(terminal: "Terminal", function: Callable[..., int | None], given: Mapping[str, object]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding cannot show is shown escaped; it must not end the command.
            stream.reconfigure(errors="backslashreplace")
    try:
        return function(terminal, **given) or EXIT_DONE
    except RollbackError as error:
        return terminal.refuse(error)
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        # What it says may quote anything, so only its kind is shown.
        return terminal.refuse(
            RollbackError(
                Code.INTERNAL,
                f"an unforeseen {type(error).__name__}.",
                "`stravinsky-rollback status` tells how things stand.",
            )
        )


class Terminal:
    """One run of one command: what was asked for, who asks, and where the answer goes."""

    def __init__(self, options: Options, command: str) -> None:
        self.options = options
        self._command = command
        self._config: Config | None = None
        self._service: RollbackService | None = None

    # -- asking the service -----------------------------------------------------------------------------------

    def ask(self, use_case: "Callable[[RollbackService, Caller], Awaitable[Outcome]]") -> Outcome:
        """What a use case returns. Raises its refusal, or that of the configuration."""
        import anyio

        service, caller = self._service_and_caller()
        return anyio.run(self._patiently, lambda: use_case(service, caller))

    def refusal(self, operation: str, arguments: Mapping[str, object], error: RollbackError) -> RollbackError:
        """The error, once the audit has it: for what is refused here and not by a use case."""
        return self.ask(lambda service, caller: service.refuse(caller, operation, arguments, error))

    def _service_and_caller(self) -> "tuple[RollbackService, Caller]":
        from stravinsky_rollback_mcp import config as configuration
        from stravinsky_rollback_mcp.service import Actor, Caller, MadeBy, RollbackService

        if self._config is None or self._service is None:
            self._config = configuration.of_process(
                for_terminal=True, project=self.options.project, store=self.options.store
            )
            self._service = RollbackService(self._config, without_audit=self.options.is_unaudited)
        actor = Actor(kind="terminal", name=_login_name(), session_id=self._config.session_id, tool=self._command)
        return self._service, Caller(actor=actor, made_by=MadeBy.TERMINAL)

    async def _patiently(self, request: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Wait for the request; a person who waits longer than a moment sees that something is being done."""
        import anyio

        if self.options.as_json or self.options.is_quiet or not is_terminal(sys.stderr):
            return await request()
        failure: Exception | None = None
        outcome: list[Outcome] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._show_patience)
            try:
                outcome.append(await request())
            except Exception as error:
                # Raised below: out of the group it would come wrapped.
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return outcome[0]

    async def _show_patience(self) -> None:
        import anyio

        await anyio.sleep(_PATIENCE_SECONDS)
        with self._console(is_error=True).status("Reading and comparing …"):
            await anyio.sleep_forever()

    # -- asking the person ------------------------------------------------------------------------------------

    @property
    def can_ask(self) -> bool:
        """Whether a person sits at the other end of standard input."""
        return is_terminal(sys.stdin)

    def confirms(self, question: str) -> bool:
        """The person's answer; no answer is no."""
        try:
            # `input` writes to standard output, which is for the answer of the command.
            with contextlib.redirect_stdout(sys.stderr):
                return click.confirm(question, default=False, err=True)
        except click.Abort:
            click.echo(err=True)
            return False

    def require_agreement(
        self,
        operation: str,
        arguments: Mapping[str, object],
        shown: tuple[Answer, "Callable[[Console, Answer], None]"],
        question: str,
        lines: Sequence[str] = (),
    ) -> None:
        """Show what would be done and ask. Raises ``confirm_required`` where nobody sits there, ``declined`` for no."""
        if not self.can_ask:
            error = RollbackError(
                Code.CONFIRM_REQUIRED,
                "this asks first, and there is no terminal to ask at.",
                "look with --dry-run, then add --yes.",
                lines=tuple(lines),
            )
            raise self.refusal(operation, arguments, error)
        self.show_before_question(*shown)
        if not self.confirms(question):
            error = RollbackError(Code.DECLINED, "nothing was changed.", "call again when you want it.")
            raise self.refusal(operation, arguments, error)

    # -- answering --------------------------------------------------------------------------------------------

    def show(
        self,
        answer: Answer,
        rendering: "Callable[[Console, Answer], None]",
        *,
        is_good: bool = True,
        is_aside: bool = False,
    ) -> None:
        """The answer as JSON or for people; with ``--quiet`` people only hear what is not good.

        ``is_aside``: standard output belongs to somebody else, so people are told on standard error.
        """
        if self.options.as_json:
            click.echo(answer.model_dump_json(indent=2))
        elif not (self.options.is_quiet and is_good):
            rendering(self._console(is_error=is_aside), answer)

    def show_before_question(self, answer: Answer, rendering: "Callable[[Console, Answer], None]") -> None:
        """What the person is about to be asked about, ``--quiet`` or not."""
        rendering(self._console(is_error=True), answer)

    def console_for_trouble(self) -> "Console":
        """Where to tell what is wrong beside an answer that is on standard output already."""
        return self._console(is_error=True)

    def refuse(self, error: RollbackError) -> int:
        """Show why not, and what to do next; returns the exit status."""
        if self.options.as_json:
            import json

            members = {
                "code": error.code,
                "message": error.message,
                "next": error.hint,
                "lines": list(error.lines),
                "notices": list(error.notices),
            }
            click.echo(json.dumps({"error": members}, indent=2))
        else:
            from stravinsky_rollback_mcp.cli import render

            render.refusal(self._console(is_error=True), error)
        return exit_code(error.code)

    def _console(self, *, is_error: bool = False) -> "Console":
        from rich.console import Console

        console = Console(stderr=is_error, markup=False, emoji=False, highlight=False)
        if self.options.is_plain or console.no_color:
            return Console(stderr=is_error, markup=False, emoji=False, highlight=False, color_system=None)
        return console


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person is there; a stream that was closed before we began is None."""
    return stream is not None and stream.isatty()


def _login_name() -> str:
    try:
        return getpass.getuser()[:100]
    except (OSError, KeyError, ImportError):
        # A container may run us under a number without a name.
        return ""
