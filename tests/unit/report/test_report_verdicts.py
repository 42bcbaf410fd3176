"""Systemic or one-off: the thresholds, and the sentence that says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from watcher.report.verdicts import (
    ONE_OFF_FILES,
    SYSTEMIC_FILES,
    SYSTEMIC_SHARE,
    Extent,
    Spread,
    extent_of,
    overall,
    sentence,
)

NINE = datetime(2026, 1, 15, 9, tzinfo=UTC)


def spread(
    prefixes: dict[str | None, int],
    of_prefixes: dict[str | None, int],
    *,
    records: int = 5,
    hours: int = 0,
    after: int = 0,
    file_type: str | None = "vehicle_events",
) -> Spread:
    """An error first seen at nine."""
    return Spread(file_type, records, prefixes, of_prefixes, NINE, NINE + timedelta(hours=hours), after)


@pytest.mark.parametrize(
    ("prefixes", "of_prefixes", "hours", "kind"),
    [
        ({"a": 1}, {"a": 1}, 0, Extent.ONE_OFF),
        ({"a": 1}, {"a": 900}, 0, Extent.ONE_OFF),
        ({"a": ONE_OFF_FILES}, {"a": 2 * ONE_OFF_FILES + 1}, 0, Extent.ONE_OFF),
        ({"a": ONE_OFF_FILES}, {"a": 2 * ONE_OFF_FILES + 1}, 1, Extent.RECURRING),
        ({"a": ONE_OFF_FILES}, {"a": ONE_OFF_FILES}, 0, Extent.RECURRING),
        ({"a": SYSTEMIC_FILES}, {"a": SYSTEMIC_FILES / SYSTEMIC_SHARE}, 0, Extent.SYSTEMIC),
        ({"a": SYSTEMIC_FILES}, {"a": SYSTEMIC_FILES / SYSTEMIC_SHARE + 1}, 0, Extent.RECURRING),
        ({"a": 2, "b": 2}, {"a": 4, "b": 4}, 5, Extent.SYSTEMIC),
        ({"a": 3, "b": 1}, {"a": 3, "b": 1000}, 5, Extent.SYSTEMIC),
        ({"a": 2, "b": 1}, {"a": 2, "b": 1000}, 5, Extent.RECURRING),
        ({None: 3}, {None: 3, "a": 1000}, 5, Extent.RECURRING),
    ],
)
def test_the_thresholds(
    prefixes: dict[str | None, int], of_prefixes: dict[str | None, int], hours: int, kind: Extent
) -> None:
    """Three files and half of the type's, or of one prefix's: systemic; one file, or two at once: one-off."""
    assert extent_of(spread(prefixes, of_prefixes, hours=hours)) is kind


@pytest.mark.parametrize(
    ("its", "words"),
    [
        (
            spread({"eu_trucks": 38}, {"eu_trucks": 39, "us": 1}, hours=3),
            "systemic: in 38 of 40 files of vehicle_events since 2026-01-15 09:00, all from prefix eu_trucks",
        ),
        (
            spread({"eu": 19, "us": 1}, {"eu": 20, "us": 1}, hours=3, after=7),
            "systemic: in 20 of 21 files of vehicle_events from 2026-01-15 09:00 to 2026-01-15 13:00, 19 of them from "
            "prefix eu; in none of the 7 files since",
        ),
        (
            spread({"eu": 5, "us": 1}, {"eu": 5, "us": 700}),
            "systemic: in 5 of 5 files of vehicle_events from prefix eu since 2026-01-15 09:00, and in 1 other",
        ),
        (
            spread({"eu": 5, "us": 6}, {"eu": 500, "us": 500}, after=1),
            "recurring: in 11 of 1000 files of vehicle_events in the hour from 2026-01-15 09:00, from 2 prefixes; in "
            "none of the 1 file since",
        ),
        (spread({"a": 1}, {"a": 1}, records=3), "one-off: 3 records of one file of vehicle_events, 2026-01-15 09:00"),
        (spread({None: 1}, {None: 9}, records=0, file_type=None), "one-off: one file, 2026-01-15 09:00"),
        (
            spread({"a": 2}, {"a": 9}, records=2),
            "one-off: 2 records of 2 files of vehicle_events, 2026-01-15 09:00",
        ),
    ],
)
def test_the_sentence(its: Spread, words: str) -> None:
    """How many of how many, since when or until when, and from whom."""
    assert sentence(its) == words


def test_the_whole_in_a_sentence() -> None:
    """Systemic as soon as one error is, one-off when all are; the largest of that kind is told."""
    once, other = spread({"a": 1}, {"a": 9}, records=1), spread({"b": 1}, {"b": 9}, records=2)
    often, everywhere = spread({"a": 30}, {"a": 900}, hours=2), spread({"a": 4}, {"a": 5})
    assert overall([], 0) == (None, "no file arrived")
    assert overall([], 1) == (None, "nothing went wrong in 1 file")
    assert overall([once], 9) == (Extent.ONE_OFF, sentence(once))
    kind, words = overall([once, other], 9)
    assert kind is Extent.ONE_OFF
    assert words.startswith("one-off: all 2 different errors; the largest 2 records of one file")
    assert overall([often, once], 900)[0] is Extent.RECURRING
    kind, words = overall([often, once, everywhere], 900)
    assert kind is Extent.SYSTEMIC
    assert words.startswith("systemic: 1 of 3 different errors; the largest in 4 of 5 files")
