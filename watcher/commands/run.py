"""`lemonade run`: the daemon in the foreground, or one round for cron."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from watcher.terminal.output import JSON_OPTION

if TYPE_CHECKING:
    from watcher.app import App


@click.command()
@click.option("--once", is_flag=True, help="Take what is there, load it, settle, end: for cron.")
@JSON_OPTION
@click.pass_obj
def run(app: App, once: bool, as_json: bool) -> None:
    """Run the daemon. SIGTERM or Ctrl-C drains; a second one stops at once."""
    from metadata.errors import LemonadeError
    from metadata.logs import Event, Severity, alert, configure
    from watcher.exit_codes import exit_code

    try:
        configure(app.settings.log_level, app.settings.log_format)
        code = _run_once(app, as_json) if once else run_daemon(app, _pause)
    except LemonadeError as error:  # said as a log line: under a supervisor, every line of ours is one
        configure()
        alert(Event.DAEMON_REFUSED, severity=Severity.CRITICAL, code=error.code, error=error.message)
        code = exit_code(error)
    raise click.exceptions.Exit(code)


def run_daemon(app: App, pause: Callable[[float], bool]) -> int:
    """Run it in this process until it is told to stop; its exit code. `pause` waits while the ledger is away."""
    from metadata.outage import Outage
    from watcher.daemon.service import Service

    # Nothing is locked yet, and no signal is ours: SIGTERM ends the wait.
    Outage(pause).wait_out(lambda: app.database)
    return Service(app).run()


def _pause(seconds: float) -> bool:
    time.sleep(seconds)  # there is nothing to be woken by but the next look
    return True


def _run_once(app: App, as_json: bool) -> int:
    from watcher.commands.flush import any_failed, print_flush
    from watcher.deeds.daemon_or_here import do_under_lock
    from watcher.lock import acquire

    _ = app.database  # a missing `init` is said before anything is locked
    with acquire(app.settings, "command", "run --once"):
        answer = do_under_lock(app, "flush", {})
    print_flush(answer, as_json)
    return int(any_failed(answer))
