"""`lemonade retry`, and files put back by hand: what failed goes through again, under the same entry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from books import assert_app_books
from click.testing import CliRunner, Result
from command import drop, events_file, wait_for
from inprocess import InProcessRunner

from metadata.database.models import SourceFile
from metadata.database.states import FileState
from metadata.errors import WorldFault
from metadata.ledger.file_history import of_file
from metadata.ledger.life import find_files
from metadata.settings import Settings
from watcher.app import App
from watcher.commands.retry import retry
from watcher.daemon.service import Service
from watcher.deeds import retry as retrying
from watcher.deeds.daemon_or_here import perform

NAME = "vehicles_events_20260115120000.json"
OTHER = "vehicles_events_20260115120001.json"


def run(app: App, *arguments: str) -> Result:
    """`lemonade retry`, as the command line runs it."""
    return CliRunner().invoke(retry, list(arguments), obj=app)


def answer(app: App, *arguments: str, exit_code: int = 0) -> Any:
    """Its JSON."""
    done = run(app, *arguments, "--json")
    assert done.exit_code == exit_code, done.output
    return json.loads(done.stdout)


def load(app: App) -> dict[str, Any]:
    """Flush what is in incoming/."""
    return perform(app, "flush", {"types": []})


def incoming(app: App, name: str, content: Any) -> Path:
    """Drop a file."""
    return drop(app.settings.incoming_folder, name, content)


def fail(app: App, name: str = NAME) -> SourceFile:
    """A file that is no JSON, in failed/."""
    incoming(app, name, '{"vehicles_events": [')
    load(app)
    (file,) = app.ledger.files(name=name, newest_first=True, limit=1)
    assert file.state == FileState.FAILED
    return file


def mend(file: SourceFile, count: int = 10, start: int = 0) -> None:
    """Write whole JSON into a failed file, where it lies."""
    Path(file.path).write_text(json.dumps(events_file(count, start=start)))


def assert_books(app: App) -> None:
    """Every row once, every file in one place, the audit agrees; each history ends at the ledger's state."""
    assert_app_books(app)
    files = app.ledger.files()
    with app.database.reading() as session:
        for file in files:
            last = of_file(session, file.id)[-1]
            assert (last.state, last.path, last.batch_id) == (file.state, file.path, file.batch_id)


def test_a_mended_file_is_loaded_under_the_same_entry(app: App) -> None:
    """After the file in failed/ was mended: same id, one attempt more, rows loaded, and no reason left beside it."""
    file = fail(app)
    assert Path(f"{file.path}.error.json").exists()
    mend(file)
    told = answer(app, NAME)
    assert [each["file_id"] for each in told["retried"]] == [file.id]
    assert told["retried"][0]["was"]["code"] == "malformed"
    now = app.ledger.files()[0]
    assert (now.id, now.state, now.rows, now.attempts, now.code) == (file.id, FileState.LOADED, 10, 2, None)
    assert now.digest != file.digest
    assert not list(app.settings.folders.failed("vehicle_events").iterdir())
    assert_books(app)


def test_a_file_that_fails_again_is_told_and_stays_one_entry(app: App) -> None:
    """Unmended it fails again: exit 1, attempts 2, its reason beside it anew."""
    file = fail(app)
    told = answer(app, "--all", exit_code=1)
    assert told["retried"][0]["state"] == "failed"
    now = app.ledger.files()[0]
    assert (now.id, now.state, now.attempts) == (file.id, FileState.FAILED, 2)
    reason = json.loads(Path(f"{now.path}.error.json").read_text())
    assert (reason["code"], reason["attempts"], reason["file_id"]) == ("malformed", 2, file.id)
    assert reason["cure"]
    assert {"noticed_at", "claimed_at", "settled_at"} <= set(reason)
    assert_books(app)


def test_a_dry_run_tells_and_changes_nothing(app: App) -> None:
    """`--dry-run` names the files that would go; nothing moves, no row changes."""
    file = fail(app)
    told = answer(app, "--all", "--dry-run")
    assert told["dry_run"] is True
    assert [each["file_id"] for each in told["retried"]] == [file.id]
    assert Path(file.path).exists()
    assert app.ledger.files()[0].attempts == 1
    assert_books(app)


def test_options_choose_what_goes(app: App) -> None:
    """--type, --code and --since narrow the choice; without any the command asks for one (exit 2)."""
    fail(app)
    incoming(app, OTHER, {"vehicles_events": [{"vehicle_id": 1}]})
    load(app)

    def chosen(*arguments: str) -> list[str]:
        done = run(app, "--dry-run", "--json", *arguments)
        return [each["name"] for each in json.loads(done.stdout)["retried"]]

    assert chosen("--all") == [NAME, OTHER]
    assert chosen("--code", "schema_mismatch") == [OTHER]
    assert chosen("--type", "vehicle_events") == [NAME, OTHER]
    assert chosen("--type", "vehicle_status") == []
    assert chosen("--since", "2001-01-01") == [NAME, OTHER]
    assert chosen("--since", "2999-01-01T00:00:00Z") == []
    assert chosen(NAME, "--code", "schema_mismatch") == []
    assert "--all" in str(run(app).exception)


