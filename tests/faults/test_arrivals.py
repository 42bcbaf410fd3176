"""Files as they really arrive: what is recorded is what was loaded, and whatever is written later is another file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from conftest import make_settings
from deaths import death
from workshop import NAME, Workshop, text

from metadata.errors import WorldFault
from metadata.ledger.ledger import Ledger
from metadata.settings import Settings
from processors.load.move_step import Settler
from watcher.deeds.by_name import do

NOBODY = 65534
SECOND = "vehicles_events_20260115120001.json"


@pytest.fixture
def shop(settings: Settings) -> Iterator[Workshop]:
    """A workshop in the test's own folder."""
    made = Workshop(settings)
    yield made
    made.close()


@pytest.fixture
def told(lines: Callable[[str], list[dict[str, Any]]]) -> Callable[[str], list[dict[str, Any]]]:
    """`told("file.changed")`: the facts of that event's alerts so far."""
    return lambda event: [facts for facts in lines(event) if facts.get("alert")]


# -- how files come ---------------------------------------------------------------------------------------------------


def test_a_slow_writer_is_waited_for(shop: Workshop) -> None:
    """A file that grows is left alone, told by events or seen by scans, until it holds still or is closed."""
    whole = text(4)
    with (shop.incoming / NAME).open("wb") as stream:
        for start in range(0, len(whole), 200):
            stream.write(whole[start : start + 200])
            stream.flush()
            shop.clock.forward(0.15)
            assert not shop.look(changed=(NAME,) if start % 400 else ()).claimed
    assert len(shop.look(NAME).claimed) == 1
    shop.flush()
    assert len(shop.records()) == 4
    shop.assert_books()


def test_an_append_after_the_close_is_part_of_the_file(shop: Workshop) -> None:
    """Opened and written again before anybody looked: the earlier close counts no more."""
    whole = text(4)
    (shop.incoming / NAME).write_bytes(whole[:50])
    with (shop.incoming / NAME).open("ab") as stream:
        stream.write(whole[50:-10])
        assert not shop.look(changed=(NAME,)).claimed
        stream.write(whole[-10:])
    shop.load()
    assert len(shop.records()) == 4
    shop.assert_books()


def test_links_and_renames(shop: Workshop, tmp_path: Path) -> None:
    """Renamed in, hard linked and renamed over: each name loads what it stood for when it was claimed, once."""
    aside = tmp_path / "aside"
    aside.mkdir()
    (aside / "linked").write_bytes(text(2))
    os.link(aside / "linked", shop.incoming / NAME)
    (aside / "moved").write_bytes(text(2, 10))
    (aside / "moved").rename(shop.incoming / SECOND)
    shop.look(SECOND)
    (aside / "better").write_bytes(text(3, 20))
    (aside / "better").replace(shop.incoming / NAME)
    shop.load()
    assert sorted(record["vehicle_id"] for record in shop.records()) == ["v10", "v11", "v20", "v21", "v22"]
    assert shop.states() == ["loaded", "loaded"]
    assert (aside / "linked").read_bytes() == text(2)
    shop.assert_books()


def test_touch_changes_nothing(shop: Workshop, told: Callable[..., Any]) -> None:
    """In incoming/ it prolongs the wait; in processing/ another mtime with the same bytes is no change."""
    path = shop.drop()
    os.utime(path)
    shop.look(changed=(NAME,))
    shop.claim()
    os.utime(shop.processing / NAME, (1, 1))
    shop.runner.after = lambda: os.utime(shop.processing / NAME, (2**33, 2**33))
    shop.flush()
    assert shop.states() == ["loaded"]
    assert not told("file.changed")
    shop.assert_books()


@pytest.mark.parametrize("year", [1970, 2100])
def test_a_preserved_or_future_mtime_loads(shop: Workshop, year: int) -> None:
    """What a producer's clock says decides nothing."""
    stamp = datetime(year, 1, 2, tzinfo=UTC).timestamp()
    os.utime(shop.drop(), (stamp, stamp))
    shop.load()
    assert (shop.states(), len(shop.records())) == (["loaded"], 3)
    shop.assert_books()


# -- rewritten in place ---------------------------------------------------------------------------------------------


def test_rewritten_before_its_claim(shop: Workshop) -> None:
    """The last bytes are loaded, and only these."""
    path = shop.drop(rows=2)
    shop.look()
    path.write_bytes(text(5, 50))
    shop.load()
    assert sorted(record["vehicle_id"] for record in shop.records()) == [f"v{number}" for number in range(50, 55)]
    shop.assert_books()


