"""Claims what lies in incoming/, when there is room for it; what becomes of one file, intake decides."""

from __future__ import annotations

from collections.abc import Callable

from metadata.clock import Clock
from metadata.database.marks import Marks
from metadata.outage import Outage
from metadata.registry.registry import RegistrySnapshot
from metadata.settings import Settings
from watcher.intake.free_space import Room
from watcher.intake.intake import Intake
from watcher.intake.nominations import Nominations
from watcher.intake.scan_result import Ignored, ScanResult


class Gathering:
    """Scans, and now and then looks at everything. While there is little room on a disk it takes nothing."""

    def __init__(self, settings: Settings, marks: Marks, intake: Intake, outage: Outage, clock: Clock) -> None:
        self.settings = settings
        self.marks = marks
        self.intake = intake
        self.outage = outage
        self.clock = clock
        self.room = Room(settings)
        self.held_back = False  #: files were left in incoming/ for want of room

    def gather(
        self, snapshot: RegistrySnapshot, nominations: Nominations | None = None, *, full: bool = True
    ) -> ScanResult:
        """One scan of incoming/; with `full` also held files of types that are active now and strays in processing/.

        Once there is room again it looks at everything.
        """
        if self.room.is_short() or self.outage.others_find_disk_full():
            self.held_back = True
            return ScanResult(ignored=[Ignored("incoming/", "a disk is full or nearly; free some space")])
        full, self.held_back = full or self.held_back, False
        if full:
            self.intake.release_held(snapshot.types)
            self.intake.adopt_strays(snapshot.types)
            self.marks.set("rescan", self.clock.now())
        return self.intake.scan(snapshot.types, nominations)

    def until_settled(self, snapshot: RegistrySnapshot, pause: Callable[[float], bool]) -> ScanResult:
        """Scan, and scan again until no file is still settling or SETTLE_SECONDS (and a little) are over."""
        deadline = self.clock.monotonic() + self.settings.settle_seconds + 0.5
        result = self.gather(snapshot)
        while result.settling and self.clock.monotonic() < deadline:
            if not pause(max(0.02, min(result.next_look_seconds or 0.1, 0.25))):
                break
            result = self.gather(snapshot, full=False)
        return result
