"""Retry policy, as values: after which error, how often, how soon, and what then.

One table (`policies`) from the error's class and code; `policy_for` picks its row, and a type's `retry` in its
processing config overrides the numbers of the rows that count attempts. Who meets an error asks here and acts; nobody
else computes waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from metadata.errors import BatchFault, BytesChanged, Fatal, FileRefused, TypeStopped, UnknownOutcome, WorldFault
from metadata.logs import Severity
from metadata.settings import Settings
from metadata.types.file_type import FileType

_MOST_DOUBLINGS = 32  # more would only make a larger number that the longest wait cuts


class Destination(StrEnum):
    """What becomes of the work when the last attempt has failed."""

    WAIT = "it waits"  #: there is no last attempt; nothing moves until the world is back
    FAILED = "failed/"  #: its files wait there for a person; out of attempts they are dead letters
    ERROR = "error/"  #: its files wait there for a person
    HALVED = "halved"  #: the batch is cut in two, again and again; the file that is alone at last goes to failed/
    CLAIMED = "processing/"  #: the file is claimed again as it is now
    TYPE_STOPPED = "type stopped"  #: the batch stays prepared, its type waits for a person, the others go on
    DAEMON_STOPPED = "daemon stopped"  #: exit 70; the supervisor restarts, recovery walks


@dataclass(frozen=True)
class Retry:
    """One row of the table: what to do after an error."""

    error: str  #: name of its class in metadata.errors
    code: str | None  #: its code; None for every other code of the class
    attempts: int | None  #: in all, the first included; None without end
    first_wait_seconds: float
    longest_wait_seconds: float
    jitter: float  #: a wait is up to this part shorter or longer, by chance
    destination: Destination
    severity: Severity  #: of the alert when the last attempt has failed, or when the world goes away

    def wait(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) has failed; each wait is twice the one before.

        `random` returns a number from 0 to 1, as `random.random` does.
        """
        wait = self.first_wait_seconds * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)
        return min(wait, self.longest_wait_seconds) * (1 + self.jitter * (2 * random() - 1))

    def is_last(self, attempt: int) -> bool:
        """Whether no other attempt follows when number `attempt` (from 1) has failed."""
        return self.attempts is not None and attempt >= self.attempts


WORLD = Retry("WorldFault", None, None, 1, 30, 0, Destination.WAIT, Severity.ERROR)


def policies(settings: Settings) -> tuple[Retry, ...]:
    """The table. The batch's rows take their numbers from BATCH_MAX_ATTEMPTS and BATCH_RETRY_SECONDS."""
    many, first = settings.batch_max_attempts, settings.batch_retry_seconds
    longest = max(60.0, first)
    few = min(2, many)
    return (
        Retry("FileRefused", None, 1, 0, 0, 0, Destination.FAILED, Severity.ERROR),
        Retry("FileRefused", "schema_mismatch", 1, 0, 0, 0, Destination.ERROR, Severity.ERROR),
        Retry("BytesChanged", None, 1, 0, 0, 0, Destination.CLAIMED, Severity.WARNING),
        WORLD,
        Retry("BatchFault", None, many, first, longest, 0.2, Destination.FAILED, Severity.CRITICAL),
        Retry("BatchFault", "spark_lost", few, first, longest, 0.2, Destination.HALVED, Severity.CRITICAL),
        Retry("BatchFault", "worker_lost", few, first, longest, 0.2, Destination.HALVED, Severity.CRITICAL),
        Retry("BatchFault", "task_failed", few, first, longest, 0.2, Destination.HALVED, Severity.CRITICAL),
        Retry("BatchFault", "timed_out", few, first, longest, 0.2, Destination.HALVED, Severity.CRITICAL),
        Retry("BatchFault", "commit_conflict", many, first, longest, 0.2, Destination.TYPE_STOPPED, Severity.CRITICAL),
        Retry("UnknownOutcome", None, many, first, longest, 0.2, Destination.TYPE_STOPPED, Severity.CRITICAL),
        Retry("TypeStopped", None, 1, 0, 0, 0, Destination.TYPE_STOPPED, Severity.CRITICAL),
        Retry("Fatal", None, 1, 0, 0, 0, Destination.DAEMON_STOPPED, Severity.CRITICAL),
    )


_CLASSES = (FileRefused, BytesChanged, WorldFault, BatchFault, UnknownOutcome, TypeStopped, Fatal)


def policy_for(error: BaseException, kind: FileType | None, settings: Settings) -> Retry:
    """What to do after `error` in the work of `file_type` (None: of no type).

    An error that is none of ours is a bug: it counts as Fatal.
    """
    name = next((kind.__name__ for kind in _CLASSES if isinstance(error, kind)), "Fatal")
    code = getattr(error, "code", None)
    rows = [row for row in policies(settings) if row.error == name]
    row = next((each for each in rows if each.code == code), None) or next(each for each in rows if each.code is None)
    override = None if kind is None else kind.config.retry
    if override is None or name not in ("BatchFault", "UnknownOutcome"):
        return row
    first = row.first_wait_seconds if override.first_wait_seconds is None else override.first_wait_seconds
    longest = row.longest_wait_seconds if override.longest_wait_seconds is None else override.longest_wait_seconds
    return replace(
        row,
        attempts=row.attempts if override.attempts is None else override.attempts,
        first_wait_seconds=first,
        longest_wait_seconds=max(longest, first),
    )
