"""When a type fell silent: pauses between arrivals against those that are usual for it. Pure functions.

A pause is broken rhythm when it is longer than `TIMES_MEDIAN` times the median pause, longer than `TIMES_LONGEST` times
the longest pause of the days before (so that a quiet night is none), and longer than `SHORTEST`. With fewer than
`FEWEST_PAUSES` pauses before, nobody knows the rhythm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

TIMES_MEDIAN = 3.0
TIMES_LONGEST = 1.5
SHORTEST = timedelta(hours=1)
FEWEST_PAUSES = 5


@dataclass(frozen=True)
class Silence:
    """A pause that was too long; `until` is None while it lasts."""

    since: datetime
    until: datetime | None
    length: timedelta
    usual: timedelta  #: the median pause of the days before


def longest_silence(arrivals: Sequence[datetime], start: datetime, end: datetime) -> Silence | None:
    """The longest pause that ended, or lasted, between `start` and `end`, if it broke the rhythm of before `start`.

    `arrivals` are in order, those before `start` included. `end` is the present while the range goes on.
    """
    before = [each for each in arrivals if each < start]
    pauses = [later - earlier for earlier, later in pairwise(before)]
    if len(pauses) < FEWEST_PAUSES:
        return None
    usual = timedelta(seconds=median(pause.total_seconds() for pause in pauses))
    limit = max(TIMES_MEDIAN * usual, TIMES_LONGEST * max(pauses), SHORTEST)
    seen = [before[-1], *(each for each in arrivals if start <= each < end)]
    ends: list[datetime | None] = [*seen[1:], None]
    silences = [
        Silence(since, until, (until or max(end, since)) - since, usual)
        for since, until in zip(seen, ends, strict=True)
    ]
    longest = max(silences, key=lambda silence: silence.length)
    return longest if longest.length > limit else None
