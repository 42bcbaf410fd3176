"""The work itself, one thread at a time: recover, gather, flush, summarise.

The daemon's threads call these methods, and so does a command that holds the daemon's lock because no daemon runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

from metadata.definition import FileType
from metadata.errors import UsageError
from metadata.ids import new_id
from metadata.logs import Event, Severity, alert, get_logger
from metadata.registry import RegistrySnapshot
from metadata.states import FileState, FlushReason
from processors.microbatch import MicroBatches
from processors.summary import SummaryResult, build_days
from watcher.app import App
from watcher.flusher import Flusher, FlushReport
from watcher.intake import Intake, ScanResult
from watcher.observer import Nominations
from watcher.recovery import Recovered, recover

log = get_logger()


class Work:
    """What Lemonade does. `pause(seconds)` waits and returns False when it drains; `draining()` asks for that."""

    def __init__(self, app: App, *, pause: Callable[[float], bool], draining: Callable[[], bool]) -> None:
        self.app = app
        self.pause = pause
        self.draining = draining
        self.intake = Intake(app.settings, app.ledger, app.registry, app.clock)
        self.microbatches = MicroBatches(app.settings, app.ledger, app.lake(), app.runner, app.clock, pause)
        self.flusher = Flusher(app.settings, app.ledger, app.registry, self.microbatches, app.clock, draining)
        self._broken: dict[str, tuple[str, ...]] = {}

    def read_registry(self) -> RegistrySnapshot:
        """The types as they are now; a row that broke since the last look gives one alert."""
        snapshot = self.app.registry.read()
        broken = {row.file_type: row.faults for row in snapshot.broken}
        for file_type, faults in broken.items():
            if self._broken.get(file_type) != faults:
                self.app.registry.note_error(file_type, "; ".join(faults))
                alert(
                    Event.TYPE_BROKEN,
                    severity=Severity.ERROR,
                    code="bad_definition",
                    file_type=file_type,
                    faults=list(faults),
                    cure="mend its row in table_metadata, or: lemonade types update; its files are held meanwhile",
                )
        self._broken = broken
        return snapshot

    def recover(self) -> Recovered:
        """Walk what an earlier process left; call it once, under the lock, before anything is claimed."""
        recovered = recover(self.app.ledger, self.app.registry, self.microbatches, self.read_registry().types)
        self.flusher.stopped |= recovered.stopped
        return recovered

    def gather(
        self, snapshot: RegistrySnapshot, nominations: Nominations | None = None, *, full: bool = True
    ) -> ScanResult:
        """One scan of incoming/; with `full` also held files of types that are active now and strays in processing/."""
        if full:
            self.intake.release_held(snapshot.types)
            self.intake.adopt_strays(snapshot.types)
            self.app.marks.set("rescan", self.app.clock.now())
        return self.intake.scan(snapshot.types, nominations)

    def gather_until_settled(self) -> tuple[RegistrySnapshot, ScanResult]:
        """Scan, and scan again until no file is still settling or SETTLE_SECONDS (and a little) are over."""
        snapshot = self.read_registry()
        deadline = self.app.clock.monotonic() + self.app.settings.settle_seconds + 0.5
        result = self.gather(snapshot)
        while result.settling and self.app.clock.monotonic() < deadline:
            if not self.pause(max(0.02, min(result.next_look_seconds or 0.1, 0.25))):
                break
            result = self.gather(snapshot, full=False)
        return snapshot, result

    def flush(self, types: Sequence[FileType], reason: FlushReason) -> FlushReport:
        """Hand over what is claimed for `types`."""
        return self.flusher.flush(types, reason)

    def summarize(
        self, *, first: date | None = None, last: date | None = None, before: date | None = None
    ) -> list[SummaryResult]:
        """Build summaries: the days from `first` to `last`, or without them every dirty day (earlier than `before`).

        Returns one result for each type that has a summary and days to build.
        """
        results = []
        for kind in self.read_registry().active:
            if kind.config.summary is None:
                continue
            table = f"summary.{kind.config.summary.table}"
            if first is not None:
                days = _days(first, last or first)
            else:
                days = [day for day, _ in self.app.ledger.dirty_days(table, before)]
            if not days:
                continue
            operation_id = new_id(self.app.clock)
            log.info(Event.SUMMARY_STARTED, operation_id=operation_id, table=table, days=[str(day) for day in days])
            result = build_days(
                self.app.lake(), self.app.runner(), self.app.ledger, self.app.clock, kind, days, operation_id
            )
            log.info(
                Event.SUMMARY_FINISHED,
                operation_id=operation_id,
                table=table,
                days={str(day): rows for day, rows in result.days.items()},
                snapshot_id=result.snapshot_id,
                seconds=round(result.seconds, 3),
            )
            results.append(result)
        return results


def _days(first: date, last: date) -> list[date]:
    if last < first:
        raise UsageError(f"summarising {first} to {last}: the last day is before the first; swap them")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def wanted_types(snapshot: RegistrySnapshot, names: Sequence[str]) -> list[FileType]:
    """The active types called `names`, or all without names; UsageError for one that is not there or not active."""
    active = {kind.name: kind for kind in snapshot.active}
    for name in names:
        if name not in active:
            raise UsageError(
                f"choosing file type {name!r}: no active type has that name; active are {', '.join(sorted(active))}"
            )
    return [active[name] for name in names] if names else list(active.values())


def flush_answer(app: App, report: FlushReport, scan: ScanResult) -> dict[str, Any]:
    """A flush as `lemonade flush --json` shows it."""
    batches = [
        {
            "batch_id": batch.batch_id,
            "file_type": batch.file_type,
            "table": batch.table_name,
            "files": batch.files,
            "outcomes": dict(batch.counts),
            "rows": batch.rows,
            "snapshot_id": batch.snapshot_id,
            "state": batch.state,
        }
        for batch in report.batches
        if batch.batch_id is not None
    ]
    files = [
        {
            "name": file.name,
            "file_type": file.file_type,
            "state": file.state,
            "batch_id": file.batch_id,
            "rows": file.rows,
            "code": file.code,
            "message": file.message,
        }
        for batch in report.batches
        if batch.batch_id is not None
        for file in app.ledger.batch_files(batch.batch_id)
    ]
    not_taken = [{"name": name, "reason": "still being written"} for name in scan.settling]
    not_taken += [{"name": file.name, "reason": f"refused: {file.message}"} for file in scan.refused]
    not_taken += [
        {"name": file.name, "reason": f"held: no active type takes {file.prefix!r}"}
        for file in app.ledger.files(state=FileState.HELD, limit=1000)
    ]
    return {
        "flush_id": report.flush_id,
        "batches": batches,
        "files": files,
        "duplicates": report.count("duplicate"),
        "not_taken": not_taken,
        "drained": report.drained,
    }


def summary_answer(results: Sequence[SummaryResult]) -> dict[str, Any]:
    """Summaries as `lemonade summarize --json` shows them."""
    return {
        "tables": [
            {
                "table": result.table,
                "days": {str(day): rows for day, rows in result.days.items()},
                "snapshot_id": result.snapshot_id,
                "operation_id": result.operation_id,
            }
            for result in results
        ]
    }
