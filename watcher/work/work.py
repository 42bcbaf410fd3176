"""The work itself, one thread at a time: recover, gather, flush, summarise. Each part of it is a module beside this.

The daemon's threads call these methods, and so does a command that holds the daemon's lock because no daemon runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

from metadata.database.states import FlushReason
from metadata.errors import UsageError
from metadata.outage import Outage
from metadata.registry.drafts import Drafts
from metadata.registry.registry import RegistrySnapshot
from metadata.types.file_type import FileType
from processors.load.commit_protocol import MicroBatches
from processors.read.findings import Audit
from processors.read.summary import SummaryResult
from watcher.app import App
from watcher.intake.intake import Intake
from watcher.intake.nominations import Nominations
from watcher.intake.scan_result import ScanResult
from watcher.work import nightly, startup_repair
from watcher.work.flush_report import FlushReport
from watcher.work.gathering import Gathering
from watcher.work.handover import Flusher
from watcher.work.held_drafts import Drafting
from watcher.work.startup_repair import Recovered, Repair
from watcher.work.types_in_trouble import BrokenTypes
from watcher.work.walkers import Walkers


class Work:
    """What Lemonade does. `pause(seconds)` waits and returns False when it drains; `draining()` asks for that."""

    def __init__(self, app: App, *, pause: Callable[[float], bool], draining: Callable[[], bool]) -> None:
        self.app = app
        self.pause = pause
        self.draining = draining
        self.outage = Outage(pause)
        intake = Intake(app.settings, app.ledger, app.registry, app.clock)
        self.gathering = Gathering(app.settings, app.marks, intake, self.outage, app.clock)
        self.microbatches = MicroBatches(app.settings, app.ledger, app.lake(), app.runner, app.clock, self.outage)
        self.flusher = Flusher(app.settings, app.ledger, app.registry, self.microbatches, app.clock, draining)
        self.drafting = Drafting(Drafts(app.database, app.clock), app.registry)
        self.walkers = Walkers.of_app(app, self.microbatches, intake.lock, self.outage)
        self._broken = BrokenTypes(app.registry)

    def read_registry(self) -> RegistrySnapshot:
        """The types as they are now; a row that broke since the last look gives one alert."""
        snapshot = self.app.registry.read()
        self._broken.tell(snapshot)
        return snapshot

    def recover(self) -> Recovered:
        """Walk what an earlier process left; call it once, under the lock, before anything is claimed."""
        types = self.read_registry().types
        recovered = startup_repair.recover(self.app, self.microbatches, self.walkers, types)
        self.flusher.stopped |= recovered.stopped
        return recovered

    def inspect(self) -> list[Repair]:
        """What `recover` would do, and which strays the first scan would adopt; changes nothing."""
        return startup_repair.inspect(self.microbatches, self.walkers, self.gathering.intake)

    def gather(
        self, snapshot: RegistrySnapshot, nominations: Nominations | None = None, *, full: bool = True
    ) -> ScanResult:
        """One scan of incoming/; with `full` of all else that could be claimed."""
        return self.gathering.gather(snapshot, nominations, full=full)

    def gather_until_settled(self) -> tuple[RegistrySnapshot, ScanResult]:
        """Scan, and scan again until no file is still settling or SETTLE_SECONDS (and a little) are over."""
        snapshot = self.read_registry()
        result = self.gathering.until_settled(snapshot, self.pause)
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
        return nightly.build_summaries(self.app, self.read_registry().active, first, last, before)

    def sweep_receipts(self) -> None:
        """Receipts that are old enough go."""
        nightly.sweep_old_receipts(self.app, self.walkers.receipts)

    def audit(self) -> Audit:
        """Whether the books balance: on record as an event, or as a critical alert."""
        return nightly.audit_books(self.app, self.draining)


def wanted_types(snapshot: RegistrySnapshot, names: Sequence[str]) -> list[FileType]:
    """The active types called `names`, or all without names; UsageError for one that is not there or not active."""
    active = {kind.name: kind for kind in snapshot.active}
    for name in names:
        if name not in active:
            raise UsageError(
                f"choosing file type {name!r}: no active type has that name; active are {', '.join(sorted(active))}"
            )
    return [active[name] for name in names] if names else list(active.values())
