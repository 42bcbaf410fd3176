from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from command import drop, wait_for
from unsparked import Unsparked
from workshop import Workshop

from metadata.errors import ConfigurationError, UsageError, WorldFault
from metadata.registry.drafts import Drafts
from metadata.settings import Settings
from watcher.cli import VerbGroup
from watcher.work import held_drafts as drafting

TYPES = VerbGroup("types", verb="types")

READINGS = [
    {"Sensor ID": f"s{number}", "at": 1_768_478_400 + number, "pos": {"lat": 1.5, "lon": number}}
    for number in range(30)
]
"""Records that nobody has described."""


@pytest.fixture
def shop(settings: Settings) -> Iterator[Workshop]:
    """An initialised Lemonade without threads and without Spark."""
    made = Workshop(settings)
    yield made
    made.close()


def name(number: int, prefix: str = "readings") -> str:
    """A file's name."""
    return f"{prefix}_2026011512{number // 60:02}{number % 60:02}.json"


def hold(shop: Workshop, count: int, *, start: int = 0, content: Any = READINGS) -> None:
    """Drop so many files of the unknown type, and look until they are held."""
    for number in range(start, start + count):
        drop(shop.incoming, name(number), content)
    shop.claim()


def make(shop: Workshop) -> list[str]:
    """Draft what is due; for which types something was."""
    due = shop.work.drafting.due(shop.app.registry.read())
    for each in due:
        shop.work.drafting.make(each)
    return [each.kind.name for each in due]


def row(shop: Workshop, file_type: str = "readings") -> dict[str, Any]:
    """The type's record."""
    return next(row for row in shop.app.registry.describe() if row["file_type"] == file_type)


def run(shop: Workshop, *arguments: str, stdin: str | None = None) -> Result:
    """`lemonade types …` in this process; its errors are raised."""
    return CliRunner().invoke(TYPES, arguments, obj=shop.app, input=stdin, catch_exceptions=False)


def test_held_files_become_rows_by_one_command(shop: Workshop) -> None:
    """Files of an unknown type are held, a draft is made of them, `activate` takes it, the files load: no code."""
    hold(shop, 2)
    assert make(shop) == ["readings"]
    assert "activated readings (active)" in run(shop, "activate", "readings").stdout
    shop.load()
    assert shop.states() == ["loaded", "loaded"]
    rows = shop.records("raw_data.readings")
    assert len(rows) == 60
    assert (rows[0]["sensor_id"], rows[0]["at"].isoformat(), rows[0]["pos"]) == (
        "s0",
        "2026-01-15T12:00:00+00:00",
        {"lat": 1.5, "lon": 0},
    )
    shown = row(shop)
    assert (shown["status"], shown["schema_version"]) == ("active", 1)
    assert (shown["draft"], shown["draft_facts"], shown["drafted_at"]) == (None, None, None)
    shop.assert_books(60, "raw_data.readings")


def test_draft_can_be_edited_first(shop: Workshop, tmp_path: Path) -> None:
    """`infer` prints the JSON to edit and nothing else on stdout; `activate --file` takes it back."""
    hold(shop, 1)
    printed = run(shop, "infer", "readings")
    raw = json.loads(printed.stdout)
    assert "30 records of 1 of 1 held files" in printed.stderr
    raw["schema_definition"]["fields"][0]["name"] = "sensor"
    raw["schema_definition"]["primary_key"] = ["sensor", "at"]
    raw["table_name"] = "sensor_readings"
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(raw))
    run(shop, "activate", "readings", "--file", str(edited))
    shop.load()
    assert {record["sensor"] for record in shop.records("raw_data.sensor_readings")} == {f"s{n}" for n in range(30)}


def test_draft_is_renewed_when_held_files_have_doubled(shop: Workshop) -> None:
    """The first file, then whenever twice as many are held as at the last draft; not in between."""
    drafted = []
    for count in (1, 1, 1, 1, 3, 1):
        hold(shop, count, start=len(shop.rows()), content=[{**READINGS[0], f"key{len(shop.rows())}": 1}])
        drafted.append(bool(make(shop)))
    assert drafted == [True, True, False, True, False, True]
    facts = row(shop)["draft_facts"]
    assert (facts["held"], facts["records"]) == (8, 8)
    again = Workshop.begin(shop).drafting  # another process knows it from the record
    assert again.due(shop.app.registry.read()) == []


def test_draft_is_made_of_what_activation_would_take(shop: Workshop) -> None:
    """Files of a longer prefix flow with the type whose pattern they hold, so its draft is made of them too."""
    for prefix in ("readings", "eu-readings", "other"):
        drop(shop.incoming, name(0, prefix), [{"id": 1, prefix: 1}])
    shop.claim()
    assert sorted(make(shop)) == ["eu_readings", "other", "readings"]
    drafts = {
        each: {field["key"] for field in row(shop, each)["draft_facts"]["fields"]} for each in ("readings", "other")
    }
    assert drafts == {"readings": {"id", "readings", "eu-readings"}, "other": {"id", "other"}}
    assert row(shop, "eu_readings")["draft"]["filename_patterns"] == ["eu_readings", "eu-readings"]


def test_prefix_that_no_struct_can_spell(shop: Workshop) -> None:
    """A quote in a file's name is a pattern of its type, and a key in documents, and hinders nothing."""
    drop(shop.incoming, name(0, 'odd"one'), {'odd"one': [{"a": 1}, {"a": 2}]})
    drop(shop.incoming, name(1, 'odd"one'), {"others": [{"a": 3}]})
    shop.claim()
    make(shop)
    run(shop, "activate", "odd_one")
    shop.load()
    assert shop.states() == ["loaded", "loaded"]
    assert sorted(record["a"] for record in shop.records("raw_data.odd_one")) == [1, 2, 3]


