"""The error tree, by what happens next (not by where it came from).

Every message is a short letter: *operation, thing, reason; cure.* Errors of libraries become ours in one place per
library, and an error is logged once, where it is acted on.
"""

from __future__ import annotations


class LemonadeError(Exception):
    """Root of the tree; `code` is a stable word for tables, logs and tests."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class ConfigurationError(LemonadeError):
    """Settings or definitions are wrong: all faults are said at once, the command exits 78.

    `faults` holds one line each; the message joins them.
    """

    code = "configuration"

    def __init__(self, operation: str, faults: list[str]) -> None:
        self.operation = operation
        self.faults = faults
        super().__init__(f"{operation}:\n" + "\n".join(f"  - {fault}" for fault in faults))


class UsageError(LemonadeError):
    """The caller asked for something that makes no sense: the command exits 2."""

    code = "usage"


class Busy(LemonadeError):
    """Somebody else holds what is needed: the command exits 75, try later."""

    code = "busy"


class FileRefused(LemonadeError):
    """This source file is wrong: it is set aside with its reason, work goes on.

    `code` is one of `bad_name not_a_regular_file too_large empty unreadable malformed wrong_shape` (the file goes to
    `failed/`) or `schema_mismatch` (it goes to `error/`).
    """

    code = "unreadable"


class BytesChanged(LemonadeError):
    """A source file's bytes are not those that were claimed: it leaves its batch and is claimed again."""

    code = "bytes_changed"


class WorldFault(LemonadeError):
    """Disk, catalog, ledger or network are away: work pauses, one alert, no attempt is used up.

    `given_up`: it was waited for already, until the daemon drained; whoever meets it now lets it pass.
    """

    code = "world"
    given_up = False


class BatchFault(LemonadeError):
    """This batch failed: wait with jitter, try again under the same batch id; attempts count."""

    code = "batch"


class UnknownOutcome(LemonadeError):
    """A commit was sent and no answer came: ask the table before anything else."""

    code = "unknown_outcome"


class Fatal(LemonadeError):
    """Going on could lose or double data: stop (exit 70), the supervisor restarts, recovery walks."""

    code = "fatal"


class TypeStopped(LemonadeError):
    """One file type cannot go on without a person (its table lost history, its row is broken); the others do."""

    code = "type_stopped"
