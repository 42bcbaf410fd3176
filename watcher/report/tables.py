"""What the tables say of a range of days, for the report.

A table that cannot be asked at the moment (the warehouse is away, or on other machines) is left out with a note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from metadata.errors import ConfigurationError, LemonadeError
from metadata.ledger.report_facts import Fingerprint, Period
from metadata.types.config import Dedupe
from metadata.types.definition import RESCUED
from metadata.types.file_type import FileType
from processors.lake.lake_on_demand import LakeOnDemand
from watcher.report.values import NullRate, Rescue

if TYPE_CHECKING:
    from processors.read.quality import ColumnNulls, KeyRepeats
    from processors.read.query import QueryEngine
    from watcher.app import App

NULL_CHANGE = 0.1
"""A null rate that moved by so much, against the period before, is worth a look."""

T = TypeVar("T")


class Tables:
    """Asks the tables; what cannot be asked becomes a note, once."""

    def __init__(self, app: App, period: Period, types: Sequence[FileType]) -> None:
        self._lake = LakeOnDemand(app.settings, app.lake)
        self._period = period
        self._types = [kind for kind in types if kind.definition is not None]
        self._made_engine: QueryEngine | None = None
        self.notes: list[str] = []

    def raw(self, fingerprints: Iterable[Fingerprint]) -> dict[tuple[str, str, int], str]:
        """The raw text of the errors' samples, as far as the quarantine has it."""
        samples = [
            (sample.batch_id, sample.file_id, sample.record_no, sample.filename_time.date())
            for one in fingerprints
            for sample in one.samples
            if sample.batch_id is not None and sample.record_no is not None and sample.filename_time is not None
        ]
        if not samples:
            return {}
        from processors.read.quality import RawKey, raw_records

        keys = [RawKey(*sample) for sample in samples]
        return self._asked("raw records", lambda: raw_records(self._engine, keys)) or {}

    def repeats(self) -> dict[str, tuple[int, int]]:
        """Repeated keys and surplus rows, by type; of types with a key that do not reject them."""
        found = {}
        days = (self._period.first, self._period.last)
        there = self._asked("duplicate rows", lambda: set(self._lake.table_names())) or set()
        for kind in self._types:
            key = kind.definition.primary_key if kind.definition else ()
            if not key or kind.table_name not in there or kind.config.dedupe is Dedupe.PRIMARY_KEY:
                continue
            ask = partial(self._repeats, kind.table_name, key, days)
            counted = self._asked(f"duplicate rows of {kind.name}", ask)
            if counted is not None:
                found[kind.name] = (counted.keys, counted.rows)
        return found

    def _repeats(self, name: str, key: Sequence[str], days: tuple[date, date]) -> KeyRepeats:
        from processors.read.quality import key_repeats

        return key_repeats(self._engine, name, key, days)

    def nulls(self) -> tuple[list[NullRate], list[Rescue]]:
        """The null rates of every column, and how much of `_rescued` is filled."""
        rates: list[NullRate] = []
        rescued: list[Rescue] = []
        for kind in self._types:
            counted = self._asked(f"nulls of {kind.name}", partial(self._counted, kind.table_name))
            if counted is None:
                continue
            by_date, now, before = counted
            earlier = {one.column: one.nulls / one.rows for one in before}
            for one in now:
                rate, past = one.nulls / one.rows, earlier.get(one.column)
                if one.column == RESCUED:
                    filled = one.rows - one.nulls
                    past = None if past is None else 1 - past
                    rescued.append(Rescue(kind.name, kind.table_name, one.rows, filled, 1 - rate, past))
                    continue
                change = None if past is None else rate - past
                striking = change is not None and abs(change) >= NULL_CHANGE
                rates.append(
                    NullRate(
                        kind.name,
                        kind.table_name,
                        one.column,
                        one.rows,
                        one.nulls,
                        rate,
                        past,
                        change,
                        striking,
                        whole_table=not by_date,
                    )
                )
        return rates, rescued

    def _counted(self, name: str) -> tuple[bool, list[ColumnNulls], list[ColumnNulls]]:
        """Whether the table is divided by days; its columns in the range, and in the period before."""
        from processors.read.quality import column_nulls, is_by_date

        table = self._lake.table(name)
        if table is None:
            return False, [], []
        lake = self._lake.open_lake()
        if not is_by_date(table):
            return False, column_nulls(lake, name, None), []
        before = self._period.before
        now = column_nulls(lake, name, (self._period.first, self._period.last))
        return True, now, column_nulls(lake, name, (before.first, before.last))

    @property
    def _engine(self) -> QueryEngine:
        if self._made_engine is None:
            from processors.read.query import QueryEngine

            self._made_engine = QueryEngine(self._lake)
        return self._made_engine

    def _asked(self, what: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except LemonadeError as error:
            # SQL's fault is the same for each type: said once, without its thing.
            reason = "; ".join(error.faults) if isinstance(error, ConfigurationError) else error.message
            note = f"{what} could not be told: {reason.splitlines()[0] if reason else error.code}"
            if not any(known.endswith(note.partition(": ")[2]) for known in self.notes):
                self.notes.append(note)
            return None
