"""When a type fell silent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from watcher.report.silence import FEWEST_PAUSES, longest_silence

START = datetime(2026, 1, 15, tzinfo=UTC)
END = START + timedelta(days=1)
HOUR = timedelta(hours=1)


def hourly(first: datetime, last: datetime) -> list[datetime]:
    """An arrival each hour, the last included."""
    return [first + number * HOUR for number in range(int((last - first) / HOUR) + 1)]


def test_a_pause_that_is_not_usual_is_told() -> None:
    """Hourly files that stay away for seven hours: from when to when, and what is usual."""
    arrivals = [*hourly(START - 48 * HOUR, START + 5 * HOUR), *hourly(START + 12 * HOUR, END)]
    silence = longest_silence(arrivals, START, END)
    assert silence is not None
    assert (silence.since, silence.until) == (START + 5 * HOUR, START + 12 * HOUR)
    assert (silence.length, silence.usual) == (7 * HOUR, HOUR)


def test_a_silence_that_lasts_has_no_end() -> None:
    """The present ends the range: whoever has not come by then is silent until now."""
    silence = longest_silence(hourly(START - 48 * HOUR, START), START, START + 4 * HOUR)
    assert silence is not None
    assert (silence.since, silence.until, silence.length) == (START, None, 4 * HOUR)


def test_a_usual_pause_is_none() -> None:
    """Nights without files before the range make a night in it no silence; a night and a morning is one."""
    nightly = [at for at in hourly(START - timedelta(days=5), END) if at.hour >= 8]
    assert longest_silence(nightly, START, END) is None
    late = [at for at in nightly if not START <= at < START + 16 * HOUR]
    silence = longest_silence(late, START, END)
    assert silence is not None
    assert silence.length == 17 * HOUR


def test_a_short_pause_and_an_unknown_rhythm_are_none() -> None:
    """Less than an hour is never told; neither is anything of a type with few arrivals before."""
    minutes = [START - timedelta(minutes=10 * number) for number in range(20, 0, -1)]
    assert longest_silence(minutes, START, START + timedelta(minutes=50)) is None
    assert longest_silence(minutes, START, START + timedelta(minutes=70)) is not None
    assert longest_silence(minutes[:FEWEST_PAUSES], START, END) is None
    assert longest_silence(minutes[: FEWEST_PAUSES + 1], START, END) is not None
    assert longest_silence([], START, END) is None
