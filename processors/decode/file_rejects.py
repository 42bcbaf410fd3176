"""Rejected records of one file: what is kept of each, and how many there may be before the file is not loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from metadata.ledger.values import RejectReason
from metadata.types.definition import Field

_REASON_CHARACTERS = 500  # a key of the record may stand in it, and that can be of any length


@dataclass(frozen=True, slots=True)
class Rejected:
    """One bad record; `message` names record and field, `raw` is its JSON as it stood in the file."""

    record_no: int  #: from 1; JSON lines do not count blank lines
    field: str | None  #: the definition's field; None when the record as a whole is at fault
    code: str
    message: str
    raw: bytes


@dataclass(frozen=True)
class RejectLimits:
    """How many of a file's records may be rejected before nothing of the file is loaded."""

    ratio: float = 0.5  #: of its records
    records: int | None = None  #: a number of them; None: any

    def exceeded(self, rejected: int, records: int) -> bool:
        """Whether `rejected` of `records` are beyond either limit."""
        if self.records is not None and rejected > self.records:
            return True
        return rejected > self.ratio * records


NO_LIMITS = RejectLimits(ratio=1)


class Rejects:
    """The rejected records of one file, added in any order.

    All are kept as they are while the file may still be loaded. From the moment that it may not, only the first of each
    code and field is, without its raw text: a file of gigabytes may be bad from end to end.
    """

    def __init__(self, limits: RejectLimits, records: int) -> None:
        self._limits = limits
        self.records = records  #: of the whole file, good and bad
        self._kept: list[Rejected] = []
        self._first: dict[tuple[str, str | None], Rejected] = {}
        self._counts: dict[tuple[str, str | None], int] = {}
        self.count = 0
        self.over_limit = False

    def add(self, number: int, field: Field | None, code: str, reason: str, raw: Any) -> None:
        """Reject a record; `raw` is anything that `bytes` takes."""
        self.count += 1
        if not self.over_limit and self._limits.exceeded(self.count, self.records):
            self.over_limit = True
            self._kept = []
        kind = (code, field.name if field else None)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        first = kind not in self._first or number < self._first[kind].record_no
        if not first and self.over_limit:
            return
        raw = b"" if self.over_limit else bytes(raw)
        rejected = Rejected(number, kind[1], code, _message(number, field, reason), raw)
        if first:
            self._first[kind] = rejected
        if not self.over_limit:
            self._kept.append(rejected)

    def rejected(self) -> list[Rejected]:
        """By record number: all of them, or only the first of each code and field when the file is over its limits."""
        kept = self._kept
        if self.over_limit:
            kept = [Rejected(one.record_no, one.field, one.code, one.message, b"") for one in self._first.values()]
        return sorted(kept, key=lambda one: one.record_no)

    def reasons(self) -> tuple[RejectReason, ...]:
        """How often each code and field, most frequent first."""
        reasons = [
            RejectReason(first.code, first.field or "", self._counts[kind], first.record_no, first.message)
            for kind, first in self._first.items()
        ]
        return tuple(sorted(reasons, key=lambda reason: (-reason.records, reason.first_record_no)))


def _message(number: int, field: Field | None, reason: str) -> str:
    where = f"record {number}"
    if field is not None:
        where += f', field "{field.name}"'
        if field.key != field.name:
            where += f' (JSON key "{field.key}")'
    if len(reason) > _REASON_CHARACTERS:
        reason = f"{reason[:_REASON_CHARACTERS]}…"
    return f"{where}: {reason}".replace("\0", "\ufffd")  # not every database takes NUL
