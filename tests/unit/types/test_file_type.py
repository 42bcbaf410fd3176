"""File types: which of them takes a file of a given name, and what one says of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metadata.errors import TypeStopped
from metadata.files.names import parse_name
from metadata.types.config import ProcessingConfig, SummaryConfig
from metadata.types.definition import Definition, Field
from metadata.types.file_type import FileType, Match, TypeStatus, match_type

DEFINITION = Definition(fields=(Field(name="id", type="string"),))


def kind(
    name: str,
    *patterns: str,
    status: TypeStatus = TypeStatus.ACTIVE,
    definition: Definition | None = DEFINITION,
) -> FileType:
    """A file type with these patterns; its own name when there are none."""
    return FileType(name, f"raw_data.{name}", patterns or (name,), status, definition, 1, ProcessingConfig())


def match(prefix: str, *types: FileType) -> Match:
    """The match of a file with this prefix."""
    return match_type(parse_name(f"{prefix}_20260115120000.json"), types)


def test_a_pattern_equal_to_the_prefix_wins() -> None:
    """Over a longer glob and over a longer pattern of another kind."""
    exact, glob = kind("events"), kind("all", "events_2026*_or_anything*", "*events_*.json")
    assert match("events", glob, exact) == Match(exact)


def test_the_longest_pattern_between_boundaries_wins() -> None:
    """`eu_vehicle_events` is vehicle_events', not events'; `-` is a boundary too."""
    short, long = kind("events"), kind("vehicle_events")
    assert match("eu_vehicle_events", short, long) == Match(long)
    assert match("eu-events-7", short, long) == Match(short)


@pytest.mark.parametrize("prefix", ["subevents", "events2", "vehicleevents", "eventsx_events2", "EVENTS"])
def test_a_pattern_inside_a_word_does_not_count(prefix: str) -> None:
    """Without boundaries around it, or in another case, it is another word."""
    assert match(prefix, kind("events")) == Match(None)


def test_a_pattern_is_found_behind_a_false_start() -> None:
    """The first occurrence may lie inside a word and a later one between boundaries."""
    events = kind("events")
    assert match("subevents_events", events) == Match(events)


def test_equally_good_types_are_a_tie() -> None:
    """Two active types of equally long patterns: nobody gets it, both are named; one type's two patterns are no tie."""
    one, two = kind("one", "car_data", "bus_data"), kind("two", "car_info")
    assert match("car_data_car_info", one, two) == Match(None, ("one", "two"))
    assert match("car_data_bus_data", one, two) == Match(one)


def test_a_glob_is_matched_against_the_whole_name() -> None:
    """Globs see timestamp and suffix, heed case, and count with their characters that are no wildcards."""
    glob, plain = kind("eu", "eu_*_events_*.json"), kind("vehicle_events")
    assert match("eu_vehicle_events", glob, plain) == Match(glob)
    assert match("EU_vehicle_events", glob, plain) == Match(plain)
    assert match("us_vehicle_events", kind("all", "*.json"), plain) == Match(plain)
    assert match("anything", kind("all", "*.json"), plain).kind is not None


def test_a_type_that_is_switched_off_keeps_its_files() -> None:
    """A worse match that is active does not get them; an equally good one does."""
    off, worse, equal = (
        kind("vehicle_events", status=TypeStatus.DISABLED),
        kind("events"),
        kind("new", "vehicle_events"),
    )
    assert match("eu_vehicle_events", off, worse) == Match(off)
    assert match("vehicle_events", off, worse, equal) == Match(equal)


def test_records_that_discovery_made_never_compete() -> None:
    """A type that comes later takes what waits under a discovered prefix, however well that prefix fits."""
    found = kind("eu_truck_events", status=TypeStatus.INACTIVE, definition=None)
    later = kind("truck_events")
    assert match("eu_truck_events", found) == Match(None)
    assert match("eu_truck_events", found, later) == Match(later)


def test_an_empty_pattern_matches_nothing() -> None:
    """A row may hold anything."""
    assert match("a", kind("odd", "")) == Match(None)


def test_what_is_summarised_is_said_by_the_type() -> None:
    """The time's field and the whole name of the summary's table; None of a type without a summary."""
    plain = kind("trips")
    assert (plain.time_field, plain.summary_table) == (None, None)
    summary = SummaryConfig(table="daily_trips", key=("id",), time="at")
    summarised = replace(plain, config=ProcessingConfig(summary=summary))
    assert (summarised.time_field, summarised.summary_table) == ("at", "summary.daily_trips")


def test_a_type_without_a_schema_stops() -> None:
    """What needs the definition of a type that has none says which operation it was, and the cure."""
    assert kind("trips").schema_or_stop("loading files") == DEFINITION
    with pytest.raises(TypeStopped, match=r"^loading files of trips: it has no schema; run: ") as stopped:
        kind("trips", definition=None).schema_or_stop("loading files")
    assert stopped.value.code == "no_schema"
