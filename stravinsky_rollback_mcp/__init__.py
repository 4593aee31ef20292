"""Back up, list, roll back, undo, redo and audit Claude Code's configuration, from inside the session or a terminal.

The way through the house, in one direction only::

    tool or command -> service -> gather (read disk) -> plan (pure) -> execute (write disk) -> result -> schema

``errors``   the one error, and the one table of its codes
``core``     the rules, pure: ``model`` (the values), ``components`` (what is protected), ``policy`` (what may be set),
             ``names``, ``times``, ``tar``, ``codec`` (every format on disk, both ways), ``settings``, ``scripts`` and
             ``invocations`` (what Claude Code would read and run), ``checks`` (what is wrong with it), ``diff``,
             ``keypaths``, ``selection``, ``selectors``, ``pointer`` and ``splice`` (one key of a file), ``plan``,
             ``onset`` (when a change holds in a session), ``history`` (undo and redo), ``adoption`` (of a project that
             moved), ``retention`` (what may go), ``aftermath`` (what an update did), ``carry`` (what a rotated log
             takes over), ``security_changes`` (what asks first), ``masking`` (what may be told of a text),
             ``masked_lines``, ``unified`` and ``comparison`` (a diff without secrets), ``outcome`` and
             ``outcome_keeping`` (what the use cases return)
``disk``     synchronous I/O: ``atomic`` (the only writer), ``lock``, ``place`` and ``scan`` (live targets) with
             ``attributes``, ``content``, ``peek``, ``memory`` and ``stillness``, ``git`` (where HEAD stands),
             ``watch`` (whether a hook has anything to do), ``archive`` and ``compression``, ``capture`` and
             ``store`` (backups), ``ground`` (where it may lie) and ``shelf`` (what lies in it), ``quarantine``,
             ``salvage`` (what can still be read), ``updates``, ``stage``, ``swap`` and ``retire`` (one target's
             change), ``journal``, ``execute`` (all, or none), ``ending`` (taken back, finished, or set aside) and
             ``attention`` (what a person is told),
             ``probe``, ``syntax`` and ``interpreters`` (evidence for the checks), ``audit`` (the chain) with
             ``audit_chain``,
             ``audit_lines`` and ``audit_proof`` (reading and proving it), ``audit_archive`` and ``audit_rotation``
             (what was put away), ``audit_index`` and ``audit_rows`` (finding), ``audit_restart`` (a broken one begun
             anew) and ``audit_pending`` (done while it could not be written)
``config``   the only reader of environment, home and ``config.json``
``service``  one async method per use case, ``requests`` the way of each; ``desk`` owns clock, ids and the ways in;
             ``stored`` tells which backups exist, ``selectors`` which one is meant, ``walk`` where undo leads;
             ``look``, ``parts``, ``intent`` and ``recover`` plan, ``picture`` with ``evidence`` and ``documents``
             shows checks what would be; ``backup`` and ``drift``, ``restore`` with ``report``, ``emergency``,
             ``update`` with ``aftermath``, ``compare``, ``checks``, ``reading``, ``keeping``, ``forgetting``,
             ``adoption``, ``configuration``, ``unlock``, ``audit`` and ``anew`` are the use cases; ``retention`` and
             ``quarantine`` keep the store small and sound, ``latest`` its note of what is live, ``room`` asks the disk
             and it for room; ``notices`` is what every answer tells, ``underway`` what is not at its end, ``refusals``
             counts floods
``schema``   pydantic arguments and results, for the server and for ``--json``
``server``   MCP over stdio, ``asking`` the person; ``cli`` the terminal twin, and ``start`` where that begins

Words: a *scope* is the person's configuration (``user``) or one project's; a *component* one kind of it (hooks,
commands, settings); a *target* one component in one scope; a *backup* an immutable record of all targets in view at
one moment, named by its *version*; a *tree* what a target holds, compared by *digest*; a *plan* what a restore would
do; a *slot* a staged or displaced tree beside its target; the *journal* records the one operation in flight, and is
parked when only a person can end that; the *audit* is the chain of everything that was done, refused or found; *drift*
is a change that was not ours.

Where something new belongs: a component is a row in ``core/components.py``; a tool is a service method, a model in
``schema``, a row in ``server/tools.py`` and a command; a step of the protocol is in ``disk/execute.py``, on the way
back in ``disk/ending.py``, and nowhere else.
"""
