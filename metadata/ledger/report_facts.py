"""What the ledger says of the files that arrived in a range of days: volumes, rejected records, failures, rhythm.

Read only, in one transaction, and added up by the database: what comes back has a row for each hour, prefix and
message, not for each file. The SQL is the same on SQLite and PostgreSQL. A file counts on the UTC day on which it was
noticed; its rejected records are those of the last micro-batch that it was part of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, String, and_, exists, func, literal_column, or_, select, type_coerce
from sqlalchemy.orm import Session

from metadata.database.engine import Database
from metadata.database.id_chunks import id_chunks
from metadata.database.models import BatchFile, Reject, SourceFile, UnknownField
from metadata.database.states import FileState
from metadata.ledger.fingerprint import LONGEST, normalised

HISTORY_DAYS = 30
"""How far before the range arrivals are looked at, to know a type's rhythm."""
SLOT_MINUTES = 10
"""Arrivals within the same ten minutes are one arrival."""
SAMPLES = 3
"""Samples of each error."""
MOST_FINGERPRINTS = 100
"""Different errors that are kept apart; the rest are only counted."""

_Query = Select[*tuple[Any, ...]]
_MESSAGE = 4 * LONGEST
_BAD = (FileState.FAILED.value, FileState.ERROR.value)
_NEVER_YET, _LONG_AGO = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Period:
    """UTC days, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many."""
        return (self.last - self.first).days + 1

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return datetime.combine(self.last + timedelta(days=1), time(), UTC)

    @property
    def before(self) -> Period:
        """As many days, right before."""
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))


class Slice(NamedTuple):
    """The files of one type, prefix and state that arrived in one hour."""

    file_type: str | None
    prefix: str | None
    hour: datetime
    state: str
    files: int
    bytes: int
    records: int
    rows: int
    rejected: int
    replayed: int  #: of the rejected: in their tables by now
    discarded: int  #: of the rejected: thrown away


@dataclass(frozen=True)
class ErrorSample:
    """One file or record that an error happened to; `record_no` is None when the file as a whole failed."""

    file_id: str
    name: str
    message: str
    batch_id: str | None
    record_no: int | None
    filename_time: datetime | None


@dataclass
class Fingerprint:
    """One error: file type, code, field and what all its messages have in common."""

    file_type: str | None
    code: str
    field_name: str  #: empty when the record or the file as a whole is at fault
    message: str  #: as `metadata.ledger.fingerprint` leaves it
    whole_file: bool  #: the file was refused or could not be read; nobody counted its records
    files: int = 0
    records: int = 0  #: 0 when the file as a whole failed
    first_seen: datetime = _NEVER_YET
    last_seen: datetime = _LONG_AGO
    prefixes: Counter[str | None] = field(default_factory=Counter)  #: its files
    samples: list[ErrorSample] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)  #: ids of files to take samples from
    texts: list[str] = field(default_factory=list)  #: messages as they were, of the files to take more samples from


@dataclass(frozen=True)
class CodeCount:
    """The rejected records of one type with one code in one field."""

    file_type: str | None
    code: str
    field: str
    files: int
    records: int


class Delay(NamedTuple):
    """Files of one type that arrived `minutes` after the time in their names, to the minute."""

    file_type: str | None
    minutes: int
    files: int
    name: str  #: of one of them


class UnknownKeyCount(NamedTuple):
    """A key that records of a type have and its schema has not, counted since it was first seen."""

    file_type: str
    key: str
    records: int
    files: int
    sample: str
    first_seen: datetime
    last_seen: datetime


@dataclass
class LedgerFacts:
    """What the ledger says of a period."""

    slices: list[Slice]
    slices_before: list[Slice]  #: of the period before, as long
    fingerprints: list[Fingerprint]  #: those in the most files first, at most MOST_FINGERPRINTS
    different_errors: int
    codes: list[CodeCount]
    delays: list[Delay]
    arrivals: dict[str, list[datetime]]  #: by type: the ten minutes with arrivals, from HISTORY_DAYS before to the end
    last_seen: dict[str, datetime]  #: by type, up to the end of the period
    unknown: list[UnknownKeyCount]


