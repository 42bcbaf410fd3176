"""The report as values: what the ledger and the tables say of a range of days, judged. `report` shows it.

Read only, and beside a running daemon. What the tables cannot tell at the moment (the warehouse is away, or on other
machines) is left out with a note; the ledger's part stands without it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from metadata.database.states import FileState
from metadata.ledger.report_facts import Fingerprint, LedgerFacts, Period, Slice, read_facts
from metadata.types.file_type import FileType
from watcher.report.silence import longest_silence
from watcher.report.tables import Tables
from watcher.report.values import (
    OUTCOMES,
    CodeRate,
    Duplicates,
    ErrorGroup,
    HourVolume,
    Lateness,
    PrefixVolume,
    Report,
    SampleText,
    SilentType,
    TypeDayVolume,
    TypeVolume,
    Volume,
)
from watcher.report.verdicts import ORDER, Spread, extent_of, overall, sentence
from watcher.report.words import duration

if TYPE_CHECKING:
    from watcher.app import App

LATENESS = (1, 5, 15, 60, 6 * 60, 24 * 60, 7 * 24 * 60)
"""Upper ends, in minutes, of the classes in which delays are counted; the last class has none."""
SAMPLED = 20
"""So many errors get the raw text of their samples."""

_EVER = datetime.max.replace(tzinfo=UTC)
_WAITING = frozenset({FileState.CLAIMED.value, FileState.BATCHED.value})
_NOT_DECODED = frozenset({FileState.HELD.value, FileState.DUPLICATE.value, *_WAITING})
_CLASSES = ("early", "1 min", "5 min", "15 min", "1 h", "6 h", "24 h", "7 d", "more")

T = TypeVar("T")
V = TypeVar("V", bound=Volume)


def make_report(app: App, period: Period, file_type: str | None = None) -> Report:
    """The report on the files that arrived in `period`. Raises WorldFault when the ledger does not answer."""
    now = app.clock.now()
    facts = read_facts(app.database, period, file_type)
    types = [kind for kind in app.registry.read().types if file_type in (None, kind.name)]
    tables = Tables(app, period, types)
    spreads = _spreads(facts)
    raw = tables.raw([fingerprint for fingerprint, _ in spreads[:SAMPLED]])
    total = _counted(Volume(), facts.slices)
    verdict, words = overall([spread for _, spread in spreads], total.files)
    by_type = _by(facts.slices, lambda one: one.file_type)
    rejected_twice = {one.file_type: one.records for one in facts.codes if one.code == "duplicate_key"}
    nulls, rescued = tables.nulls()
    return Report(
        first=period.first,
        last=period.last,
        file_type=file_type,
        made_at=now,
        verdict=verdict,
        sentence=words,
        total=total,
        before=_counted(Volume(), facts.slices_before),
        volumes=_volumes(facts.slices),
        types=[_counted(TypeVolume(file_type=kind), slices) for kind, slices in by_type],
        prefixes=[
            _counted(PrefixVolume(file_type=kind, prefix=prefix), slices)
            for (kind, prefix), slices in _by(facts.slices, lambda one: (one.file_type, one.prefix))
        ],
        hours=[_counted(HourVolume(hour=hour), slices) for hour, slices in _by(facts.slices, lambda one: one.hour)],
        codes=_codes(facts, {kind: sum(one.records for one in slices) for kind, slices in by_type}),
        errors=[_error(one, spread, raw) for one, spread in spreads],
        different_errors=facts.different_errors,
        nulls=nulls,
        rescued=rescued,
        late=_late(facts),
        duplicates=_duplicates(facts.slices, tables.repeats(), rejected_twice),
        silent=_silent(facts, period, types, now),
        unknown_fields=facts.unknown,
        notes=tables.notes,
    )


# -- volumes and rates ------------------------------------------------------------------------------------------------


def outcome_of(state: str) -> str:
    """What became of a file, as the report counts it: claimed and batched files are `waiting`."""
    return "waiting" if state in _WAITING else state


def _by(slices: Iterable[Slice], key: Callable[[Slice], T]) -> list[tuple[T, list[Slice]]]:
    """The slices by a key; in the order of its text, which takes None among names."""
    groups: dict[T, list[Slice]] = {}
    for one in slices:
        groups.setdefault(key(one), []).append(one)
    return sorted(groups.items(), key=lambda group: str(group[0]))


def _counted(volume: V, slices: Iterable[Slice]) -> V:
    for one in slices:
        volume.add(one)
    return volume


def _volumes(slices: Sequence[Slice]) -> list[TypeDayVolume]:
    volumes = [
        _counted(TypeDayVolume(day=day, file_type=kind, outcome=outcome), group)
        for (day, kind, outcome), group in _by(
            slices, lambda one: (one.hour.date(), one.file_type, outcome_of(one.state))
        )
    ]
    return sorted(volumes, key=lambda one: (one.day, one.file_type or "", OUTCOMES.index(one.outcome)))


def _codes(facts: LedgerFacts, records: dict[str | None, int]) -> list[CodeRate]:
    return [
        CodeRate(one.file_type, one.code, one.field or None, one.files, one.records, _part(one.records, of))
        for one in facts.codes
        for of in (records.get(one.file_type, 0),)
    ]


def _part(number: int, of: int) -> float | None:
    return number / of if of else None


# -- errors -----------------------------------------------------------------------------------------------------------


class _Arrived:
    """Files of one type that were decoded or refused, by hour: how many came in a range of hours."""

    def __init__(self) -> None:
        self._files: Counter[datetime] = Counter()

    def add(self, hour: datetime, files: int) -> None:
        self._files[hour] += files

    @cached_property
    def _hours(self) -> list[datetime]:
        return sorted(self._files)

    @cached_property
    def _until(self) -> list[int]:
        return [0, *accumulate(self._files[hour] for hour in self._hours)]

    def between(self, first: datetime, last: datetime) -> int:
        """Files of the hours from `first` to `last`, both included."""
        return self._until[bisect_right(self._hours, last)] - self._until[bisect_left(self._hours, first)]


def _spreads(facts: LedgerFacts) -> list[tuple[Fingerprint, Spread]]:
    """Each error with how far it spread: systemic ones first, among equals those in the most files."""
    arrived: dict[str | None, dict[str | None, _Arrived]] = {}
    everything: dict[str | None, _Arrived] = {}
    for one in facts.slices:
        if one.state not in _NOT_DECODED:
            for prefixes in (arrived.setdefault(one.file_type, {}), everything):
                prefixes.setdefault(one.prefix, _Arrived()).add(one.hour, one.files)
    spreads = [
        (one, _spread(one, everything if one.file_type is None else arrived.get(one.file_type, {})))
        for one in facts.fingerprints
    ]
    return sorted(spreads, key=lambda entry: ORDER.index(extent_of(entry[1])))


def _spread(one: Fingerprint, arrived: dict[str | None, _Arrived]) -> Spread:
    first, last = (seen.replace(minute=0, second=0, microsecond=0) for seen in (one.first_seen, one.last_seen))
    of_prefixes = {prefix: files.between(first, last) for prefix, files in arrived.items()}
    later = sum(files.between(last + timedelta(hours=1), _EVER) for files in arrived.values())
    came = {prefix: files for prefix, files in of_prefixes.items() if files}
    return Spread(one.file_type, one.records, one.prefixes, came, first, last, later)


def _error(one: Fingerprint, spread: Spread, raw: dict[tuple[str, str, int], str]) -> ErrorGroup:
    samples = [
        SampleText(
            sample.name,
            sample.file_id,
            sample.record_no,
            sample.message,
            raw.get((sample.batch_id or "", sample.file_id, sample.record_no or 0)),
        )
        for sample in one.samples
    ]
    return ErrorGroup(
        one.file_type,
        one.code,
        one.field_name or None,
        one.message,
        one.whole_file,
        one.files,
        one.records,
        one.first_seen,
        one.last_seen,
        {prefix or "": files for prefix, files in one.prefixes.most_common()},
        extent_of(spread),
        sentence(spread),
        samples,
    )


# -- late, twice, silent ----------------------------------------------------------------------------------------------


def _late(facts: LedgerFacts) -> list[Lateness]:
    by_type: dict[str | None, list[tuple[int, int, str]]] = {}
    for delay in facts.delays:  # in the order of their minutes
        by_type.setdefault(delay.file_type, []).append((delay.minutes, delay.files, delay.name))
    return [_lateness(kind, delays) for kind, delays in by_type.items()]


def _lateness(file_type: str | None, delays: Sequence[tuple[int, int, str]]) -> Lateness:
    files = sum(number for _, number, _ in delays)
    classes = dict.fromkeys(_CLASSES, 0)
    passed = accumulate(number for _, number, _ in delays)
    median = next(minutes for (minutes, _, _), until in zip(delays, passed, strict=True) if 2 * until >= files)
    for minutes, number, _ in delays:
        classes[_bucket(minutes)] += number
    return Lateness(
        file_type,
        files,
        median,
        delays[-1][0],
        delays[-1][2],
        sum(number for minutes, number, _ in delays if minutes > 60),
        sum(number for minutes, number, _ in delays if minutes > 24 * 60),
        classes,
    )


def _bucket(minutes: int) -> str:
    if minutes < 0:
        return _CLASSES[0]
    at = next((number for number, end in enumerate(LATENESS) if minutes <= end), len(LATENESS))
    return _CLASSES[at + 1]


def _duplicates(
    slices: Iterable[Slice], repeats: dict[str, tuple[int, int]], rejected: dict[str | None, int]
) -> list[Duplicates]:
    files: Counter[str | None] = Counter()
    for one in slices:
        if one.state == FileState.DUPLICATE.value:
            files[one.file_type] += one.files
    kinds = sorted({*files, *rejected, *(kind for kind, (keys, _) in repeats.items() if keys)}, key=str)
    found = []
    for kind in kinds:
        keys, rows = repeats.get(kind or "", (None, None))
        found.append(Duplicates(kind, files[kind], keys, rows, rejected.get(kind, 0)))
    return found


def _silent(facts: LedgerFacts, period: Period, types: Sequence[FileType], now: datetime) -> list[SilentType]:
    end = min(now, period.end)
    if end <= period.start:
        return []
    found = []
    for kind in types:
        if kind.status.value != "active":
            continue
        last = facts.last_seen.get(kind.name)
        silence = longest_silence(facts.arrivals.get(kind.name, []), period.start, end)
        usual = None if silence is None else _minutes(silence.usual)
        if last is None or last < period.start:
            never = "never seen" if period.end > now else f"no file came up to {period.last}"
            words = never if last is None else f"no file in the range, last seen {last:%Y-%m-%d %H:%M}"
            found.append(SilentType(kind.name, last, last, None, None, usual, f"{kind.name}: {words}"))
        elif silence is not None:
            until = "still" if silence.until is None else f"to {silence.until:%Y-%m-%d %H:%M}"
            words = (
                f"{kind.name}: nothing for {duration(silence.length)} from {silence.since:%Y-%m-%d %H:%M} {until}, "
                f"usually every {duration(silence.usual)}"
            )
            minutes = _minutes(silence.length)
            found.append(SilentType(kind.name, last, silence.since, silence.until, minutes, usual, words))
    return found


def _minutes(length: timedelta) -> int:
    return int(length.total_seconds() // 60)
