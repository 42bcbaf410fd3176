"""What the daemon's threads tell each other: wake up, drain, end as a bug."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Flags:
    """Each is set by any thread; `draining` and `fatal` are never cleared again."""

    wake: threading.Event = field(default_factory=threading.Event)  #: the main thread has something to look at
    draining: threading.Event = field(default_factory=threading.Event)  #: finish what is in hand, begin nothing
    fatal: threading.Event = field(default_factory=threading.Event)  #: it ends with an exit code that says so

    def stop(self) -> None:
        """Drain."""
        self.draining.set()
        self.wake.set()

    def stop_for_good(self) -> None:
        """Drain, and end as a bug: the supervisor restarts, recovery walks."""
        self.fatal.set()
        self.stop()

    def pause(self, seconds: float) -> bool:
        """Wait; False at once when the daemon drains."""
        return not self.draining.wait(seconds)
