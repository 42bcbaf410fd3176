"""The work itself, one thread at a time: recover, gather, flush, summarise.

The daemon's threads call these methods, and so does a command that holds the daemon's lock because no daemon runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

from metadata.database.models import SourceFile
from metadata.database.states import FileState, FlushReason
from metadata.errors import UsageError, WorldFault
from metadata.files.moves import sweep
from metadata.files.names import match_type, parse_name
from metadata.ids import new_id
from metadata.logs import Event, Severity, alert, get_logger
from metadata.operations.backfill import Backfills
from metadata.outage import Outage
from metadata.registry.drafts import Drafts
from metadata.registry.registry import RegistrySnapshot
from metadata.types.definition import FileType
from processors.change.backfill import Backfill
from processors.change.replay import Replay
from processors.change.undo import Undo, summary_table
from processors.load.commit_protocol import MicroBatches
from processors.read.audit import Audit, audit
from processors.read.summary import SummaryResult, build_days
from processors.receipts.batches import rebuild_forgotten, sweep_receipts
from processors.receipts.operations import OperationReceipts
from watcher.app import App
from watcher.intake.free_space import Room
from watcher.intake.intake import Intake
from watcher.intake.nominations import Nominations
from watcher.intake.scan_result import Ignored, ScanResult
from watcher.intake.unknown_ends import record_ends
from watcher.work.handover import Flusher, FlushReport
from watcher.work.held_drafts import Drafting
from watcher.work.startup_repair import Recovered, Repair, Walkers, inspect, recover, resume_operations

log = get_logger()

_FINDINGS_TOLD = 5


class Work:
    """What Lemonade does. `pause(seconds)` waits and returns False when it drains; `draining()` asks for that."""

    def __init__(self, app: App, *, pause: Callable[[float], bool], draining: Callable[[], bool]) -> None:
        self.app = app
        self.pause = pause
        self.draining = draining
        self.outage = Outage(pause)
        self.room = Room(app.settings)
        self.held_back = False  #: files were left in incoming/ for want of room
        self.intake = Intake(app.settings, app.ledger, app.registry, app.clock)
        self.microbatches = MicroBatches(
            app.settings, app.ledger, app.lake(), app.runner, app.clock, pause, self.outage
        )
        self.flusher = Flusher(
            app.settings, self.microbatches.ledger, app.registry, self.microbatches, app.clock, draining
        )
        self.drafting = Drafting(Drafts(app.database, app.clock), app.registry)
        self.receipts = OperationReceipts(app.lake(), app.database, app.clock)
        rewriter, settler = self.microbatches.rewriter, self.microbatches.settler
        self.undo = Undo(app.ledger, app.lake(), rewriter, settler, self.intake.lock, self.receipts, self.outage)
        self.replay = Replay(app.settings, app.ledger, app.lake(), rewriter, self.outage, self.receipts)
        backfills = self.outage.patient(Backfills(app.database, app.clock))
        self.backfill = Backfill(backfills, app.lake(), rewriter, app.runner, app.clock)
        self.walkers = Walkers(self.undo, self.replay, self.backfill)
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
        settings, types = self.app.settings, self.read_registry().types
        sweep(settings.folders.ends_of_moves())
        rebuilt = rebuild_forgotten(
            self.app.ledger,
            self.app.lake(),
            settings.folders,
            types,
            self.app.clock,
            receipt_days=settings.receipt_days,
        )
        self.receipts.rebuild({kind.name: summary_table(kind) for kind in types})
        self.receipts.sweep(settings.receipt_days)
        recovered = recover(self.app.ledger, self.app.registry, self.microbatches, self.read_registry().types)
        resume_operations(self.walkers, self.app.registry, types, recovered)
        record_ends(self.app.ledger, settings.folders, self.app.clock, is_restored=rebuilt.is_restored)
        self.flusher.stopped |= recovered.stopped
        return recovered

    def inspect(self) -> list[Repair]:
        """What `recover` would do, and which strays the first scan would adopt; changes nothing."""
        return inspect(self.microbatches, self.walkers, self.receipts, self.intake)

    def gather(
        self, snapshot: RegistrySnapshot, nominations: Nominations | None = None, *, full: bool = True
    ) -> ScanResult:
        """One scan of incoming/; with `full` also held files of types that are active now and strays in processing/.

        While there is little room on a disk it takes nothing; once there is room again it looks at everything.
        """
        if self.room.is_short() or self.outage.others_find_disk_full():
            self.held_back = True
            return ScanResult(ignored=[Ignored("incoming/", "a disk is full or nearly; free some space")])
        full, self.held_back = full or self.held_back, False
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
        self.drafting.run(self.app.registry.read())
        return snapshot, result

    def flush(self, types: Sequence[FileType], reason: FlushReason) -> FlushReport:
        """Hand over what is claimed for `types`, and wait until all of it is over."""
        return self.flusher.flush(types, reason, self.pause)

    def leave(self) -> None:
        """This process ends because it was told to: batches in work are no deaths of their files."""
        self.app.ledger.leave_planned("the daemon was told to stop")

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

    def sweep_receipts(self) -> None:
        """Receipts that are old enough go; while something is away, another night will do."""
        app = self.app
        with suppress(WorldFault):
            sweep_receipts(app.ledger, app.lake(), app.clock, receipt_days=app.settings.receipt_days)
            self.receipts.sweep(app.settings.receipt_days)

    def audit(self) -> Audit:
        """Whether the books balance: on record as an event, or as a critical alert with the first findings."""
        app = self.app
        result = audit(app.settings, app.ledger, app.registry, app.lake(), app.clock, stop=self.draining)
        facts = {
            "files": result.files,
            "rows": result.rows,
            "data_files": result.data_files,
            "files_in_work": result.files_in_work,
            "seconds": round(result.seconds, 3),
        }
        if result.balanced:
            log.info(Event.AUDIT_FINISHED, **facts)
            return result
        alert(
            Event.AUDIT_FAILED,
            severity=Severity.CRITICAL,
            code=result.findings[0].code.value,
            findings=[finding.line() for finding in result.findings[:_FINDINGS_TOLD]],
            findings_count=len(result.findings),
            **facts,
            cure="lemonade audit lists every finding with its cure",
        )
        return result


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


def flush_answer(app: App, report: FlushReport, scan: ScanResult, types: Sequence[FileType] = ()) -> dict[str, Any]:
    """A flush as `lemonade flush --json` shows it; `types` of every status tell why a file is held."""
    batches = [
        {
            "batch_id": batch.batch_id,
            "file_type": batch.file_type,
            "table": batch.table_name,
            "files": batch.files,
            "outcomes": dict(batch.counts),
            "rows": batch.rows,
            "rejected": batch.rejected,
            "snapshot_id": batch.snapshot_id,
            "quarantine_snapshot_id": batch.quarantine_snapshot_id,
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
            "rejected": file.rejected,
            "code": file.code,
            "message": file.message,
        }
        for batch in report.batches
        for file in (*batch.refused, *(app.ledger.batch_files(batch.batch_id) if batch.batch_id else ()))
    ]
    not_taken = [{"name": name, "reason": "still being written"} for name in scan.settling]
    not_taken += [{"name": file.name, "reason": f"refused: {file.message}"} for file in scan.refused]
    not_taken += [{"name": each.name, "reason": f"left alone: {each.reason}"} for each in scan.ignored[:1000]]
    not_taken += [
        {"name": file.name, "reason": f"held: {_why_held(file, types)}"}
        for file in app.ledger.files(state=FileState.HELD, limit=1000)
    ]
    return {
        "flush_id": report.flush_id,
        "batches": batches,
        "files": files,
        "duplicates": report.count("duplicate"),
        "refused": len(scan.refused),
        "not_taken": not_taken,
        "drained": report.drained,
    }


def _why_held(file: SourceFile, types: Sequence[FileType]) -> str:
    tie = match_type(parse_name(file.name), types).tie
    if len(tie) > 1:
        return f"{' and '.join(tie)} fit {file.prefix!r} equally well; change the patterns of one"
    return f"no active type takes {file.prefix!r}"


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
