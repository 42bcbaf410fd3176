"""How a report's numbers are written, the same in the terminal and on the page."""

from __future__ import annotations

from datetime import datetime, timedelta

from metadata.ledger.fingerprint import without_place
from watcher.report.values import (
    CodeRate,
    Duplicates,
    ErrorGroup,
    Lateness,
    NullRate,
    Report,
    Rescue,
    SampleText,
    Volume,
)

NO_TYPE = "(no type)"
"""Stands for files that no type takes."""


def percent(rate: float | None) -> str:
    """`12.3 %`, `0.4 %`, `< 0.1 %`; `-` where there is nothing to take a part of."""
    if rate is None:
        return "-"
    if 0 < rate < 0.001:
        return "< 0.1 %"
    if 0.999 < rate < 1:
        return "> 99.9 %"
    text = f"{rate * 100:.1f}"
    return f"{text.removesuffix('.0')} %"


def moment(at: datetime | None) -> str:
    """`2026-01-15 09:30`, UTC."""
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"


def duration(length: timedelta) -> str:
    """`45 min`, `3.5 h`, `2.1 days`."""
    minutes = length.total_seconds() / 60
    if abs(minutes) < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if abs(minutes) < 48 * 60 else f"{minutes / 60 / 24:.1f} days"


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`, `12,345 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def title(report: Report) -> str:
    """What was asked for."""
    days = f"{report.first}" if report.first == report.last else f"{report.first} to {report.last}"
    return f"{days}, by UTC day of arrival; {report.file_type or 'all types'}"


def totals(report: Report) -> str:
    """The whole in numbers, against the period before."""
    total, before = report.total, report.before
    text = f"{count(total.files, 'file')}, {count(total.records, 'record')}, {count(total.rows, 'row')} loaded"
    text += f", {total.rejected:,} rejected ({percent(total.reject_rate)})"
    if total.replayed or total.discarded:
        text += f", of those {total.replayed:,} replayed since and {total.discarded:,} discarded"
    if total.bad_files:
        text += f", {count(total.bad_files, 'file')} not loaded"
    return text + f"; the {(report.last - report.first).days + 1} days before: {_before(before)}"


def _before(before: Volume) -> str:
    if not before.files:
        return "no file"
    return f"{count(before.files, 'file')}, {percent(before.reject_rate)} rejected"


def error_thing(error: ErrorGroup) -> str:
    """`wrong_type in speed of vehicle_events: Expected …`."""
    where = f" in {error.field}" if error.field else ""
    return f"{error.code}{where} of {error.file_type or 'files without type'}: {error.message or '-'}"


def error_count(error: ErrorGroup) -> str:
    """How often, and from when to when."""
    many = count(error.files, "file")
    if not error.whole_file:
        many = f"{count(error.records, 'record')} in {many}"
    if error.first_seen == error.last_seen:
        return f"{many}, {moment(error.first_seen)}"
    return f"{many}, {moment(error.first_seen)} to {moment(error.last_seen)}"


def sample_text(sample: SampleText) -> str:
    """The record itself where the quarantine has it, else what was said of it."""
    return without_place(sample.message) if sample.raw is None else sample.raw


def code_thing(code: CodeRate) -> str:
    """`wrong_type in speed`."""
    return f"{code.code} in {code.field}" if code.field else code.code


def null_change(null: NullRate, arrow: str) -> str:
    """`2 % → 41 %`, `new` for a column that the period before did not have."""
    if null.whole_table:
        return "whole table"
    return "no rows before" if null.before is None else f"{percent(null.before)} {arrow} {percent(null.rate)}"


def rescue(one: Rescue) -> str:
    """How much of `_rescued` is filled."""
    text = f"{one.file_type}: {count(one.filled, 'row')} of {one.rows:,} ({percent(one.rate)}) have rescued fields"
    return text if one.before is None else f"{text}, {percent(one.before)} before"


def late(one: Lateness) -> str:
    """How late a type's files are."""
    text = f"{one.file_type or NO_TYPE}: half arrive within {_minutes(one.median_minutes)}"
    return f"{text}, the latest after {_minutes(one.most_minutes)}"


def _minutes(number: int) -> str:
    return duration(timedelta(minutes=number))


def duplicates(one: Duplicates) -> str:
    """What came twice of a type."""
    parts = []
    if one.files:
        parts.append(f"{count(one.files, 'file')} delivered again, not loaded")
    if one.repeated_keys:
        keys = count(one.repeated_keys, "primary key")
        parts.append(f"{keys} with more than one row, {count(one.surplus_rows or 0, 'row')} too many")
    if one.rejected:
        parts.append(f"{count(one.rejected, 'record')} rejected as duplicate_key")
    return f"{one.file_type or NO_TYPE}: {'; '.join(parts)}"
