"""Identifiers: UUIDv7 in the order in which they were made."""

from __future__ import annotations

import uuid

from handclock import HandClock

from metadata.ids import IdSequence, new_id, short_id


def test_ids_are_version_7_and_carry_their_time(clock: HandClock) -> None:
    """The first 48 bits are the milliseconds of the clock, the version is 7, the variant RFC 9562's."""
    made = uuid.UUID(IdSequence().next(clock))  # this process's own sequence may be ahead of the clock
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == int(clock.now().timestamp() * 1000)


def test_ids_sort_in_the_order_in_which_they_were_made(clock: HandClock) -> None:
    """Also within one millisecond, past 4,096 of them, and when the clock is set back."""
    made = [new_id(clock) for _ in range(10_000)]
    clock.forward(-3600)
    made += [new_id(clock) for _ in range(10)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_short_ids_are_of_the_random_part(clock: HandClock) -> None:
    """Two ids of one millisecond differ in their short forms."""
    assert short_id(new_id(clock)) != short_id(new_id(clock))
