"""Names of source files: what they say."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metadata.errors import FileRefused
from metadata.files.names import DataFileName, is_temporary, parse_name, safe_name
from metadata.files.suffixes_and_codecs import CODECS


@pytest.mark.parametrize(
    ("name", "prefix", "lines", "codec"),
    [
        ("vehicle_events_20260115120001.json", "vehicle_events", False, None),
        ("vehicle_events_20260115120001.jsonl", "vehicle_events", True, None),
        ("vehicle_events_20260115120001.ndjson.gz", "vehicle_events", True, "gz"),
        ("a_20260115120001.json.zst", "a", False, "zst"),
        ("a_20260115120001_part-1.json", "a", False, None),
        ("a_20260115120001-0001.json", "a", False, None),
        ("a_20260115120001_.json", "a", False, None),
        ("a_20260115120001_x.json.json", "a", False, None),
        ("a_20260115120001.JSON.GZ", "a", False, "gz"),
        ("a_20260115120001_20260116120001.json", "a", False, None),
        ("a_123456789012345_20260115120001.json", "a_123456789012345", False, None),
        ("eu-fleet 7_20260115120001.json", "eu-fleet 7", False, None),
        ("größe_20260115120001.json", "größe", False, None),
        ("a_20260115120001_two\nlines.json", "a", False, None),
        ("a_20260115120001_caf\udce9.json", "a", False, None),
        ('a_20260115120001_"quoted"\'.json', "a", False, None),
    ],
)
def test_a_data_files_name_is_read(name: str, prefix: str, lines: bool, codec: str | None) -> None:
    """Prefix, first time, form and codec are what the name says, its suffixes in any case."""
    read = parse_name(name)
    by_suffix = {each.suffix: each for each in CODECS}
    time = datetime(2026, 1, 15, 12, 0, 1, tzinfo=UTC)
    expected = DataFileName(name, prefix, time, lines, by_suffix[codec] if codec else None)
    assert read == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        "notes.txt",
        "vehicle_events.json",
        "_20260115120000.json",
        "20260115120000.json",
        "a_2026011512000.json",
        "a_202601151200001.json",
        "a_20260115120000123_20260115.json",
        "a_20260115120000.csv",
        "a_20260115120000.json.zip",
        "a_20260115120000json",
        "a_20260115120000.json\n",
        "a-20260115120000.json",
        "a_20260115120000.1.json",
        "a_x20260115120000.json",
        "a_٢٠٢٦٠١١٥١٢٠٠٠٠.json",
        "a_20261315120000.json",
        "a_20260230120000.json",
        "a_20260115240000.json",
        "a_20260115120060.json",
        "a_00000115120000.json",
        "a_99999999999999_20260115120000.json",
    ],
)
def test_a_name_of_another_form_is_refused(name: str) -> None:
    """No form, no 14-digit time, a time that does not exist (the first counts): bad_name, with the form in words."""
    with pytest.raises(FileRefused, match=r"YYYYMMDDHHMMSS") as refused:
        parse_name(name)
    assert refused.value.code == "bad_name"


@pytest.mark.parametrize(
    "prefix", ["..", ".", "../x", "a/b", "a\\b", "-rf", " a", "a\x00b", "a\nb", "a\udcff", "a" * 121]
)
def test_a_prefix_that_is_no_folders_name_is_refused(prefix: str) -> None:
    """A prefix becomes the name of a folder in held/, so path tricks and what cannot be printed are bad_name."""
    with pytest.raises(FileRefused) as refused:
        parse_name(f"{prefix}_20260115120000.json")
    assert refused.value.code == "bad_name"


@given(st.binary(min_size=1, max_size=80))
def test_messages_hold_any_name_safely(raw: bytes) -> None:
    """Whatever a producer calls a file, the refusal is one line of text that can be encoded."""
    name = os.fsdecode(raw)
    try:
        parse_name(name)
    except FileRefused as refused:
        refused.message.encode()
        assert "\n" not in refused.message


@given(st.binary(min_size=1, max_size=255))
def test_a_safe_name_is_text_and_fits_a_folder(raw: bytes) -> None:
    """The safe form can be stored, is at most 255 bytes long, and is its own safe form."""
    safe = safe_name(os.fsdecode(raw))
    assert len(safe.encode()) <= 255
    assert safe_name(safe) == safe


def test_a_safe_name_says_the_same() -> None:
    """Bytes that are no UTF-8 become %XX; a name that grows too long is cut before its suffix; text stays."""
    assert safe_name("größe_20260115120000.json") == "größe_20260115120000.json"
    assert safe_name("a_20260115120000_caf\udce9.json") == "a_20260115120000_caf%E9.json"
    long = safe_name("a_20260115120000_" + "\udce9" * 220 + ".json.gz")
    assert len(long) == 255
    assert (parse_name(long).prefix, long[-8:]) == ("a", ".json.gz")


@pytest.mark.parametrize("name", [".x", ".DS_Store", "a.tmp", "a.json.TMP", "a.part", "a~", ".a_20260115120000.json"])
def test_temporary_names(name: str) -> None:
    """These say "not yet"."""
    assert is_temporary(name)


@pytest.mark.parametrize("name", ["a_20260115120000.json", "tmp", "a.tmpx", "part.json", "~a"])
def test_names_that_are_not_temporary(name: str) -> None:
    """These do not."""
    assert not is_temporary(name)
