"""The report as lines for a terminal: at most WIDTH columns, with small bars, without colour.

What producers wrote (names of files, keys, messages, records) goes through `shown`, so that no control character and
no line break reaches the terminal. Where its encoding has no block characters, ASCII stands for them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from rich.cells import cell_len, set_cell_size

from watcher.report import words
from watcher.report.values import OUTCOMES, ErrorGroup, HourVolume, NullRate, Report, TypeDayVolume, Volume
from watcher.terminal.output import bytes_text, shown

WIDTH = 100
MOST_ERRORS = 10
MOST_ROWS = 12
MOST_DAYS = 31
_BAR = 12


@dataclass(frozen=True)
class Glyphs:
    """The characters of bars and prose."""

    full: str
    parts: str  #: of one character, smallest first
    levels: str  #: of a small column chart, smallest first
    none: str
    ellipsis: str
    arrow: str


UNICODE = Glyphs("█", "▏▎▍▌▋▊▉", "▁▂▃▄▅▆▇█", "·", "…", "→")
ASCII = Glyphs("#", "", ".:-=+*#%@", "_", "...", "->")


def glyphs_for(encoding: str | None) -> tuple[Glyphs, str]:
    """Those that an encoding has, and the encoding to write in: ASCII where it has no blocks, or is none."""
    wanted = (UNICODE.full, UNICODE.parts, UNICODE.levels, UNICODE.none, UNICODE.ellipsis, UNICODE.arrow)
    try:
        "".join(wanted).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII, "ascii"
    return UNICODE, encoding or "ascii"


def report_lines(report: Report, encoding: str | None = "utf-8") -> list[str]:
    """The whole report; no line is wider than WIDTH, and every character is one that `encoding` has."""
    screen = _Screen(*glyphs_for(encoding))
    screen.labelled("report", words.title(report))
    screen.labelled("verdict", report.sentence)
    if not report.is_empty:
        screen.labelled("total", words.totals(report))
        _volumes(screen, report)
        _rates(screen, report)
        _errors(screen, report)
        _nulls(screen, report)
        _late(screen, report)
        screen.listed("Duplicates", [words.duplicates(one) for one in report.duplicates])
    screen.listed("Silent types", [one.sentence for one in report.silent])
    if not report.is_empty or report.unknown_fields:
        _unknown(screen, report)
    if report.notes:
        screen.listed("Notes", report.notes)
    return screen.lines


class _Screen:
    def __init__(self, glyphs: Glyphs, encoding: str) -> None:
        self.glyphs = glyphs
        self._encoding = encoding
        self.lines: list[str] = []

    def say(self, text: str, indent: int = 0) -> None:
        """One line, cut where it is too wide."""
        self.lines.append(" " * indent + self.cut(text, WIDTH - indent))

    def labelled(self, label: str, text: str) -> None:
        """A paragraph behind a label."""
        lines = textwrap.wrap(self.safe(text), WIDTH - 12) or [""]
        for number, line in enumerate(lines):
            self.lines.append(f"{'' if number else label:<9} {self.cut(line, WIDTH - 10)}")

    def heading(self, text: str) -> None:
        """A section begins."""
        self.lines += ["", text]

    def listed(self, heading: str, items: Sequence[str]) -> None:
        """A section of sentences; `none` when there is none."""
        if not items:
            self.lines += ["", f"{heading}: none"]
            return
        self.heading(heading)
        for item in items[:MOST_ROWS]:
            for number, line in enumerate(textwrap.wrap(self.safe(item), WIDTH - 6) or [""]):
                self.say(line, 4 if number else 2)
        self.rest(len(items))

    def rest(self, number: int, most: int = MOST_ROWS) -> None:
        """What a section leaves out."""
        if number > most:
            self.say(f"{self.glyphs.ellipsis} and {number - most} more; see --json or --html", 2)

    def table(self, columns: Sequence[tuple[str, int]], rows: Iterable[Sequence[str]]) -> None:
        """Aligned cells; a column is as wide as its widest cell, up to its number; a negative one is aligned right."""
        lines = [[self.cut(text, abs(most)) for text, (_, most) in zip(row, columns, strict=True)] for row in rows]
        widths = [max(cell_len(name), *(cell_len(line[at]) for line in lines)) for at, (name, _) in enumerate(columns)]
        for line in ([name for name, _ in columns], *lines):
            cells = []
            for text, width, (_, most) in zip(line, widths, columns, strict=True):
                blank = " " * (width - cell_len(text))
                cells.append(blank + text if most < 0 else text + blank)
            self.say("  ".join(cells).rstrip(), 2)

    def safe(self, text: str | None) -> str:
        """Text that producers may have written: one line, nothing that a terminal obeys."""
        line = shown(text)
        if self.glyphs is ASCII:  # our own typography, before the rest is written as escapes
            for unicode, ascii_ in (("…", "..."), ("→", "->")):
                line = line.replace(unicode, ascii_)
        return line.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def cut(self, text: str | None, width: int) -> str:
        """Safe text, and no wider than that many columns."""
        line = self.safe(text)
        if cell_len(line) <= width:
            return line
        kept = width - len(self.glyphs.ellipsis)
        return set_cell_size(line, max(kept, 0)).rstrip() + self.glyphs.ellipsis

    def bar(self, value: float, most: float, width: int = _BAR) -> str:
        """A bar; whatever is more than nothing is seen."""
        if value <= 0 or most <= 0:
            return ""
        parts = self.glyphs.parts
        steps = len(parts) + 1
        eighths = max(1, round(min(value / most, 1.0) * width * steps))
        full, rest = divmod(eighths, steps)
        return self.glyphs.full * full + (parts[rest - 1] if rest else "")

    def level(self, value: float, most: float) -> str:
        """One character for a value between nothing and the most."""
        if value <= 0:
            return self.glyphs.none
        levels = self.glyphs.levels
        return levels[min(len(levels) - 1, int(value / most * len(levels)))] if most > 0 else levels[0]


def _volumes(screen: _Screen, report: Report) -> None:
    screen.heading("Volumes")
    days = [report.first + timedelta(days=number) for number in range((report.last - report.first).days + 1)]
    if len(days) > MOST_DAYS:
        screen.say(f"the last {MOST_DAYS} of {len(days)} days", 2)
    by_day: dict[date, list[TypeDayVolume]] = {day: [] for day in days[-MOST_DAYS:]}
    for volume in report.volumes:
        if volume.day in by_day:
            by_day[volume.day].append(volume)
    most = max((sum(one.files for one in volumes) for volumes in by_day.values()), default=0)
    rows = []
    for day, volumes in by_day.items():
        files = sum(one.files for one in volumes)
        outcomes: dict[str, int] = {}
        for one in volumes:
            outcomes[one.outcome] = outcomes.get(one.outcome, 0) + one.files
        rows.append(
            (
                day.isoformat(),
                f"{files:,}",
                f"{sum(one.rows for one in volumes):,}",
                bytes_text(sum(one.bytes for one in volumes)),
                screen.bar(files, most),
                ", ".join(f"{outcome} {outcomes[outcome]:,}" for outcome in OUTCOMES if outcome in outcomes) or "-",
            )
        )
    screen.table([("day", 10), ("files", -9), ("rows", -13), ("bytes", -9), ("", _BAR), ("outcomes", 60)], rows)
    screen.lines.append("")
    worst = max((one.reject_rate or 0 for one in report.types), default=0)
    screen.table(
        [("type", 30), *_VOLUME_COLUMNS],
        [(one.file_type or words.NO_TYPE, *_volume(screen, one, worst)) for one in report.types[:MOST_ROWS]],
    )
    screen.rest(len(report.types))


_VOLUME_COLUMNS = (("files", -9), ("bad", -7), ("records", -13), ("rejected", -11), ("rate", -8), ("", 12))


def _volume(screen: _Screen, one: Volume, worst: float) -> tuple[str, ...]:
    return (
        f"{one.files:,}",
        f"{one.bad_files:,}",
        f"{one.records:,}",
        f"{one.rejected:,}",
        words.percent(one.reject_rate),
        screen.bar(one.reject_rate or 0, worst, 12),
    )


def _rates(screen: _Screen, report: Report) -> None:
    if not report.codes:
        screen.lines += ["", "Rejected records: none"]
    else:
        screen.heading("Rejected records, by code and field")
        most = max(one.records for one in report.codes)
        screen.table(
            [("code", 20), ("field", 20), ("type", 20), ("files", -7), ("records", -9), ("of all", -8), ("", 6)],
            [
                (
                    one.code,
                    one.field or "-",
                    one.file_type or words.NO_TYPE,
                    f"{one.files:,}",
                    f"{one.records:,}",
                    words.percent(one.rate),
                    screen.bar(one.records, most, 6),
                )
                for one in report.codes[:MOST_ROWS]
            ],
        )
        screen.rest(len(report.codes))
    bad = [one for one in report.prefixes if one.rejected or one.bad_files]
    if bad:
        bad.sort(key=lambda one: (-(one.reject_rate or 0), -one.bad_files, -one.rejected))
        screen.heading("By producer prefix")
        worst = max(one.reject_rate or 0 for one in bad)
        screen.table(
            [("prefix", 30), *_VOLUME_COLUMNS],
            [(one.prefix or "(no prefix)", *_volume(screen, one, worst)) for one in bad[:MOST_ROWS]],
        )
        screen.rest(len(bad))
    if report.total.rejected:
        _by_hour(screen, report.hours)


def _by_hour(screen: _Screen, hours: Sequence[HourVolume]) -> None:
    """A line a day, a character an hour."""
    screen.heading("Reject rate by hour of arrival (UTC)")
    rates = {one.hour: one.reject_rate or 0 for one in hours}
    worst = max(rates.values())
    marked = sorted({one.hour.date() for one in hours if one.rejected})
    screen.say(f"{'':10}  {'00':<6}{'06':<6}{'12':<6}{'18':<6} worst hour", 2)
    for day in marked[-MOST_ROWS:]:
        of_day = [one for one in hours if one.hour.date() == day]
        line = [" "] * 24
        for one in of_day:
            line[one.hour.hour] = screen.level(rates[one.hour], worst)
        top = max(of_day, key=lambda one: one.reject_rate or 0)
        screen.say(f"{day}  {''.join(line)} {top.hour:%H}:00 {words.percent(top.reject_rate)}", 2)
    if len(marked) > MOST_ROWS:
        screen.say(f"{screen.glyphs.ellipsis} and {len(marked) - MOST_ROWS} days before; see --json or --html", 2)


def _errors(screen: _Screen, report: Report) -> None:
    if not report.errors:
        screen.lines += ["", "Errors: none"]
        return
    screen.heading(f"Errors: {report.different_errors} different")
    for number, error in enumerate(report.errors[:MOST_ERRORS], start=1):
        _error(screen, number, error)
    screen.rest(report.different_errors, MOST_ERRORS)


def _error(screen: _Screen, number: int, error: ErrorGroup) -> None:
    screen.say(f"{number:>2} {words.error_thing(error)}", 1)
    for line in textwrap.wrap(screen.safe(error.sentence), WIDTH - 6):
        screen.say(line, 4)
    screen.say(words.error_count(error), 4)
    for sample in error.samples:
        screen.say(f"- {sample.file}" + ("" if sample.record_no is None else f", record {sample.record_no}"), 4)
        said = words.sample_text(sample)
        if said != error.message:
            screen.say(said, 8)


def _nulls(screen: _Screen, report: Report) -> None:
    some = [one for one in report.nulls if one.nulls or one.striking]
    some.sort(key=_null_order)
    if not some:
        screen.lines += ["", "Nulls: none" if report.nulls else "Nulls: no table has rows of these days"]
    else:
        screen.heading("Nulls, by column (days as in the files' names)")
        screen.table(
            [("type", 24), ("column", 24), ("null", -8), ("", 14), ("before", 20)],
            [
                (
                    one.file_type,
                    one.column,
                    words.percent(one.rate),
                    screen.bar(one.rate, 1.0, 14),
                    words.null_change(one, screen.glyphs.arrow) + (" !" if one.striking else ""),
                )
                for one in some[:MOST_ROWS]
            ],
        )
        screen.rest(len(some))
    for rescue in report.rescued:
        if rescue.filled:
            screen.say(words.rescue(rescue), 2)


def _null_order(one: NullRate) -> tuple[bool, float, str, str]:
    return not one.striking, -one.rate, one.file_type, one.column


def _late(screen: _Screen, report: Report) -> None:
    if not report.late:
        screen.lines += ["", "Late files: no file has a time in its name"]
        return
    over = sum(one.over_1_hour for one in report.late)
    over_day = sum(one.over_24_hours for one in report.late)
    screen.heading(f"Late files: {over:,} after more than 1 h, {over_day:,} of them after more than 24 h")
    for one in report.late[:MOST_ROWS]:
        screen.say(words.late(one), 2)
        most = max(one.classes.values())
        chart = "".join(screen.level(number, most) for number in one.classes.values())
        told = ", ".join(f"{_class(name)} {number:,}" for name, number in one.classes.items() if number)
        screen.say(f"{chart}  {told}", 4)
        if one.over_1_hour:
            screen.say(f"latest: {one.latest}", 4)
    screen.rest(len(report.late))


def _class(name: str) -> str:
    return name if name in ("early", "more") else f"to {name}"


def _unknown(screen: _Screen, report: Report) -> None:
    if not report.unknown_fields:
        screen.lines += ["", "Unknown fields: none"]
        return
    screen.heading("Unknown fields, counted since they were first seen")
    screen.table(
        [("type", 22), ("key", 26), ("records", -9), ("first seen", 16), ("sample", 18)],
        [
            (one.file_type, one.key, f"{one.records:,}", words.moment(one.first_seen), one.sample)
            for one in report.unknown_fields[:MOST_ROWS]
        ],
    )
    screen.rest(len(report.unknown_fields))
