"""The report for a terminal: its width, its bars, and text of producers that means no good."""

from __future__ import annotations

from typing import Any

import pytest
from reports import HOSTILE, a_report, an_error
from rich.cells import cell_len

from watcher.report.text import WIDTH, report_lines
from watcher.report.words import percent


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", None, "no-such-encoding"])
def test_hostile_text_reaches_no_terminal(encoding: str | None) -> None:
    """No control character, no line wider than the screen, nothing that the encoding has not."""
    lines = report_lines(a_report(hostile=True), encoding)
    assert len(lines) > 40
    for line in lines:
        assert line.isprintable(), line
        assert cell_len(line) <= WIDTH, line
        if encoding in ("ascii", "latin-1"):
            line.encode(encoding)
        elif encoding is None:
            line.encode("ascii")
    assert any("<script>" in line for line in lines)
    assert not any(HOSTILE in line for line in lines)


def test_bars_are_blocks_or_ascii() -> None:
    """Block characters where the encoding has them, else # and dots; the longest bar is the largest number."""
    blocks, plain = ("\n".join(report_lines(a_report(), encoding)) for encoding in ("utf-8", "ascii"))
    assert "█" in blocks
    assert "#" in plain
    assert plain.isascii()
    day = {line.split()[0]: line.count("█") for line in blocks.splitlines() if " loaded " in line}
    assert 0 < day["2026-01-14"] < day["2026-01-15"]


def test_every_part_is_there() -> None:
    """Verdict, totals, volumes, codes, prefixes, hours, errors with samples, nulls, late, twice, silent, unknown."""
    text = "\n".join(report_lines(a_report()))
    for wanted in (
        "verdict   systemic: in 38 of 40 files",
        "40 files, 4,000 records",
        "loaded 37, failed 1, error 2",
        "wrong_type  speed  vehicle_events",
        "eu_trucks",
        "2026-01-15  ",
        "Errors: 1 different",
        "vehicle_events_20260115090000.json, record 3",
        '{"speed": "fast"}',
        "2 % → 41 % !",
        "have rescued fields",
        "Late files: 3 after more than 1 h, 1 of them after more than 24 h",
        "2 primary keys with more than one row",
        "vehicle_status: never seen",
        "gear",
        "the warehouse is away",
    ):
        assert wanted in text, wanted


def test_nothing_is_said_plainly() -> None:
    """A range without a file, and one without a fault, say so in words."""
    empty = "\n".join(report_lines(a_report(files=0)))
    assert "verdict   no file arrived" in empty
    assert "Volumes" not in empty
    clean = "\n".join(report_lines(a_report(clean=True)))
    for wanted in ("nothing went wrong", "Errors: none", "Rejected records: none", "Duplicates: none", "Nulls: none"):
        assert wanted in clean, wanted


def test_what_is_left_out_is_counted() -> None:
    """More errors than fit: the rest is a number."""
    errors = [an_error(message=f"error {number}") for number in range(30)]
    text = "\n".join(report_lines(a_report(errors=errors)))
    assert "… and 20 more; see --json or --html" in text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(None, "-"), (0, "0 %"), (1e-9, "< 0.1 %"), (0.02, "2 %"), (0.0213, "2.1 %"), (0.99999, "> 99.9 %"), (1, "100 %")],
)
def test_a_rate_is_never_rounded_to_nothing_or_all(rate: Any, text: str) -> None:
    """One in a billion is not 0 %, all but one is not 100 %."""
    assert percent(rate) == text
