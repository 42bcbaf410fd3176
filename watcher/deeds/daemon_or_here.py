"""How a command changes state: a request to the live daemon, or the work itself under the daemon's lock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from metadata.errors import Busy, LemonadeError, UsageError
from watcher.app import App
from watcher.lock import acquire, daemon_pid, wake_file

if TYPE_CHECKING:
    from watcher.work.startup_repair import Repair


def perform(app: App, verb: str, arguments: dict[str, Any], *, wait: bool = True) -> dict[str, Any]:
    """Have `verb` done and return its answer.

    With a live daemon: a request row (the truth) and a touched wake file (the hint); with `wait` until it is done, else
    the answer is `{"request_id": …}`. Without one: done here, under the lock. Raises what the verb raises, Busy when
    the daemon ends before it is done or another command keeps the lock for a minute.
    """
    _ = app.database  # a missing `init` is said before anything is locked
    while True:
        if daemon_pid(app.settings) is not None:
            return _ask(app, verb, arguments, wait)
        try:
            lock = acquire(app.settings, "command", verb)
        except Busy:
            if daemon_pid(app.settings) is None:
                raise
            continue  # a daemon has just started: ask it
        with lock:
            return do_under_lock(app, verb, arguments)


def do_under_lock(app: App, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Recover, then do `verb`, in this process, whose lock the caller holds; ends Spark if it was started."""
    from watcher.deeds.by_name import do
    from watcher.work.work import Work

    work = Work(app, pause=_pause, draining=lambda: False)
    try:
        work.recover()
        return do(work, verb, arguments)
    finally:
        if app.started_runner is not None:
            app.started_runner.stop()


def repairs_now(app: App) -> list[Repair]:
    """What start-up would repair at this moment; changes nothing and needs no lock."""
    from watcher.work.work import Work

    return Work(app, pause=_pause, draining=lambda: False).inspect()


def trial_of_replay(app: App, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a replay of the chosen records would make of them; changes nothing and needs no lock."""
    from watcher.deeds.replay import try_replay
    from watcher.work.work import Work

    return try_replay(app, Work(app, pause=_pause, draining=lambda: False).walkers.replay, arguments)


def recover_under_lock(app: App) -> tuple[list[Repair], list[str]]:
    """Repair, in this process, whose lock the caller holds; returns what there was, and the types that stopped."""
    from watcher.work.work import Work

    work = Work(app, pause=_pause, draining=lambda: False)
    try:
        repairs = work.inspect()
        recovered = work.recover()
        work.gathering.intake.adopt_strays(work.read_registry().types)
        return repairs, sorted(recovered.stopped)
    finally:
        if app.started_runner is not None:
            app.started_runner.stop()


def _pause(seconds: float) -> bool:
    time.sleep(seconds)  # a command has nothing to be woken for but Ctrl-C, which ends it
    return True


def _ask(app: App, verb: str, arguments: dict[str, Any], wait: bool) -> dict[str, Any]:
    request_id = app.requests.ask(verb, arguments)
    wake_file(app.settings).touch()
    if not wait:
        return {"request_id": request_id}
    looks = 0
    while True:
        request = app.requests.get(request_id)
        if request.state == "done":
            return request.result or {}
        if request.state in ("failed", "dropped"):
            raise _error(verb, request.error or "no reason given")
        looks += 1
        if looks % 10 == 0 and daemon_pid(app.settings) is None and app.requests.get(request_id).state != "done":
            app.requests.fail(request_id, "the daemon ended before it was done")
            raise Busy(f"asking the daemon to {verb}: it ended before it was done; run the command again")
        time.sleep(0.1)  # the answer is a row: there is nothing to wait on but the next look


def _error(verb: str, stored: str) -> LemonadeError:
    """The daemon's error as it was raised there: `kind|message`."""
    kind, _, message = stored.partition("|")
    if kind == "UsageError":
        return UsageError(message)
    if kind == "Busy" or not message:
        return Busy(message or f"asking the daemon to {verb}: {stored}")
    if kind == "ConfigurationError":
        return _Told(message, exit_code=78)
    return LemonadeError(message)


class _Told(LemonadeError):
    """An error that the daemon told us, with the exit code it stands for."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