@pytest.mark.parametrize("same_size", [True, False])
def test_rewritten_after_its_claim(shop: Workshop, told: Callable[..., Any], same_size: bool) -> None:
    """It leaves its batch and is claimed again with its new digest; the next flush loads the new bytes once."""
    shop.drop(rows=2)
    shop.claim()
    (shop.processing / NAME).write_bytes(text(2, 5) if same_size else text(4, 50))
    shop.flush()
    assert (shop.states(), shop.records()) == (["claimed"], [])
    assert [alert["code"] for alert in told("file.changed")] == ["bytes_changed"]
    shop.flush()
    (row,) = shop.rows()
    assert (row.state, row.rows) == ("loaded", 2 if same_size else 4)
    shop.assert_books()


def test_rewritten_during_its_claim(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that change between the move and the digest are the ones on record, and the ones loaded."""
    shop.drop(rows=2)
    import watcher.intake.claiming

    digest = watcher.intake.claiming.digest_file

    def rewrite_first(path: Path, limit: int) -> tuple[str, int]:
        path.write_bytes(text(3, 30))
        return digest(path, limit)

    monkeypatch.setattr(watcher.intake.claiming, "digest_file", rewrite_first)
    shop.load()
    (row,) = shop.rows()
    assert (row.state, row.rows, row.digest) == ("loaded", 3, sha256(text(3, 30)).hexdigest())
    shop.assert_books()


@pytest.mark.parametrize("same_size", [True, False])
def test_rewritten_after_it_was_loaded(shop: Workshop, told: Callable[..., Any], same_size: bool) -> None:
    """Noticed at settle: the loaded row keeps what was loaded, the new bytes are a new file, told in one alert."""
    shop.drop(rows=2)
    shop.claim()
    later = text(2, 5) if same_size else text(4, 50)
    shop.runner.after = lambda: (shop.processing / NAME).write_bytes(later)
    shop.flush()
    first, second = shop.rows(NAME)
    assert (first.state, first.rows, first.digest) == ("loaded", 2, sha256(text(2)).hexdigest())
    assert (first.code, first.settled_at is not None) == ("bytes_changed", True)
    assert second.id in str(first.message)
    assert "no copy" in str(first.message)
    assert not Path(first.path).exists()
    assert (second.state, second.digest, second.prefix) == ("claimed", sha256(later).hexdigest(), first.prefix)
    assert (second.filename_time, second.size_bytes) == (first.filename_time, len(later))
    (alert,) = told("file.changed")
    assert (alert["code"], alert["file_id"], alert["new_file_id"]) == ("changed_after_load", first.id, second.id)
    shop.assert_books()

    shop.runner.after = lambda: None
    shop.begin().recover()
    shop.load()
    assert shop.states() == ["loaded", "loaded"]
    assert len(shop.records()) == 2 + (2 if same_size else 4)
    assert len(told("file.changed")) == 1
    shop.assert_books()

    do(shop.work, "undo", {"target": first.id})
    assert shop.states() == ["undone", "loaded"]
    assert {record["_file_id"] for record in shop.records()} == {second.id}
    assert not told("file.missing")
    shop.assert_books()


def test_a_duplicate_that_was_rewritten_is_none(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decided by the bytes that were digested; what was written since is another file, and loads."""
    shop.drop(rows=2)
    shop.load()
    shop.drop(rows=2)
    shop.claim()
    settle = Settler.settle_files

    def rewrite_first(self: Settler, files: Any) -> None:
        if files:
            (shop.processing / NAME).write_bytes(text(3, 30))
        settle(self, files)

    with monkeypatch.context() as patched:
        patched.setattr(Settler, "settle_files", rewrite_first)
        shop.flush()
    assert shop.states() == ["loaded", "duplicate", "claimed"]
    shop.flush()
    assert shop.states() == ["loaded", "duplicate", "loaded"]
    assert len(shop.records()) == 5
    shop.assert_books()


def test_a_later_file_in_the_place_of_one_that_was_moved(shop: Workshop) -> None:
    """A process that died between move and record left the name free; who took it meanwhile is not touched."""
    shop.drop(rows=2)
    shop.claim()

    with death(Ledger, "files_settled", before=True):
        shop.flush()
    shop.drop(rows=4, start=40)
    shop.claim()
    shop.begin().recover()
    first, second = shop.rows()
    assert (first.state, second.state, Path(second.path).read_bytes()) == ("loaded", "claimed", text(4, 40))
    shop.flush()
    assert len(shop.records()) == 6
    shop.assert_books()


# -- removed ----------------------------------------------------------------------------------------------------------


def test_removed_between_notice_and_claim(shop: Workshop) -> None:
    """Nobody's loss: no row, no alert, the others go on."""
    path = shop.drop()
    shop.drop(SECOND, start=10)
    shop.look()
    path.unlink()
    shop.load()
    assert [file.name for file in shop.rows()] == [SECOND]
    shop.assert_books()


def test_removed_in_processing(shop: Workshop, told: Callable[..., Any]) -> None:
    """Before it was read it is `missing`, with an alert; after its load its rows stay. The others load."""
    shop.drop()
    shop.drop(SECOND, start=10)
    shop.claim()
    (shop.processing / NAME).unlink()
    shop.flush()
    assert shop.states() == ["missing", "loaded"]
    assert [alert["file"] for alert in told("file.missing")] == [NAME]
    assert len(shop.records()) == 3
    shop.assert_books()

    shop.drop("vehicles_events_20260115120002.json", start=20)
    shop.claim()
    shop.runner.after = lambda: (shop.processing / "vehicles_events_20260115120002.json").unlink()
    shop.flush()
    assert shop.states() == ["missing", "loaded", "loaded"]
    assert len(told("file.missing")) == 2
    assert len(shop.records()) == 6


def test_processing_away_is_nobodys_loss(shop: Workshop, told: Callable[..., Any]) -> None:
    """When the whole folder is gone (unmounted) nothing is marked missing; once it is back all goes on."""
    shop.drop()
    shop.drop("unknown_20260115120000.json", b"[]")
    shop.claim()
    source, away = shop.app.settings.source_data_base, shop.app.settings.source_data_base.with_name("away")
    source.rename(away)
    source.mkdir()  # an empty mount point
    shop.drop(SECOND, start=10)
    with pytest.raises(WorldFault):
        shop.look(SECOND)
    with pytest.raises(WorldFault):
        shop.flush()
    assert list(source.iterdir()) == []
    assert (shop.incoming / SECOND).exists()
    source.rmdir()
    away.rename(source)
    shop.begin().recover()
    shop.load()
    assert sorted(shop.states()) == ["held", "loaded", "loaded"]
    assert not told("file.missing")
    shop.assert_books()


# -- permissions ------------------------------------------------------------------------------------------------------


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root gives up its rights in between; others have none to give up."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that nobody can reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="lemonade-") as folder:
        Path(folder).chmod(0o755)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


def test_no_permission(open_folder: Path, told: Callable[..., Any]) -> None:
    """A file that may not be read goes to failed/ with its reason; the others load."""
    with as_nobody():
        shop = Workshop(make_settings(open_folder))
        shop.drop().chmod(0)
        shop.drop(SECOND)
        shop.load()
        assert [(file.name, file.state, file.code) for file in shop.rows()] == [
            (NAME, "failed", "unreadable"),
            (SECOND, "loaded", None),
        ]
        assert [alert["code"] for alert in told("file.refused")] == ["unreadable"]
        shop.drop("vehicles_events_20260115120002.json", start=20)
        shop.claim()
        (shop.processing / "vehicles_events_20260115120002.json").chmod(0)  # after its claim
        shop.flush()
        assert shop.rows()[-1].code == "unreadable"
        shop.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_another_users_file(open_folder: Path, told: Callable[..., Any]) -> None:
    """Readable, it loads; in a sticky folder it may not be moved: left alone with one alert, the others load."""
    with as_nobody():
        shop = Workshop(make_settings(open_folder))
    os.chown(shop.drop(), 1, 1)
    with as_nobody():
        shop.load()
        assert shop.states() == ["loaded"]
    os.chown(shop.incoming, 0, 0)
    shop.incoming.chmod(0o1777)
    os.chown(shop.drop(SECOND, start=10), 1, 1)
    with as_nobody():
        shop.drop("vehicles_events_20260115120002.json", start=20)
        for _ in range(2):
            shop.load()
        assert shop.states() == ["loaded", "loaded"]
        assert [alert["code"] for alert in told("file.refused")] == ["may_not_move"]
        assert (shop.incoming / SECOND).exists()
        shop.assert_books()
        shop.close()


# -- names ----------------------------------------------------------------------------------------------------------


def test_odd_names_load(shop: Workshop) -> None:
    """255 bytes, newlines, quotes, `..`, mixed case, Unicode composed and decomposed: each loads under its own name."""
    stem = "vehicles_events_20260115120000"
    names = [
        f"{stem}_{'x' * (255 - len(stem) - 6)}.json",
        f"{stem}_two\nlines.json",
        f'{stem}_it\'s "quoted" `$(x)`.json',
        f"{stem}_..json",
        f"{stem}-...json",
        f"{stem}_%s{{}}%00.JSON",
        f"{stem}_A.Json",
        f"{stem}_a.json",
        f"{stem}_caf\u00e9.json",
        f"{stem}_cafe\u0301.json",
        f"{stem}_\U0001f34b\u202e.json",
    ]
    for number, name in enumerate(names):
        (shop.incoming / name).write_bytes(text(1, number))
    shop.load()
    assert {file.name: file.state for file in shop.rows()} == dict.fromkeys(names, "loaded")
    assert sorted(record["_source_file"] for record in shop.records()) == sorted(names)
    shop.assert_books()


def test_names_cannot_leave_their_folder(shop: Workshop) -> None:
    """A prefix that looks like a way out is refused, or is a plain folder's name."""
    for name in (".._20260115120000.json.x", "x.._20260115120000.json", "..\\..\\etc_20260115120000.json"):
        (shop.incoming / name).write_bytes(text(1))
    shop.claim()
    base = shop.app.settings.source_data_base
    assert {str(Path(file.path).relative_to(base).parent) for file in shop.rows()} <= {"failed", "held/x.."}
    shop.assert_books()


# -- a flood of unknown types -----------------------------------------------------------------------------------------


def test_a_flood_of_unknown_types_stops(settings_with: Callable[..., Settings], told: Callable[..., Any]) -> None:
    """At MAX_INACTIVE_TYPES further ones stay in incoming/, with one alert; once a type takes them they flow."""
    shop = Workshop(settings_with(MAX_INACTIVE_TYPES="3"))
    for number in range(10):
        shop.drop(f"kind{number}_20260115120000.json", [{"n": number}])
    shop.drop()
    for _ in range(3):
        shop.claim()
    assert len(list(shop.incoming.iterdir())) == 7
    assert sum(not kind.definition for kind in shop.app.registry.read().types) == 3
    (alert,) = told("type.flooded")
    assert (alert["files"], alert["limit"]) == (7, 3)
    assert shop.flush().rows == 3, "known types are not held up"
    shop.drop("kind0_20260115120001.json", [{"n": 10}])
    shop.claim()
    assert len(list(shop.incoming.iterdir())) == 7, "a prefix that is registered is held as before"

    schema = {"fields": [{"name": "n", "type": "long"}]}
    shop.app.registry.add({"file_type": "kinds", "filename_patterns": ["kind*.json"], "schema_definition": schema})
    shop.load()
    assert list(shop.incoming.iterdir()) == []
    assert sorted(record["n"] for record in shop.records("raw_data.kinds")) == list(range(11))
    assert len(told("type.flooded")) == 1
    shop.drop("other_20260115120000.json", [{"n": 1}])
    shop.claim()
    assert len(told("type.flooded")) == 2, "a flood after it was over is told again"
    shop.close()


def test_unknown_strays_beyond_the_limit_are_held(settings_with: Callable[..., Settings]) -> None:
    """What lies in processing/ without a row is put on record, also when no type may be registered for it."""
    shop = Workshop(settings_with(MAX_INACTIVE_TYPES="0"))
    folder = shop.app.settings.folders.processing("thing")
    folder.mkdir(parents=True)
    (folder / "thing_20260115120000.json").write_bytes(b"[]")
    shop.look()
    assert shop.states() == ["held"]
    assert not [kind for kind in shop.app.registry.read().types if kind.definition is None]
    shop.close()


def test_a_duplicate_that_was_rewritten_is_not_taken_for_one_that_is_back(shop: Workshop) -> None:
    """It has no copy that a person could have dropped again: when its name comes once more, it stays a duplicate."""
    shop.drop(rows=2)
    shop.load()
    shop.drop(rows=2)
    shop.claim()
    (claimed,) = shop.processing.iterdir()
    claimed.write_bytes(text(3, start=10))
    shop.flush()
    shop.drop(rows=2)
    shop.load()
    assert shop.states() == ["loaded", "duplicate", "loaded", "duplicate"]
    assert [row.code for row in shop.rows()][1] == "bytes_changed"
    shop.assert_books(5)
