"""`lemonade demo`: the main job for real, on generated data in a folder of its own.

It does nothing that a person could not type: every step is the `lemonade` command in a process of its own.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from metadata.errors import Busy, LemonadeError

_START_SECONDS = 120.0
_DRAIN_SECONDS = 120.0
_PATIENCE_SECONDS = 15
_LOG_LINES = 25
_BUSY = 75  # the exit code of a daemon whose folders belong to another one
_EXAMPLES = (
    "SELECT vehicle_id, event_time, event_type, event_value FROM vehicle_events ORDER BY event_time DESC LIMIT 5",
    "SELECT vehicle_id, report_time, status FROM vehicle_status ORDER BY report_time DESC LIMIT 5",
    "SELECT * FROM daily_summary ORDER BY day DESC, vehicle_id LIMIT 5",
)
_COUNTS = """SELECT 'raw_data.vehicle_events' AS "table", count(*) AS rows FROM raw_data.vehicle_events
UNION ALL SELECT 'raw_data.vehicle_status', count(*) FROM raw_data.vehicle_status
UNION ALL SELECT 'summary.daily_summary', count(*) FROM summary.daily_summary ORDER BY 1"""


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Where everything of the demo lies; made when it is missing, added to when it is there.",
)
def demo(folder: Path) -> None:
    """Show the main job: generate files, load them with a daemon, summarise, query. Safe to repeat: it adds.

    Needs nothing that runs already, and leaves other installations alone. Exit 1 when a step fails, with the end of
    the daemon's log; 75 when another demo works in the folder.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stopped)
    _Demo(folder.absolute()).run()


def _stopped(number: int, _frame: FrameType | None) -> NoReturn:
    """So that the daemon is stopped on the way out."""
    raise SystemExit(128 + number)


class _Failed(LemonadeError):
    """A step did not work: the command exits 1."""

    exit_code = 1


