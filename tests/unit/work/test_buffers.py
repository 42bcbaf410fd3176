"""Buffers: when they are due and how a flush is cut."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metadata.database.states import FlushReason
from metadata.settings import Settings
from metadata.types.config import ProcessingConfig
from metadata.types.file_type import FileType, TypeStatus
from watcher.work.buffers import Buffer, Buffers, Waiting, by_deaths, cut, due

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
LIMITS = Settings.load({"FLUSH_MAX_FILES": "10", "FLUSH_MAX_BYTES": "1000"}, None)
WITH_AGE = Settings.load({"FLUSH_MAX_FILES": "10", "FLUSH_MAX_BYTES": "1000", "FLUSH_MAX_AGE_SECONDS": "60"}, None)


def kind(**config: int) -> FileType:
    """An active type with these thresholds of its own."""
    return FileType("a", "raw_data.a", ("a",), TypeStatus.ACTIVE, None, 1, ProcessingConfig.model_validate(config))


def buffer(files: int, size: int, oldest: datetime = NOON) -> Buffer:
    """A buffer of the type `a`."""
    return Buffer("a", files, size, oldest)


@pytest.mark.parametrize(
    ("files", "size", "reason"),
    [
        (0, 0, None),
        (9, 999, None),
        (10, 0, FlushReason.SIZE),
        (1, 1000, FlushReason.SIZE),
        (11, 5000, FlushReason.SIZE),
    ],
)
def test_size_and_bytes(files: int, size: int, reason: FlushReason | None) -> None:
    """Either threshold is enough, and reaching it is enough; an empty buffer is never due."""
    assert due(kind(), buffer(files, size), LIMITS, NOON) is reason


def test_age_counts_only_when_it_is_set() -> None:
    """Without FLUSH_MAX_AGE_SECONDS the hour decides; a clock that was set back makes nothing due."""
    later = NOON + timedelta(seconds=60)
    assert due(kind(), buffer(1, 1), LIMITS, later) is None
    assert due(kind(), buffer(1, 1), WITH_AGE, later) is FlushReason.AGE
    assert due(kind(), buffer(1, 1), WITH_AGE, later - timedelta(seconds=1)) is None
    assert due(kind(), buffer(1, 1), WITH_AGE, NOON - timedelta(days=1)) is None


def test_a_types_own_thresholds_win() -> None:
    """Smaller and larger ones alike."""
    assert due(kind(flush_max_files=2), buffer(2, 1), LIMITS, NOON) is FlushReason.SIZE
    assert due(kind(flush_max_files=99), buffer(20, 1), LIMITS, NOON) is None
    assert due(kind(flush_max_bytes=5), buffer(1, 5), LIMITS, NOON) is FlushReason.SIZE
    assert due(kind(flush_max_age_seconds=1), buffer(1, 1), LIMITS, NOON + timedelta(seconds=1)) is FlushReason.AGE
    assert due(kind(flush_max_age_seconds=999), buffer(1, 1), WITH_AGE, NOON + timedelta(seconds=99)) is None


def test_a_buffer_counts_its_files() -> None:
    """Number, bytes and the oldest."""
    files = [Waiting("1", 5, NOON), Waiting("2", 7, NOON - timedelta(hours=1))]
    assert Buffer.of("a", files) == Buffer("a", 2, 12, NOON - timedelta(hours=1))
    assert Buffer.of("a", []) == Buffer("a")


def test_an_unknown_buffer_is_empty() -> None:
    """A type of which nothing waits is never due."""
    assert Buffers().due(kind(flush_max_files=1), LIMITS, NOON) is None


def sizes(*numbers: int) -> list[Waiting]:
    """Files of these sizes, called by their place."""
    return [Waiting(str(place), number, NOON) for place, number in enumerate(numbers)]


def test_chunks_keep_order_and_limits() -> None:
    """A chunk is closed by the file that would not fit; one that is too large by itself is alone."""
    chunks = cut(sizes(4, 4, 4, 50, 1, 1, 1, 1), max_files=3, max_bytes=10)
    assert [[file.size_bytes for file in chunk] for chunk in chunks] == [[4, 4], [4], [50], [1, 1, 1], [1]]
    assert cut([], 3, 10) == []


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 7), st.integers(1, 40))
def test_a_cut_loses_and_reorders_nothing(numbers: list[int], max_files: int, max_bytes: int) -> None:
    """Whatever the files: all there, in order, each chunk within its limits or a single file."""
    files = sizes(*numbers)
    chunks = cut(files, max_files, max_bytes)
    assert [file for chunk in chunks for file in chunk] == files
    for chunk in chunks:
        assert 0 < len(chunk) <= max_files
        assert len(chunk) == 1 or sum(file.size_bytes for file in chunk) <= max_bytes


@dataclass(eq=False)
class Died:
    """A file that saw so many deaths of the process."""

    id: str
    deaths: int


def died(*deaths: int) -> list[Died]:
    """One for each number."""
    return [Died(str(number), each) for number, each in enumerate(deaths)]


def test_files_of_two_deaths_are_divided_and_come_last() -> None:
    """One death changes nothing; those of two deaths are halved, of three quartered, each for themselves."""
    groups = by_deaths(died(2, 0, 3, 2, 1, 3, 2, 3, 3, 2, 3))
    assert [[file.id for file in group] for group in groups] == [
        ["1", "4"],
        ["0", "3"],
        ["6", "9"],
        ["2"],
        ["5"],
        ["7"],
        ["8", "10"],
    ]


@given(st.lists(st.integers(0, 60), max_size=50))
def test_dividing_by_deaths_leaves_nothing_out(deaths: list[int]) -> None:
    """Every file is in exactly one part, no part is empty, and suspects of many deaths are alone."""
    files = died(*deaths)
    groups = by_deaths(files)
    assert sorted(file.id for group in groups for file in group) == sorted(file.id for file in files)
    assert all(groups)
    assert all(len(group) == 1 for group in groups if group[0].deaths > 7)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 4999))
def test_deaths_find_the_one_file(count: int, guilty: int) -> None:
    """A file that ends every process that has it in work is alone after a handful of deaths, however many there are."""
    files = died(*[0] * count)
    marked = files[guilty % count]
    for deaths in range(1, 9):
        part = next(group for group in by_deaths(files) if marked in group)
        if len(part) == 1 and deaths > 2:
            break
        for file in part:
            file.deaths += 1
    assert len(part) == 1
