"""What is done for a verb that changes state, looked up by the verb's name: the file of the verb says it.

Such a file in `watcher/commands/` has, beside the command that a person types,

- `do(work, arguments)`: what is done, by the daemon or by a command that holds the daemon's lock. It returns the
  answer, or an `AfterFlush`; it raises LemonadeError. Arguments and answer are plain JSON: they stand in the database.
- `DONE_BY`: which thread of the daemon does it.

A request that no verb of its own asks for (`backfill` is an option of `types update`) has both in `watcher/deeds/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from metadata.errors import UsageError
from watcher.deeds.command_files import find_verb_file

if TYPE_CHECKING:
    from metadata.types.file_type import FileType
    from watcher.work.flush_report import FlushReport
    from watcher.work.work import Work


class DaemonThread(StrEnum):
    """Who of the daemon's threads does a verb."""

    MAIN = "main"  #: between two looks, at once: what is over in an instant, such as a change of the registry
    BATCHES = "batches"  #: in turn with the flushes: what moves source files or changes tables
    SUMMARY = "summary"  #: beside the flushes: what takes long and touches no table that they touch


@dataclass(frozen=True)
class AfterFlush:
    """The answer to a request told when these types were flushed; only for deeds of the batches' thread."""

    types: list[FileType]
    tell: Callable[[FlushReport], dict[str, Any]]  #: raises what the verb ends with


@dataclass(frozen=True)
class Deed:
    """What is done for a verb."""

    thread: DaemonThread
    do: Callable[[Work, dict[str, Any]], dict[str, Any] | AfterFlush]


def deed_of(verb: str) -> Deed:
    """What is done for `verb`; UsageError for one that is none of ours, or changes nothing."""
    module = _module_of(verb)
    if module is None or not hasattr(module, "DONE_BY"):
        raise UsageError(f"doing {verb!r}: there is no such verb; is the command newer than the daemon?")
    return Deed(module.DONE_BY, module.do)


def do(work: Work, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do `verb` now, by whoever holds the lock and has nothing else running; its answer, or LemonadeError."""
    from metadata.database.states import FlushReason

    done = deed_of(verb).do(work, arguments)
    if isinstance(done, AfterFlush):
        return done.tell(work.flush(done.types, FlushReason.REQUEST))
    return done


def _module_of(verb: str) -> ModuleType | None:
    file = find_verb_file(verb)
    if file is not None:
        return None if file.is_group else file.load()
    part = f"{__package__}.{verb}"
    return import_module(part) if verb.isidentifier() and find_spec(part) is not None else None
