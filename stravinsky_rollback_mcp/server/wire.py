"""Standard input and output as the server uses them: bounded lines in, an event for the first message out."""

import io
import sys
from types import TracebackType
from typing import Any, BinaryIO, Self

import anyio
import anyio.from_thread

MAX_LINE_BYTES = 1 << 20


def complain(text: str) -> None:
    """Standard output belongs to the protocol; people find this in the client's log."""
    sys.stderr.write(f"stravinsky-rollback-mcp: {text}\n")
    sys.stderr.flush()


class CappedLines(io.TextIOBase):
    """Standard input by lines; one that is longer than any honest request is passed over without being kept.

    The SDK itself reads a line of any length into memory, several times over. ``ended`` is set, on the event loop,
    once there will be no more.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.ended = anyio.Event()

    def readline(self, _size: int | None = -1, /) -> str:
        """The next line; an empty one in place of one that was too long."""
        line = self._source.readline(MAX_LINE_BYTES)
        if not line:
            anyio.from_thread.run_sync(self.ended.set)
        if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
            return line.decode("utf-8", "replace")
        while line and not line.endswith(b"\n"):
            line = self._source.readline(MAX_LINE_BYTES)
        complain(f"a message of more than {MAX_LINE_BYTES} bytes was passed over")
        return "\n"


class FirstReply:
    """The outgoing stream, with an event for its first message."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - the SDK's own stream type is private
        self._stream = stream
        self.sent = anyio.Event()

    async def send(self, item: Any, /) -> None:  # noqa: ANN401
        """Pass a message on, then let those know who wait for the first."""
        await self._stream.send(item)
        self.sent.set()

    async def aclose(self) -> None:
        """Close the stream behind."""
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()
