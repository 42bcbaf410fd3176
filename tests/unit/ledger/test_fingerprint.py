"""Fingerprints: which messages are one error, and that hostile ones cost no time."""

from __future__ import annotations

import pytest

from metadata.ledger.fingerprint import LONGEST, normalised, without_place


@pytest.mark.parametrize(
    ("message", "fingerprint"),
    [
        ('record 3, field "speed": Expected `float`, got `str`', "Expected `float`, got `str`"),
        ('record 12, field "a" (JSON key "a b"): Expected `int`', "Expected `int`"),
        ("record 7: it is no JSON", "it is no JSON"),
        ("Expected `int` >= -2147483648", "Expected `int` >= #"),
        ("Expected `str` - at `$.tags[17].name`", "Expected `str` - at `$.tags[#].name`"),
        ("Invalid RFC3339 encoded datetime \"2026-13-01\", or '12'", "Invalid RFC3339 encoded datetime …, or …"),
        ("it ends in the middle of a value (byte 28,112)", "it ends in the middle of a value (byte #)"),
        ("reading eu x_20260115120000.jsonl.gz: it is empty", "it is empty"),
        ("decoding a_20260115120000.json: 3 of 4 records break the schema", "# of # records break the schema"),
        ("it can't be read, isn't UTF-8 nor int64", "it can't be read, isn't UTF-8 nor int64"),
        ("file 019bbbf2-a690-70c0-a641-c5a397d42a10 at /data/in/x.bin: -1.5e-7", "file <id> at <path>: #"),
        ("key 9f86d081884c7d659a2feaa0c55ad015 twice\n  in b_2.json", "key <id> twice in <file>"),
        (None, ""),
    ],
)
def test_a_message_keeps_what_is_the_same_for_all(message: str | None, fingerprint: str) -> None:
    """Places, values, numbers, ids, paths and names of files go; types and what happened stay."""
    assert normalised(message) == fingerprint


@pytest.mark.parametrize("piece", ['"', "'", '"\\', " '", "x'y", "/", "/a", " .json", "1.", "f", "reading "])
def test_a_hostile_message_is_cut(piece: str) -> None:
    """However long, whatever it repeats: the fingerprint is bounded and the same for any length beyond."""
    assert len(normalised(piece * 10_000)) <= LONGEST
    assert normalised(piece * 10_000) == normalised(piece * 20_000)


def test_the_place_alone_is_taken_off() -> None:
    """A sample shows its message as it was, without the file or record that is named beside it."""
    assert without_place('record 3, field "f": Invalid "x1"') == 'Invalid "x1"'
    assert without_place("nothing in front") == "nothing in front"
