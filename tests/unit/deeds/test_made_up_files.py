from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from decoded import decode_file

from metadata.files.names import is_temporary, parse_name
from metadata.types.built_in import BUILT_IN
from metadata.types.parse_definition import parse_definition
from watcher.deeds.made_up_files import KINDS, Generator, MadeUpType, document, file_name, records, spoil, write_file

NOW = datetime(2026, 1, 15, 12, 0, 0, 500_000, tzinfo=UTC)
EVENTS = KINDS[0]


def make(folder: Path, seed: int = 1, *, files: int = 2, count: int = 5) -> Any:
    """One round of a fresh generator."""
    return Generator(Random(seed), folder, lambda name: False).make(files, count, NOW)


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_same_seed_and_moment_give_the_same_bytes(tmp_path: Path) -> None:
    """A run can be repeated exactly; another seed gives other records."""
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(tmp_path / folder, seed)

    contents = [{path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("a", "b", "c")]
    assert contents[0] == contents[1]
    assert contents[0].keys() == contents[2].keys()
    assert contents[0] != contents[2]


def test_names_are_data_file_names_of_both_types_going_back_from_now(tmp_path: Path) -> None:
    """As many files of each type as asked for, with a second of their own, none in the future."""
    made = make(tmp_path, files=3)

    assert names(tmp_path) == sorted(
        f"vehicles_{kind}_{stamp}.json"
        for kind in ("events", "status")
        for stamp in ("20260115120000", "20260115115959", "20260115115958")
    )
    assert all(parse_name(file.path.name).time <= NOW for file in made)
    assert [file.file_type for file in made] == ["vehicle_events", "vehicle_status"] * 3


def test_taken_names_are_passed_over(tmp_path: Path) -> None:
    """Neither a file that is there, nor a name known elsewhere, nor one of an earlier round is used again."""
    (tmp_path / "vehicles_status_20260115120000.json").write_text("mine")
    generator = Generator(Random(1), tmp_path, {"vehicles_events_20260115115959.json"}.__contains__)

    first = generator.make(1, 1, NOW)
    for file in first:
        file.path.unlink()  # the daemon took it
    second = generator.make(1, 1, NOW)

    assert [file.path.name for file in first + second] == [
        "vehicles_events_20260115115958.json",
        "vehicles_status_20260115115958.json",
        "vehicles_events_20260115115957.json",
        "vehicles_status_20260115115957.json",
    ]
    assert (tmp_path / "vehicles_status_20260115120000.json").read_text() == "mine"


def test_name_of_another_zone_is_utc() -> None:
    """The 14 digits are UTC whatever zone the moment is in."""
    moment = NOW.astimezone(tz=datetime.fromisoformat("2026-01-15T00:00:00+05:30").tzinfo)

    assert file_name(EVENTS, moment) == "vehicles_events_20260115120000.json"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.file_type)
def test_documents_have_the_shape_of_their_type(kind: MadeUpType) -> None:
    """One object whose key is a pattern of the built-in type; records with no field that the type lacks."""
    built_in = next(raw for raw in BUILT_IN if raw["file_type"] == kind.file_type)
    fields = {field["name"]: field for field in built_in["schema_definition"]["fields"]}

    content = json.loads(document(kind, records(Random(1), kind, 500, NOW)))

    assert list(content) == [kind.prefix]
    assert kind.prefix in built_in["filename_patterns"]
    rows = content[kind.prefix]
    assert len(rows) == 500
    assert {key for row in rows for key in row} == set(fields)
    required = [name for name, field in fields.items() if not field.get("nullable", True)]
    assert all(row[name] is not None for row in rows for name in required)
    optional = set(fields) - set(required)
    assert all(any(row.get(name, "") is None for row in rows) for name in optional)
    assert all(any(name not in row for row in rows) for name in optional)
    keys = [tuple(row[name] for name in built_in["schema_definition"]["primary_key"]) for row in rows]
    assert len(set(keys)) == len(keys)


def test_event_values_are_text_and_numbers_and_extra_data_are_objects() -> None:
    """Events come as real producers send them: mixed values, nested objects."""
    rows = records(Random(1), EVENTS, 500, NOW)

    assert {type(row.get("event_value")) for row in rows} == {str, int, float, type(None)}
    assert {type(row.get("event_extra_data")) for row in rows} == {dict, type(None)}


def test_times_are_recent_and_some_are_of_the_day_before() -> None:
    """Most records are from the last hours, none from the future, some late ones from the day before."""
    moments = [datetime.fromisoformat(row["event_time"]) for row in records(Random(1), EVENTS, 500, NOW)]

    late = [moment for moment in moments if moment.date() == NOW.date() - timedelta(days=1)]
    recent = [moment for moment in moments if NOW - timedelta(hours=3, seconds=1) <= moment <= NOW]
    assert len(late) + len(recent) == 500
    assert 0 < len(late) < 100


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.file_type))
def test_bad_records_break_the_schema_and_no_others_do(kind: MadeUpType) -> None:
    """Of a hundred records with a tenth spoilt, the decoder rejects exactly ten; without a share none."""
    (raw,) = (each for each in BUILT_IN if each["file_type"] == kind.file_type)
    definition = parse_definition(raw["schema_definition"])
    for share, bad in ((0.0, 0), (0.1, 10)):
        rng = Random(4)
        rows = records(rng, kind, 100, NOW)
        assert spoil(rng, kind, rows, share) == bad
        decoded = decode_file(definition, document(kind, rows), keys=(kind.prefix,))
        assert len(decoded.rejected) == bad


def test_files_appear_whole_by_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is written under a name that intake leaves alone, and renamed when it is complete."""
    renamed = []
    real = os.rename

    def watch(source: Path, target: Path) -> None:
        renamed.append((Path(source).name, Path(source).read_bytes(), Path(target)))
        assert names(tmp_path) == [Path(source).name]
        real(source, target)

    monkeypatch.setattr(os, "rename", watch)
    written = write_file(tmp_path, "a_20260115120000.json", b"[]")

    ((temporary, content, target),) = renamed
    assert is_temporary(temporary)
    assert (content, target) == (b"[]", written)
    assert names(tmp_path) == ["a_20260115120000.json"]


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file cannot be put in place, its temporary name goes too."""

    def refuse(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)

    with pytest.raises(OSError, match="No space"):
        write_file(tmp_path, "a_20260115120000.json", b"[]")
    assert names(tmp_path) == []
