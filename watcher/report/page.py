"""The report as one HTML page that needs nothing else: style and charts are in it, no script, nothing is fetched.

Its content security policy allows exactly the style sheet below. Names of files, keys, messages and records come from
producers, who may be hostile: every value goes through `watcher.report.charts.text`.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import date, datetime, timedelta
from hashlib import sha256

from watcher.report import html_pieces as html
from watcher.report import words
from watcher.report.charts import Bar, ChartColumn, ChartPart, Charts, text
from watcher.report.style import STYLE
from watcher.report.values import OUTCOMES, ErrorGroup, Report, Volume
from watcher.terminal.output import bytes_text

MOST_BARS = 20
WORST_PREFIXES = 10
HOURLY_DAYS = 14
"""Longer ranges are drawn by day."""


def page(report: Report) -> str:
    """The whole document."""
    policy = b64encode(sha256(STYLE.encode()).digest()).decode()
    charts = Charts()
    sections = [
        _volumes(report, charts),
        _rates(report, charts),
        _errors(report),
        _nulls(report, charts),
        _late(report),
        html.sentences("Duplicates", [words.duplicates(one) for one in report.duplicates]),
    ]
    if report.is_empty:
        sections = []
    sections += [html.sentences("Silent types", [one.sentence for one in report.silent]), _unknown(report)]
    if report.notes:
        sections.append(html.sentences("Notes", report.notes))
    verdict = report.verdict or ("" if report.is_empty else "fine")
    return "".join(
        (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            f"style-src 'sha256-{policy}'; base-uri 'none'; form-action 'none'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="referrer" content="no-referrer">\n'
            f"<title>Lemonade report, {text(words.title(report))}</title>\n<style>{STYLE}</style></head>\n<body>\n"
            f'<header><h1>Lemonade report</h1><p class="soft">{text(words.title(report))}; '
            f"made {words.moment(report.made_at)} UTC</p></header>\n<main>\n"
            f'<p class="verdict {verdict}"><strong>{text(report.sentence)}</strong></p>\n',
            _cards(report),
            "\n".join(filter(None, sections)),
            "\n</main></body></html>\n",
        )
    )


def _rejected_more(total: Volume, before: Volume) -> str:
    since = f"{total.replayed:,} replayed, {total.discarded:,} discarded since; "
    return f"{since if total.replayed or total.discarded else ''}{words.percent(before.reject_rate)} before"


def _cards(report: Report) -> str:
    total, before = report.total, report.before
    cards = (
        ("files", f"{total.files:,}", f"{before.files:,} before"),
        ("records", f"{total.records:,}", f"{before.records:,} before"),
        ("rows loaded", f"{total.rows:,}", bytes_text(total.bytes)),
        ("rejected", words.percent(total.reject_rate), _rejected_more(total, before)),
        ("files not loaded", f"{total.bad_files:,}", f"{before.bad_files:,} before"),
    )
    items = "".join(
        f"<li><b>{text(number)}</b>{text(name)}<br><small>{text(more)}</small></li>" for name, number, more in cards
    )
    days = (report.last - report.first).days + 1
    return f'<ul class="cards">{items}</ul><p class="soft">“before”: the {words.count(days, "day")} right before.</p>\n'


def _volumes(report: Report, charts: Charts) -> str:
    by_day = html.table(
        "Files by day, type and outcome",
        ("day", "type", "outcome", "#files", "#records", "#rows", "#bytes"),
        [
            (
                one.day,
                one.file_type or words.NO_TYPE,
                one.outcome,
                f"{one.files:,}",
                f"{one.records:,}",
                f"{one.rows:,}",
                bytes_text(one.bytes),
            )
            for one in report.volumes
        ],
    )
    by_type = html.table(
        "Files by type",
        ("type", *_VOLUME_COLUMNS),
        [(one.file_type or words.NO_TYPE, *_volume(one)) for one in report.types],
    )
    figure = html.figure(_by_day_and_outcome(report, charts), "Files that arrived, by day and outcome")
    return html.section("Volumes", figure + by_type + html.details("by day, type and outcome", by_day))


def _by_day_and_outcome(report: Report, charts: Charts) -> str:
    """The chart of files, with its legend."""
    days = [report.first + timedelta(days=number) for number in range((report.last - report.first).days + 1)]
    files: dict[date, dict[str, int]] = {day: {} for day in days}
    for one in report.volumes:
        files[one.day][one.outcome] = files[one.day].get(one.outcome, 0) + one.files
    most = max(sum(outcomes.values()) for outcomes in files.values())
    columns = [
        ChartColumn(
            f"{day:%m-%d}",
            [
                ChartPart(outcomes[outcome], outcome, f"{day}: {outcome} {words.count(outcomes[outcome], 'file')}")
                for outcome in OUTCOMES
                if outcome in outcomes
            ],
        )
        for day, outcomes in files.items()
    ]
    legend = "".join(
        f'<li><svg width="12" height="12" aria-hidden="true"><rect class="{outcome}" width="12" height="12"/></svg>'
        f"{outcome}</li>"
        for outcome in OUTCOMES
        if any(outcome in outcomes for outcomes in files.values())
    )
    chart = charts.columns(
        "Files by day and outcome",
        "A column a day, stacked by outcome; the table has the numbers.",
        columns,
        f"{most:,} files",
        most,
    )
    return chart + f'<ul class="legend">{legend}</ul>'


_VOLUME_COLUMNS = ("#files", "#not loaded", "#records", "#rejected", "#rate")


def _volume(one: Volume) -> tuple[str, ...]:
    rate = words.percent(one.reject_rate)
    return f"{one.files:,}", f"{one.bad_files:,}", f"{one.records:,}", f"{one.rejected:,}", rate


def _rates(report: Report, charts: Charts) -> str:
    if not report.codes and not report.total.rejected and not report.total.bad_files:
        return html.section("Rejected records", "<p>None.</p>")
    parts = []
    if report.total.rejected:
        parts.append(_over_time(report, charts))
    if report.codes:
        most = max(one.records for one in report.codes)
        bars = [
            Bar(f"{words.code_thing(one)}, {one.file_type or words.NO_TYPE}", one.records / most, f"{one.records:,}")
            for one in report.codes[:MOST_BARS]
        ]
        chart = charts.bars("Rejected records by code and field", "A bar for each code and field.", bars)
        parts.append(html.figure(chart, "Rejected records by code and field"))
        table = html.table(
            "Rejected records by code, field and type",
            ("code", "field", "type", "#files", "#records", "#of all records"),
            [
                (
                    one.code,
                    one.field or "-",
                    one.file_type or words.NO_TYPE,
                    f"{one.files:,}",
                    f"{one.records:,}",
                    words.percent(one.rate),
                )
                for one in report.codes
            ],
        )
        parts.append(html.details("by code, field and type", table))
    bad = [one for one in report.prefixes if one.rejected or one.bad_files]
    bad.sort(key=lambda one: (-(one.reject_rate or 0), -one.bad_files, -one.rejected))
    rows = [(one.prefix or "(no prefix)", one.file_type or words.NO_TYPE, *_volume(one)) for one in bad]
    columns = ("prefix", "type", *_VOLUME_COLUMNS)
    if bad:
        parts.append(html.table("Files by producer prefix, worst first", columns, rows[:WORST_PREFIXES]))
    if len(bad) > WORST_PREFIXES:
        parts.append(html.details("all prefixes", html.table("Files by producer prefix", columns, rows)))
    return html.section("Rejected records", "".join(parts))


def _over_time(report: Report, charts: Charts) -> str:
    """The reject rate by hour, by day where the range is long."""
    hourly = (report.last - report.first).days < HOURLY_DAYS
    slots: dict[datetime, Volume] = {}
    step, at = timedelta(hours=1) if hourly else timedelta(days=1), _midnight(report, report.first)
    while at < _midnight(report, report.last) + timedelta(days=1):
        slots[at] = Volume()
        at += step
    for hour in report.hours:
        slot = slots[hour.hour if hourly else hour.hour.replace(hour=0)]
        slot.records += hour.records
        slot.rejected += hour.rejected
    rates = {at: slot.rejected / slot.records if slot.records else 0.0 for at, slot in slots.items()}
    most = max(rates.values())
    what = "hour" if hourly else "day"
    columns = [
        ChartColumn(
            f"{at:%m-%d}",
            [
                ChartPart(
                    rate, "bar", f"{at:%Y-%m-%d %H:%M}: {words.percent(rate)} of {slots[at].records:,} records rejected"
                )
            ],
        )
        for at, rate in rates.items()
    ]
    title = f"Reject rate by {what} of arrival"
    chart = charts.columns(title, f"A column for each {what} (UTC).", columns, words.percent(most), most)
    table = html.table(
        title,
        (f"{what} (UTC)", "#records", "#rejected", "#rate"),
        [
            (words.moment(at), f"{slot.records:,}", f"{slot.rejected:,}", words.percent(rates[at]))
            for at, slot in slots.items()
            if slot.rejected
        ],
    )
    return html.figure(chart, title) + html.details(f"by {what}", table)


def _midnight(report: Report, day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=report.made_at.tzinfo)


def _errors(report: Report) -> str:
    if not report.errors:
        return html.section("Errors", "<p>None.</p>")
    cards = "".join(_error(error) for error in report.errors)
    more = report.different_errors - len(report.errors)
    rest = f'<p class="soft">… and {words.count(more, "other error")}, each in fewer files.</p>' if more > 0 else ""
    return html.section(f"Errors: {report.different_errors} different", cards + rest)


def _error(error: ErrorGroup) -> str:
    samples = "".join(
        f"<li>{text(sample.file)}{'' if sample.record_no is None else f', record {sample.record_no}'}<br>"
        f"<code>{text(words.sample_text(sample))}</code></li>"
        for sample in error.samples
    )
    return (
        f'<article class="{error.verdict}"><h3>{text(words.error_thing(error))}</h3><p>{text(error.sentence)}</p>'
        f'<p class="soft">{text(words.error_count(error))}</p><ul>{samples}</ul></article>'
    )


def _nulls(report: Report, charts: Charts) -> str:
    if not report.nulls:
        return html.section("Nulls", "<p>No table has rows of these days.</p>")
    some = sorted(
        (one for one in report.nulls if one.nulls or one.striking), key=lambda one: (not one.striking, -one.rate)
    )
    parts = []
    if some:
        bars = [
            Bar(
                f"{one.file_type}.{one.column}",
                one.rate,
                words.percent(one.rate) if one.whole_table else words.null_change(one, "→"),
                one.before,
                "striking" if one.striking else "bar",
            )
            for one in some[:MOST_BARS]
        ]
        about = "A bar for each column with nulls; a line marks the period before."
        caption = "Nulls by column; the line marks the period before"
        parts.append(html.figure(charts.bars("Nulls by column", about, bars), caption))
    else:
        parts.append("<p>None.</p>")
    parts += [f"<p>{text(words.rescue(one))}</p>" for one in report.rescued if one.filled]
    table = html.table(
        "Nulls by column",
        ("type", "column", "#rows", "#nulls", "#rate", "#before"),
        [
            (
                one.file_type,
                one.column,
                f"{one.rows:,}",
                f"{one.nulls:,}",
                words.percent(one.rate),
                "whole table" if one.whole_table else words.percent(one.before),
            )
            for one in report.nulls
        ],
    )
    return html.section("Nulls", "".join(parts) + html.details("all columns", table))


def _late(report: Report) -> str:
    if not report.late:
        return html.section("Late files", "<p>No file has a time in its name.</p>")
    names = list(report.late[0].classes)
    table = html.table(
        "Files by how long after the times in their names they arrived",
        ("type", *(f"#{name}" if name in ("early", "more") else f"#to {name}" for name in names), "latest"),
        [
            (one.file_type or words.NO_TYPE, *(f"{one.classes[name]:,}" for name in names), one.latest)
            for one in report.late
        ],
    )
    over, over_day = (sum(getattr(one, name) for one in report.late) for name in ("over_1_hour", "over_24_hours"))
    lead = f"<p>{over:,} after more than 1 h, {over_day:,} of them after more than 24 h.</p>"
    return html.section("Late files", lead + html.bullets(words.late(one) for one in report.late) + table)


def _unknown(report: Report) -> str:
    if not report.unknown_fields:
        return "" if report.is_empty else html.section("Unknown fields", "<p>None.</p>")
    table = html.table(
        "Keys that records have and their schema has not, counted since they were first seen",
        ("type", "key", "#records", "#files", "first seen", "last seen", "sample"),
        [
            (
                one.file_type,
                one.key,
                f"{one.records:,}",
                f"{one.files:,}",
                words.moment(one.first_seen),
                words.moment(one.last_seen),
                one.sample,
            )
            for one in report.unknown_fields
        ],
    )
    return html.section("Unknown fields", table)
