"""A daemon in a thread of the test: the real service with its threads and its observer, without Spark."""

from __future__ import annotations

import threading
from typing import Any

from command import wait_for
from handclock import HandClock
from inprocess import InProcessRunner

from metadata.clock import Clock
from metadata.settings import Settings
from watcher.app import App
from watcher.daemon.service import Service


class Gate(InProcessRunner):
    """Once closed, micro-batches wait before they decode until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self._open = threading.Event()
        self._open.set()

    def close(self) -> None:
        """The next batch waits."""
        self.reached.clear()
        self._open.clear()

    def open(self) -> None:
        """It goes on."""
        self._open.set()

    def run(self, function: Any, tasks: Any, label: str) -> Any:
        """As in process, behind the gate."""
        self.reached.set()
        assert self._open.wait(60)
        return super().run(function, tasks, label)


class Unsparked:
    """An initialised App and its Service, running until `close`."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.gate = Gate()
        self.app = App(settings, clock=clock, runner=self.gate)
        self.app.init()
        self.incoming = settings.incoming_folder
        self.service = Service(self.app)
        self.exit: int | None = None
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        wait_for(lambda: self.service.observer.is_watching, "the observer")

    def _serve(self) -> None:
        self.exit = self.service.serve()

    def states(self) -> dict[str, int]:
        """Number of files by state; a clock moved by hand goes on half a second, so that files settle."""
        if isinstance(self.app.clock, HandClock):
            self.app.clock.forward(0.5)
        counts: dict[str, int] = {}
        for file in self.app.ledger.files():
            counts[file.state] = counts.get(file.state, 0) + 1
        return counts

    def wait_for_states(self, **states: int) -> None:
        """Until the ledger has these files and no others."""
        try:
            wait_for(lambda: self.states() == states, "files", 30)
        except AssertionError:
            raise AssertionError(f"files are {self.states()}, not {states}") from None

    def ask(self, verb: str = "flush", **arguments: Any) -> str:
        """Ask as a command does; returns the request's id."""
        request_id = self.app.requests.ask(verb, arguments)
        self.service.flags.wake.set()
        return request_id

    def answer(self, request_id: str) -> dict[str, Any]:
        """The answer, once it is there."""

        def done() -> bool:
            if isinstance(self.app.clock, HandClock):
                self.app.clock.forward(0.5)
            return self.app.requests.get(request_id).state in ("done", "failed", "dropped")

        wait_for(done, "the answer", 30)
        request = self.app.requests.get(request_id)
        assert request.state == "done", request.error
        return request.result or {}

    def flush(self) -> dict[str, Any]:
        """`lemonade flush`."""
        return self.answer(self.ask())

    def numbers(self, table: str = "raw_data.ticks", column: str = "n") -> list[Any]:
        """A column's values, in order."""
        found = self.app.lake().table(table)
        assert found is not None
        return sorted(found.scan().to_arrow()[column].to_pylist())

    def close(self) -> None:
        """Drain."""
        self.gate.open()
        self.service.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.app.database.close()


TICKS = {"file_type": "ticks", "schema_definition": {"fields": [{"name": "n", "type": "long"}]}}
"""The smallest type there is."""


def tick(number: int) -> str:
    """A file name of that type."""
    return f"ticks_20260115{number // 3600:02}{number // 60 % 60:02}{number % 60:02}.json"