def test_fault_of_a_draft_stops_nothing(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with a file or with drafting itself, files go on to be held; the next doubling tries again."""
    hold(shop, 1, content=b"{")
    assert make(shop) == ["readings"]
    assert row(shop)["draft"] is None
    assert row(shop)["draft_facts"]["files"][0]["code"] == "malformed"

    def broken(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(drafting, "draft_held", broken)
        hold(shop, 1, start=1)
        assert make(shop) == ["readings"]
        patch.setattr(Drafts, "keep", lambda *_: (_ for _ in ()).throw(WorldFault("away")))
        hold(shop, 2, start=2)
        assert make(shop) == ["readings"]
    assert shop.states() == ["held"] * 4
    hold(shop, 4, start=4)
    assert make(shop) == ["readings"]
    assert row(shop)["draft"]["file_type"] == "readings"


def test_a_draft_of_nothing_leaves_the_earlier_one(shop: Workshop) -> None:
    """Files that vanished cannot be drafted from; what was drafted stays."""
    hold(shop, 1)
    make(shop)
    before = row(shop)["draft"]
    for file in shop.rows():
        Path(file.path).unlink()
    each = drafting.wanted(shop.app.registry.read().types, shop.work.drafting.drafts.held())[0]
    shop.work.drafting.make(each)
    assert row(shop)["draft"] == before
    assert row(shop)["draft_facts"]["files"][0]["code"] == "unreadable"


def test_show_tells_of_the_draft_and_what_to_type(shop: Workshop) -> None:
    """The inactive record shows fields, samples, counts, and the commands that take the draft."""
    drop(shop.incoming, name(0), READINGS)
    shop.claim()
    assert "no draft yet" in run(shop, "show", "readings").stdout
    make(shop)
    text = run(shop, "show", "readings").stdout
    for words in (
        "30 records of 1 of 1 held files",
        "timestamp, epoch_s",
        '"s0", "s1", "s2"',
        "struct(lat, lon)",
        "likely primary key: sensor_id",
        "lemonade types activate readings",
        "lemonade types infer readings > readings.json",
    ):
        assert words in text
    shown = json.loads(run(shop, "show", "readings", "--json").stdout)
    assert shown["draft"]["schema_definition"]["primary_key"] == ["sensor_id"]


def test_infer_from_files_and_folders(shop: Workshop, tmp_path: Path) -> None:
    """A draft of files that were never dropped is called after their prefix; nothing is written."""
    drop(tmp_path / "box", name(0, "Car-Data"), {"id": 7, "items": [{"a": 1}, {"a": 2}]})
    (tmp_path / "box/sample.jsonl").write_text('{"a": 3}\n{"a": "x"}\n')
    before = shop.app.registry.describe()
    made = json.loads(run(shop, "infer", str(tmp_path / "box"), "--root", "items", "--json").stdout)
    assert made["draft"]["file_type"] == "car_data"
    assert made["draft"]["schema_definition"] == {
        "fields": [{"name": "a", "type": "string", "coerce": True}],
        "root": "items",
    }
    named = json.loads(run(shop, "infer", str(tmp_path / "box/sample.jsonl"), "--type", "cars").stdout)
    assert named["file_type"] == "cars"
    assert shop.app.registry.describe() == before
    (tmp_path / "none.json").write_text("[1]")
    assert run(shop, "infer", str(tmp_path / "none.json")).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("infer", "nothing"), "no such file, and no such type"),
        (("infer", "vehicle_events"), "it has a schema"),
        (("infer", "empty"), "no file is held for it"),
        (("activate", "empty"), "none was drafted yet"),
        (("activate", "vehicle_events", "--file", "-"), "it has a schema"),
    ],
)
def test_what_cannot_be_drafted_or_taken(shop: Workshop, arguments: tuple[str, ...], words: str) -> None:
    """What makes no sense is refused with what to do instead."""
    shop.app.registry.get_or_create({"file_type": "empty", "table_name": "empty"})
    with pytest.raises(UsageError, match=words):
        run(shop, *arguments, stdin="{}")


def test_bad_file_or_draft_leaves_the_type_as_it_was(shop: Workshop) -> None:
    """A file with faults, one of another type, a draft that SQL broke: all faults are said, nothing changes."""
    hold(shop, 1)
    make(shop)
    for raw, words in (
        ('{"file_type": "others"}', "describes another type"),
        ("{}", "no schema_definition"),
        ('{"schema_definition": {"fields": [{"name": "1", "type": "bool"}]}}', "boolean"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            run(shop, "activate", "readings", "--file", "-", stdin=raw)
    with shop.app.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE table_metadata SET draft = '{', draft_facts = 'x' WHERE draft IS NOT NULL")
    with pytest.raises(ConfigurationError, match="no JSON"):
        run(shop, "activate", "readings")
    assert row(shop)["status"] == "inactive"
    assert make(shop) == [] and shop.begin().drafting.due(shop.app.registry.read())  # the next process drafts it again


def test_daemon_drafts_while_it_claims(settings: Settings) -> None:
    """The running daemon drafts held files by itself, and loads them once their type is activated."""
    daemon = Unsparked(settings)
    try:
        drop(daemon.incoming, name(0), READINGS)
        daemon.wait_for_states(held=1)

        def drafted() -> Any:
            return next(
                (row["draft"] for row in daemon.app.registry.describe() if row["file_type"] == "readings"), None
            )

        wait_for(drafted, "the draft", 30)
        daemon.answer(daemon.ask("types.activate", file_type="readings"))
        daemon.wait_for_states(claimed=1)
        assert daemon.flush()["batches"][0]["rows"] == 30
    finally:
        daemon.close()
