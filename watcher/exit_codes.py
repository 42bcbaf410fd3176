"""The exit codes of the command: what each means, and which error stands for which."""

from __future__ import annotations

from metadata.errors import (
    BatchFault,
    Busy,
    ConfigurationError,
    LemonadeError,
    TypeStopped,
    UnknownOutcome,
    UsageError,
    WorldFault,
)

EXIT_CODES = {
    0: "done",
    1: "the answer is no (a file failed, nothing was found)",
    2: "usage: the command line makes no sense",
    70: "bug, or going on could lose or double data; the supervisor restarts",
    75: "try later: another daemon or command holds the lock, or disk, catalog or ledger are away",
    78: "configuration: settings or definitions are wrong; a restart does not help",
}


def exit_code(error: LemonadeError) -> int:
    """The exit code that an error stands for."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, Busy | WorldFault):
        return 75
    if isinstance(error, ConfigurationError):
        return 78
    if isinstance(error, TypeStopped | BatchFault | UnknownOutcome):
        return 1
    told = getattr(error, "exit_code", None)
    return told if isinstance(told, int) else 70