class _Demo:
    """One demo in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "lemonade.log"
        self.environ = _environ()
        self.daemon: subprocess.Popen[bytes] | None = None
        self._log_begin = 0

    def run(self) -> None:
        """Everything, from the empty folder to the last hint; the daemon is stopped however it ends."""
        again = (self.folder / "data").exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        click.echo(f"The demo lives in {_shown(self.folder)}" + (", and adds to what is there." if again else "."))
        click.echo("")
        try:
            with _stage("initialise"):
                self._lemonade("init")
            with _stage("start the daemon (Spark warms up meanwhile)"):
                self._start()
            with _stage("generate 5 files of each type, 2 % of the records bad, drop them into incoming/"):
                made = json.loads(
                    self._lemonade("generate", "--num-files", "5", "--bad-records", "0.02", "--no-cleanup", "--json")
                )
            with _stage("flush: Spark decodes, Iceberg commits"):
                self._lemonade("flush", "--json", accept=(0, 1))
            with _stage("summarize: the last event of each vehicle and day"):
                self._lemonade("summarize", "--json")
            self._show([file["name"] for file in made["files"]])
        except _Failed as failure:
            raise _Failed(f"{failure.message}\n{self._log_tail()}") from None
        finally:
            self._stop()
        self._next()

    # -- steps ----------------------------------------------------------------------------------------------------

    def _lemonade(self, *arguments: str, accept: tuple[int, ...] = (0,)) -> str:
        """Run a verb to its end; returns what it wrote to stdout."""
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "watcher", "-C", str(self.folder), *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        waits = 0
        while True:
            try:
                out, errors = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                reason = self._what_is_away()
                waits = waits + 1 if reason else 0
                if waits >= _PATIENCE_SECONDS:  # it would wait for ever, and so would we
                    process.kill()
                    process.communicate()
                    raise _Failed(f"running lemonade {' '.join(arguments)}: the daemon waits: {reason}") from None
        if process.returncode not in accept:
            said = (errors or out).strip()
            raise _Failed(f"running lemonade {' '.join(arguments)}: exit code {process.returncode}\n{said}")
        return out

    def _what_is_away(self) -> str | None:
        """What the daemon has said it waits for, unless it has said since that it is back."""
        if self.daemon is None:
            return None
        lines = [line for line in self._log_of_this_run().splitlines() if b'"event": "world.' in line]
        last = json.loads(lines[-1]) if lines else {}
        return last.get("error", "no reason given") if last.get("event") == "world.away" else None

    def _log_of_this_run(self) -> bytes:
        with self.log.open("rb") as log:
            log.seek(self._log_begin)
            return log.read()

    def _start(self) -> None:
        """Start the daemon and wait until it says that it looks."""
        self._log_begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "watcher", "-C", str(self.folder), "run"],
                env={**self.environ, "LOG_FORMAT": "json"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we stop it, in one go
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if b'"daemon.started"' in self._log_of_this_run():
                return
            code = self.daemon.poll()
            if code == _BUSY:
                raise Busy(f"starting the demo: another one works in {_shown(self.folder)}; wait, or take --folder")
            if code is not None:
                raise _Failed(f"starting the daemon: it ended with exit code {code}")
            time.sleep(0.1)
        raise _Failed(f"starting the daemon: it was not ready after {_START_SECONDS:.0f} s")

    def _stop(self) -> None:
        """SIGTERM, then wait until it has drained."""
        if self.daemon is None or self.daemon.poll() is not None:
            return
        self.daemon.terminate()  # before anything is said: nobody may be listening any more
        with _stage("stop the daemon"):
            try:
                self.daemon.wait(timeout=_DRAIN_SECONDS)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()

    # -- what a person wants to see -------------------------------------------------------------------------------

    def _show(self, names: Sequence[str]) -> None:
        with _stage("ask for files, batches and rows"), ThreadPoolExecutor(os.cpu_count()) as pool:
            asked: list[tuple[str, ...]] = [
                ("files", "--limit", "10000", "--json"),
                ("batches", "--limit", "10000", "--json"),
            ]
            asked += [("query", sql) for sql in (_COUNTS, *_EXAMPLES)]
            asked.append(("quarantine", "list", "--summary"))
            answers = list(pool.map(lambda arguments: self._lemonade(*arguments), asked))
        known = json.loads(answers[0])
        files = [file for file in known if file["name"] in names]
        batches = {batch["batch_id"]: batch for batch in json.loads(answers[1])}
        lost = [file for file in files if file["state"] != "loaded"]
        if lost or len(files) < len(names):
            told = "; ".join(f"{file['name']} is {file['state']}: {file['message']}" for file in lost)
            raise _Failed(f"loading the files: {len(files)} of {len(names)} were taken. {told}")

        _title("Which files became which snapshots")
        for batch_id in dict.fromkeys(file["batch_id"] for file in files):
            batch = batches[batch_id]
            click.echo(f"snapshot {batch['snapshot_id']} of {batch['table']}, {batch['rows']} rows, from")
            for file in known:  # an earlier demo that was stopped may have left some
                if file["batch_id"] == batch_id:
                    click.echo(f"  {file['name']}  {file['rows']} rows, {file['rejected']} records rejected")

        _title("Rows in the tables")
        click.echo(answers[2], nl=False)
        for sql, answer in zip(_EXAMPLES, answers[3:-1], strict=True):
            _title(sql)
            click.echo(answer, nl=False)

        _title("Rejected records, in the quarantine")
        click.echo(answers[-1], nl=False)

        _title("Where things are")
        data = self.folder / "data"
        for what, path in (
            ("drop files here", data / "incoming"),
            ("loaded files", data / "processed"),
            ("files that wait or failed", data / "source_data"),
            ("Iceberg tables", data / "datalake"),
            ("Iceberg catalog", data / "catalog.db"),
            ("ledger and registry", data / "metadata.db"),
            ("the daemon's log", self.log),
        ):
            click.echo(f"{what:<26} {_shown(path)}")
        click.echo("")

    def _next(self) -> None:
        """What to type now, from where the user stands."""
        command = f"{_command()} -C {shlex.quote(_shown(self.folder))}"
        speeds = "SELECT vehicle_id, event_time, event_value FROM vehicle_events WHERE event_type = 'speed' LIMIT 5"
        _title("What to type next")
        for wanted, arguments in (
            ("ask something", f'query "{speeds}"'),
            ("ask it as JSON", f'query --format json "{speeds}"'),
            ("a prompt; .tables lists the tables", "query"),
            ("the fate of every file", "files"),
            ("which records were rejected, and why", "quarantine list"),
            ("what fails, how often", "report"),
            ("do the books balance", "audit"),
            ("more files into incoming/", "generate --no-cleanup"),
            ("load them now, daemon or not", "flush"),
            ("the daemon, until Ctrl-C", "run"),
        ):
            click.echo(f"{wanted}:\n    {command} {arguments}")

    def _log_tail(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        except FileNotFoundError:
            return f"the daemon has written no log; the demo's folder is {_shown(self.folder)}"
        return "\n".join([f"the end of {_shown(self.log)}:", *lines])


@contextmanager
def _stage(what: str) -> Iterator[None]:
    """A line of progress on stderr, with the seconds it took."""
    begin = time.monotonic()
    click.echo(f"{what} … ", err=True, nl=False)
    try:
        yield
    except BaseException:
        click.echo("failed", err=True)
        raise
    click.echo(f"{time.monotonic() - begin:.1f} s", err=True)


def _title(text: str) -> None:
    click.echo(f"\n-- {text}")


def _environ() -> dict[str, str]:
    """This environment without any Lemonade setting: the demo has its own folder, whatever is configured here."""
    from metadata.settings import Settings

    ours = {name.upper() for name in Settings.model_fields}
    environ = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    root = str(Path(__file__).resolve().parents[2])  # the very code that runs now, installed or not
    paths = [root, *filter(None, [environ.get("PYTHONPATH")])]
    return {**environ, "PYTHONPATH": os.pathsep.join(paths)}


def _command() -> str:
    """How the user can call Lemonade from here."""
    script = Path(sys.executable).parent / "lemonade"
    if not script.exists():
        return f"{shlex.quote(_shown(Path(sys.executable)))} -m watcher"
    found = shutil.which("lemonade")
    if found is not None and Path(found).absolute() == script:
        return "lemonade"
    return shlex.quote(_shown(script))


def _shown(path: Path) -> str:
    """The path from the working directory when that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