def test_what_was_never_claimed_is_told_with_what_to_do(app: App) -> None:
    """A bad name, a symlink, a vanished and a loaded file are not retried; each says why and what helps."""
    incoming(app, "nonsense.json", events_file(1))
    link = app.settings.incoming_folder / "vehicles_events_20260115120005.json"
    link.symlink_to("/etc/hostname")
    incoming(app, OTHER, events_file(2))
    gone = fail(app)
    Path(gone.path).unlink()
    told = answer(app, "--all", exit_code=1)
    assert told["retried"] == []
    reasons = {each["name"]: each["reason"] for each in told["not_retried"]}
    assert "PREFIX_YYYYMMDDHHMMSS" in reasons["nonsense.json"]
    assert "drop the file itself" in reasons[link.name]
    assert "no longer at" in reasons[NAME]
    assert "it is loaded" in run(app, OTHER).stdout
    assert "no such file" in run(app, "never_was.json").stdout


def test_a_disabled_type_says_so(app: App) -> None:
    """Files of a type that takes none are not moved; the cure is to activate it."""
    file = fail(app)
    app.registry.disable("vehicle_events")
    told = answer(app, "--all", exit_code=1)
    assert "types activate vehicle_events" in told["not_retried"][0]["reason"]
    assert Path(file.path).exists()


def test_put_back_by_hand_it_is_a_new_arrival(app: App) -> None:
    """`mv failed/x incoming/` loads it as a new file, also when a short id stands in its name there."""
    first = fail(app)
    second = fail(app)
    assert Path(second.path).name != NAME, "the name was taken in failed/"
    for number, file in enumerate((first, second)):
        mend(file, count=4, start=number * 4)
        Path(file.path).rename(app.settings.incoming_folder / Path(file.path).name)
    load(app)
    loaded = [file for file in app.ledger.files(name=NAME) if file.state == FileState.LOADED]
    assert [file.rows for file in loaded] == [4, 4]
    assert {file.id for file in loaded}.isdisjoint({first.id, second.id})
    assert_books(app)


def test_a_bad_name_that_was_put_right_is_a_new_arrival(app: App) -> None:
    """`mv failed/nonsense.json incoming/GOOD_NAME`: it loads, and the old entry says where it went."""
    incoming(app, "nonsense.json", events_file(5))
    load(app)
    (refused,) = app.ledger.files()
    Path(refused.path).rename(app.settings.incoming_folder / NAME)
    load(app)
    old, new = app.ledger.files()
    assert (old.id, old.state) == (refused.id, FileState.MISSING)
    assert old.message is not None and new.id in old.message
    assert (new.name, new.state, new.rows) == (NAME, FileState.LOADED, 5)
    assert not Path(f"{refused.path}.error.json").exists()
    assert_books(app)


def test_a_crash_between_move_and_row_loads_the_file_once(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies with the file in processing/ and its old row: the next scan takes it as a new arrival."""
    file = fail(app)
    mend(file)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(app.ledger), "retry_many", die)
    with pytest.raises(KeyboardInterrupt):
        perform(app, "retry", {"all": True})
    monkeypatch.undo()
    load(app)
    assert [each.rows for each in app.ledger.files() if each.state == FileState.LOADED] == [10]
    assert_books(app)


def test_a_reason_that_cannot_be_removed_is_no_bug(app: App) -> None:
    """The file is claimed by then and is loaded by the next flush; what lies in its reason's place is said."""
    file = fail(app)
    mend(file)
    reason = Path(f"{file.path}.error.json")
    reason.unlink()
    reason.mkdir()
    with pytest.raises(WorldFault, match=f"removing {reason}: "):
        perform(app, "retry", {"all": True})
    load(app)
    assert [(each.id, each.rows) for each in app.ledger.files(state=FileState.LOADED)] == [(file.id, 10)]


def test_a_thousand_dead_letters_go_in_groups(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files than one group: all go, none twice."""
    monkeypatch.setattr(retrying, "GROUP_FILES", 3)
    for number in range(8):
        incoming(app, f"vehicles_events_2026011512000{number}.json", "[")
    load(app)
    for number, file in enumerate(app.ledger.files()):
        mend(file, count=1, start=number)
    told = answer(app, "--code", "malformed")
    assert [each["state"] for each in told["retried"]] == ["loaded"] * 8
    assert_books(app)


@pytest.fixture
def service(settings: Settings) -> Iterator[Callable[[], App]]:
    """Starts a daemon in a thread of the test and returns its App."""
    import threading

    started: list[tuple[Service, threading.Thread]] = []

    def start() -> App:
        made = App(settings, runner=InProcessRunner())
        made.init()
        daemon = Service(made)
        thread = threading.Thread(target=daemon.serve)
        thread.start()
        started.append((daemon, thread))
        return made

    yield start
    for daemon, thread in started:
        daemon.stop()
        thread.join(60)


def test_the_daemon_retries_on_its_batches_thread(service: Callable[[], App]) -> None:
    """A request to the live daemon moves, loads and answers like the command under its own lock."""
    app = service()
    incoming(app, NAME, "[")
    wait_for(lambda: app.ledger.waiting(), "the claim")
    asked = app.requests.ask("flush", {"types": []})
    wait_for(lambda: app.requests.get(asked).state == "done", "the flush")
    mend(app.ledger.files()[0])
    asked = app.requests.ask("retry", {"files": [NAME]})
    wait_for(lambda: app.requests.get(asked).state not in ("waiting", "taken"), "the retry")
    told = app.requests.get(asked)
    assert told.result is not None, told.error
    assert told.result["retried"][0]["state"] == "loaded"
    assert find_files(app.database, NAME)[0].rows == 10
    assert_books(app)