def read_facts(database: Database, period: Period, file_type: str | None = None) -> LedgerFacts:
    """What the ledger says of the files that arrived in `period`. Raises WorldFault when it does not answer."""
    with database.reading() as session:
        ask = _Asking(session, file_type)
        fingerprints, codes = ask.fingerprints(period)
        shown = fingerprints[:MOST_FINGERPRINTS]
        ask.take_samples(shown, period)
        return LedgerFacts(
            slices=ask.slices(period),
            slices_before=ask.slices(period.before),
            fingerprints=shown,
            different_errors=len(fingerprints),
            codes=codes,
            delays=ask.delays(period),
            arrivals=ask.arrivals(period),
            last_seen=ask.last_seen(period),
            unknown=ask.unknown(period),
        )


def knows_type(database: Database, file_type: str) -> bool:
    """Whether any source file is of that type."""
    with database.reading() as session:
        return session.scalar(select(exists().where(SourceFile.file_type == file_type))) or False


class _Asking:
    def __init__(self, session: Session, file_type: str | None) -> None:
        self._session = session
        self._file_type = file_type

    def slices(self, period: Period) -> list[Slice]:
        hour = _cut(SourceFile.noticed_at, 13)
        keys = (SourceFile.file_type, SourceFile.prefix, hour, SourceFile.state)
        query = _select(
            *keys,
            func.count(),
            func.sum(SourceFile.size_bytes),
            *(func.coalesce(func.sum(count), 0) for count in _COUNTS),
            func.sum(SourceFile.replayed),
            func.sum(SourceFile.discarded),
        )
        query = query.select_from(SourceFile).outerjoin(BatchFile, _IN_ITS_LAST_BATCH).group_by(*keys)
        rows = self._session.execute(self._arrived(query, period))
        return [
            Slice(file_type, prefix, _moment(at), state, files, *(int(number) for number in numbers))
            for file_type, prefix, at, state, files, *numbers in rows
        ]

    def fingerprints(self, period: Period) -> tuple[list[Fingerprint], list[CodeCount]]:
        """Every error, those in the most files first; and the rejected records by code and field."""
        found: dict[tuple[Any, ...], Fingerprint] = {}
        codes: dict[tuple[str | None, str, str], list[int]] = {}
        for file_type, code, field_, message, *seen in self._session.execute(self._rejects(period)):
            one = _fingerprint(found, file_type, code, field_, message, whole_file=False)
            _add(one, message, *seen)
            counted = codes.setdefault((file_type, code, field_), [0, 0])
            counted[0] += seen[1]
            counted[1] += int(seen[2])
        for file_type, code, message, *seen in self._session.execute(self._failures(period)):
            _add(_fingerprint(found, file_type, code or "failed", "", message, whole_file=True), message, *seen)
        ordered = sorted(
            found.values(), key=lambda one: (-one.files, -one.records, one.code, one.field_name, one.message)
        )
        counts = [CodeCount(*key, *numbers) for key, numbers in codes.items()]
        return ordered, sorted(counts, key=lambda one: (-one.records, one.code, one.field))

    def _rejects(self, period: Period) -> _Query:
        keys = (SourceFile.file_type, Reject.code, Reject.field, _cut(Reject.message, _MESSAGE), SourceFile.prefix)
        query = _select(*keys, func.count(), func.sum(Reject.records), *_BOUNDS).select_from(SourceFile)
        return self._arrived(query.join(Reject, _OF_ITS_LAST_BATCH), period).group_by(*keys)

    def _failures(self, period: Period) -> _Query:
        keys = (SourceFile.file_type, SourceFile.code, _cut(SourceFile.message, _MESSAGE), SourceFile.prefix)
        query = _select(*keys, func.count(), literal_column("0"), *_BOUNDS).select_from(SourceFile).group_by(*keys)
        unexplained = and_(SourceFile.state == FileState.ERROR.value, ~exists().where(_OF_ITS_LAST_BATCH))
        return self._arrived(query, period).where(or_(SourceFile.state == FileState.FAILED.value, unexplained))

    def take_samples(self, fingerprints: Iterable[Fingerprint], period: Period) -> None:
        """Give each its samples, of different files and as different messages as there are."""
        wanted = list(fingerprints)
        for one in wanted:
            if len(one.candidates) < min(SAMPLES, one.files):
                one.candidates += self._session.scalars(self._more(one, period))
        ids = sorted({file_id for one in wanted for file_id in one.candidates})
        files: dict[str, SourceFile] = {}
        reasons: dict[tuple[str, str, str], Reject] = {}
        for some in id_chunks(ids):
            files |= {row.id: row for row in self._session.scalars(select(SourceFile).where(SourceFile.id.in_(some)))}
            query = select(Reject).join(SourceFile, _OF_ITS_LAST_BATCH).where(SourceFile.id.in_(some))
            reasons |= {(row.file_id, row.code, row.field): row for row in self._session.scalars(query)}
        for one in wanted:
            for file_id in one.candidates[:SAMPLES]:
                row, reason = files[file_id], reasons.get((file_id, one.code, one.field_name))
                if one.whole_file or reason is None:
                    one.samples.append(ErrorSample(row.id, row.name, row.message or "", None, None, row.filename_time))
                else:
                    number, text = reason.first_record_no, reason.message
                    one.samples.append(ErrorSample(row.id, row.name, text, reason.batch_id, number, row.filename_time))

    def _more(self, one: Fingerprint, period: Period) -> _Query:
        """Files in which an error was, but for those that are candidates already."""
        query = self._arrived(_select(SourceFile.id), period).limit(SAMPLES - len(one.candidates))
        query = query.where(
            SourceFile.id.not_in(one.candidates), SourceFile.file_type.is_not_distinct_from(one.file_type)
        )
        if one.whole_file:
            text = _cut(SourceFile.message, _MESSAGE).in_(one.texts)
            return query.where(SourceFile.state.in_(_BAD), SourceFile.code == one.code, text)
        text = _cut(Reject.message, _MESSAGE).in_(one.texts)
        return query.join(Reject, _OF_ITS_LAST_BATCH).where(
            Reject.code == one.code, Reject.field == one.field_name, text
        )

    def delays(self, period: Period) -> list[Delay]:
        keys = (SourceFile.file_type, _cut(SourceFile.filename_time, 16), _cut(SourceFile.noticed_at, 16))
        query = _select(*keys, func.count(), func.min(SourceFile.name)).group_by(*keys)
        query = self._arrived(query, period).where(SourceFile.filename_time.is_not(None))
        counted: dict[tuple[str | None, int], tuple[int, str]] = {}
        for file_type, named, noticed, files, name in self._session.execute(query):
            minutes = int((datetime.fromisoformat(noticed) - datetime.fromisoformat(named)).total_seconds() // 60)
            before, first = counted.get((file_type, minutes), (0, name))
            counted[file_type, minutes] = before + files, min(first, name)
        return [
            Delay(file_type, minutes, *rest) for (file_type, minutes), rest in sorted(counted.items(), key=_by_type)
        ]

    def arrivals(self, period: Period) -> dict[str, list[datetime]]:
        keys = (SourceFile.file_type, _cut(SourceFile.noticed_at, 15))  # the minute without its last digit
        query = _select(*keys).group_by(*keys)
        longer = Period(period.first - timedelta(days=HISTORY_DAYS), period.last)
        found: dict[str, list[datetime]] = {}
        for file_type, at in self._session.execute(
            self._arrived(query, longer).where(SourceFile.file_type.is_not(None))
        ):
            found.setdefault(file_type, []).append(_moment(f"{at}0"))
        return {file_type: sorted(times) for file_type, times in found.items()}

    def last_seen(self, period: Period) -> dict[str, datetime]:
        query = _select(SourceFile.file_type, _LAST).where(SourceFile.noticed_at < period.end)
        query = self._of_type(query).where(SourceFile.file_type.is_not(None)).group_by(SourceFile.file_type)
        return {row[0]: row[1] for row in self._session.execute(query)}

    def unknown(self, period: Period) -> list[UnknownKeyCount]:
        columns = (getattr(UnknownField, name) for name in UnknownKeyCount._fields)
        query = select(*columns).where(UnknownField.last_seen >= period.start, UnknownField.first_seen < period.end)
        if self._file_type is not None:
            query = query.where(UnknownField.file_type == self._file_type)
        query = query.order_by(UnknownField.records.desc(), UnknownField.file_type, UnknownField.key)
        return [UnknownKeyCount(*row) for row in self._session.execute(query)]

    def _arrived(self, query: _Query, period: Period) -> _Query:
        return self._of_type(query).where(SourceFile.noticed_at >= period.start, SourceFile.noticed_at < period.end)

    def _of_type(self, query: _Query) -> _Query:
        return query if self._file_type is None else query.where(SourceFile.file_type == self._file_type)


def _select(*columns: Any) -> _Query:
    return select(*columns)


def _cut(column: Any, length: int) -> ColumnElement[str]:
    """The first characters of a text, also of a time's: up to the day, the hour, the minute.

    Its numbers are part of the SQL: PostgreSQL takes two parameters of one value for two different groups.
    """
    return func.substr(type_coerce(column, String), literal_column("1"), literal_column(str(length)), type_=String())


_IN_ITS_LAST_BATCH = and_(BatchFile.file_id == SourceFile.id, BatchFile.batch_id == SourceFile.batch_id)
# As the micro-batch counted them: of a file that was undone or replaced since, its own row has no numbers any more.
_COUNTS = (
    func.coalesce(BatchFile.records, SourceFile.records),
    func.coalesce(BatchFile.rows, SourceFile.rows),
    func.coalesce(BatchFile.rejected, SourceFile.rejected),
)
_OF_ITS_LAST_BATCH = and_(Reject.file_id == SourceFile.id, Reject.batch_id == SourceFile.batch_id)
_LAST = func.max(SourceFile.noticed_at, type_=SourceFile.noticed_at.type)
_BOUNDS: tuple[Any, ...] = (
    func.min(SourceFile.noticed_at, type_=SourceFile.noticed_at.type),
    _LAST,
    func.min(SourceFile.id),
    func.max(SourceFile.id),
)


def _fingerprint(
    found: dict[tuple[Any, ...], Fingerprint],
    file_type: str | None,
    code: str,
    field_: str,
    message: str | None,
    *,
    whole_file: bool,
) -> Fingerprint:
    text = normalised(message)
    key = (file_type, code, field_, text, whole_file)
    one = found.get(key)
    if one is None:
        one = found[key] = Fingerprint(file_type, code, field_, text, whole_file)
    return one


def _add(
    one: Fingerprint,
    message: str | None,
    prefix: str | None,
    files: int,
    records: int,
    first: datetime,
    last: datetime,
    first_id: str,
    last_id: str,
) -> None:
    one.files += files
    one.records += int(records)
    one.first_seen, one.last_seen = min(one.first_seen, first), max(one.last_seen, last)
    one.prefixes[prefix] += files
    # Ids sort by time: of each message the first and the last file will do.
    for file_id in (first_id, last_id):
        if len(one.candidates) < SAMPLES and file_id not in one.candidates:
            one.candidates.append(file_id)
    if len(one.candidates) < SAMPLES and message not in (None, *one.texts):
        one.texts.append(message or "")


def _moment(text: str) -> datetime:
    """A time cut at the hour or later, which is UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _by_type(entry: tuple[tuple[str | None, int], Any]) -> tuple[str, int]:
    return entry[0][0] or "", entry[0][1]
