"""Chunks: how a flush is cut into micro-batches."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from watcher.work.chunks import by_deaths, cut


@dataclass(frozen=True)
class OfSize:
    """A file of this size, called by its place."""

    place: int
    size_bytes: int


def sizes(*numbers: int) -> list[OfSize]:
    """Files of these sizes."""
    return [OfSize(place, number) for place, number in enumerate(numbers)]


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
class OfDeaths:
    """A file that saw so many deaths of the process."""

    id: str
    deaths: int


def died(*deaths: int) -> list[OfDeaths]:
    """One for each number."""
    return [OfDeaths(str(number), each) for number, each in enumerate(deaths)]


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
