"""The report as one HTML page that needs nothing else: style and charts are in it, no script, nothing is fetched.

Its content security policy allows exactly the style sheet below. Names of files, keys, messages and records come from
producers, who may be hostile: every value goes through `report_charts.text`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from hashlib import sha256

from watcher.report import words
from watcher.report.charts import Bar, ChartColumn, ChartPart, Charts, text
from watcher.report.values import OUTCOMES, ErrorGroup, Report, Volume
from watcher.terminal.output import bytes_text

MOST_ROWS = 200
"""Rows of a table; the rest is in `--json`."""
MOST_BARS = 20
WORST_PREFIXES = 10
HOURLY_DAYS = 14
"""Longer ranges are drawn by day."""

_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--card:#f6f8fa;--bar:#0969da;
--loaded:#2a9d5c;--failed:#cf222e;--error:#e16f24;--duplicate:#8250df;--held:#bf8700;--undone:#6e7781;
--replaced:#57909a;--missing:#24292f;--waiting:#54aeff}
@media (prefers-color-scheme:dark){:root{--ground:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--card:#151b23;
--bar:#4493f8;--loaded:#3fb950;--failed:#f85149;--error:#f0883e;--duplicate:#ab7df8;--held:#d29922;--undone:#8b949e;
--replaced:#76b3bd;--missing:#f0f6fc;--waiting:#79c0ff}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:60rem;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:0}p{margin:.3rem 0}.soft,small{color:var(--soft)}
.verdict,article{border:1px solid var(--line);border-left:.4rem solid var(--line);border-radius:.4rem;
background:var(--card);padding:.7rem 1rem;margin:.8rem 0}
.systemic{border-left-color:var(--failed)}.recurring{border-left-color:var(--held)}.one-off{border-left-color:var(--bar)}
.fine{border-left-color:var(--loaded)}
.cards{display:flex;flex-wrap:wrap;gap:.6rem;list-style:none;margin:.8rem 0;padding:0}
.cards li{flex:1 1 8rem;border:1px solid var(--line);border-radius:.4rem;padding:.5rem .8rem}
.cards b{display:block;font-size:1.3rem}
figure{margin:1rem 0}figcaption{color:var(--soft);margin-bottom:.5rem}
svg{display:block;overflow:visible}svg text{fill:var(--soft);font-size:13px}
.axis{stroke:var(--line)}.track{fill:var(--line)}.bar{fill:var(--bar)}.striking{fill:var(--error)}
.mark{stroke:var(--ink);stroke-width:2}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;margin:.3rem 0;padding:0;font-size:.9rem}
.legend svg{display:inline-block;margin-right:.3rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;width:100%;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid var(--line);padding:.25rem .5rem;text-align:left;vertical-align:top;overflow-wrap:normal}
td.n,th.n{text-align:right;white-space:nowrap}details{margin:.5rem 0}summary{cursor:pointer;color:var(--soft)}
code{font:.85rem/1.4 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
article ul{margin:.4rem 0;padding-left:1.2rem}
""" + "".join(f".{outcome}{{fill:var(--{outcome})}}" for outcome in OUTCOMES)


def page(report: Report) -> str:
    """The whole document."""
    policy = b64encode(sha256(_STYLE.encode()).digest()).decode()
    charts = Charts()
    sections = [
        _volumes(report, charts),
        _rates(report, charts),
        _errors(report),
        _nulls(report, charts),
        _late(report),
        _sentences("Duplicates", [words.duplicates(one) for one in report.duplicates]),
    ]
    if report.is_empty:
        sections = []
    sections += [_sentences("Silent types", [one.sentence for one in report.silent]), _unknown(report)]
    if report.notes:
        sections.append(_sentences("Notes", report.notes))
    verdict = report.verdict or ("" if report.is_empty else "fine")
    return "".join(
        (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            f"style-src 'sha256-{policy}'; base-uri 'none'; form-action 'none'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="referrer" content="no-referrer">\n'
            f"<title>Lemonade report, {text(words.title(report))}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
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
    seen = [outcome for outcome in OUTCOMES if any(outcome in outcomes for outcomes in files.values())]
    legend = "".join(
        f'<li><svg width="12" height="12" aria-hidden="true"><rect class="{outcome}" width="12" height="12"/></svg>'
        f"{outcome}</li>"
        for outcome in seen
    )
    chart = charts.columns(
        "Files by day and outcome",
        "A column a day, stacked by outcome; the table has the numbers.",
        columns,
        f"{most:,} files",
        most,
    )
    by_day = _table(
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
    by_type = _table(
        "Files by type",
        ("type", *_VOLUME_COLUMNS),
        [(one.file_type or words.NO_TYPE, *_volume(one)) for one in report.types],
    )
    figure = _figure(chart + f'<ul class="legend">{legend}</ul>', "Files that arrived, by day and outcome")
    return _section("Volumes", figure + by_type + _details("by day, type and outcome", by_day))


_VOLUME_COLUMNS = ("#files", "#not loaded", "#records", "#rejected", "#rate")


def _volume(one: Volume) -> tuple[str, ...]:
    rate = words.percent(one.reject_rate)
    return f"{one.files:,}", f"{one.bad_files:,}", f"{one.records:,}", f"{one.rejected:,}", rate


def _rates(report: Report, charts: Charts) -> str:
    if not report.codes and not report.total.rejected and not report.total.bad_files:
        return _section("Rejected records", "<p>None.</p>")
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
        parts.append(_figure(chart, "Rejected records by code and field"))
        table = _table(
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
        parts.append(_details("by code, field and type", table))
    bad = [one for one in report.prefixes if one.rejected or one.bad_files]
    bad.sort(key=lambda one: (-(one.reject_rate or 0), -one.bad_files, -one.rejected))
    rows = [(one.prefix or "(no prefix)", one.file_type or words.NO_TYPE, *_volume(one)) for one in bad]
    columns = ("prefix", "type", *_VOLUME_COLUMNS)
    if bad:
        parts.append(_table("Files by producer prefix, worst first", columns, rows[:WORST_PREFIXES]))
    if len(bad) > WORST_PREFIXES:
        parts.append(_details("all prefixes", _table("Files by producer prefix", columns, rows)))
    return _section("Rejected records", "".join(parts))


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
    table = _table(
        title,
        (f"{what} (UTC)", "#records", "#rejected", "#rate"),
        [
            (words.moment(at), f"{slot.records:,}", f"{slot.rejected:,}", words.percent(rates[at]))
            for at, slot in slots.items()
            if slot.rejected
        ],
    )
    return _figure(chart, title) + _details(f"by {what}", table)


def _midnight(report: Report, day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=report.made_at.tzinfo)


def _errors(report: Report) -> str:
    if not report.errors:
        return _section("Errors", "<p>None.</p>")
    cards = "".join(_error(error) for error in report.errors)
    more = report.different_errors - len(report.errors)
    rest = f'<p class="soft">… and {words.count(more, "other error")}, each in fewer files.</p>' if more > 0 else ""
    return _section(f"Errors: {report.different_errors} different", cards + rest)


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
        return _section("Nulls", "<p>No table has rows of these days.</p>")
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
        parts.append(_figure(charts.bars("Nulls by column", about, bars), caption))
    else:
        parts.append("<p>None.</p>")
    parts += [f"<p>{text(words.rescue(one))}</p>" for one in report.rescued if one.filled]
    table = _table(
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
    return _section("Nulls", "".join(parts) + _details("all columns", table))


def _late(report: Report) -> str:
    if not report.late:
        return _section("Late files", "<p>No file has a time in its name.</p>")
    names = list(report.late[0].classes)
    table = _table(
        "Files by how long after the times in their names they arrived",
        ("type", *(f"#{name}" if name in ("early", "more") else f"#to {name}" for name in names), "latest"),
        [
            (one.file_type or words.NO_TYPE, *(f"{one.classes[name]:,}" for name in names), one.latest)
            for one in report.late
        ],
    )
    over, over_day = (sum(getattr(one, name) for one in report.late) for name in ("over_1_hour", "over_24_hours"))
    lead = f"<p>{over:,} after more than 1 h, {over_day:,} of them after more than 24 h.</p>"
    return _section("Late files", lead + _list(words.late(one) for one in report.late) + table)


def _unknown(report: Report) -> str:
    if not report.unknown_fields:
        return "" if report.is_empty else _section("Unknown fields", "<p>None.</p>")
    table = _table(
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
    return _section("Unknown fields", table)


# -- pieces -----------------------------------------------------------------------------------------------------------


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{text(heading)}</h2>{body}</section>"


def _figure(chart: str, caption: str) -> str:
    return f"<figure><figcaption>{text(caption)}</figcaption>{chart}</figure>"


def _details(summary: str, body: str) -> str:
    return f"<details><summary>Table: {text(summary)}</summary>{body}</details>"


def _sentences(heading: str, items: Sequence[str]) -> str:
    return _section(heading, _list(items) if items else "<p>None.</p>")


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>"


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in a box that scrolls; columns that begin with # are numbers."""
    classes = [' class="n"' if name.startswith("#") else "" for name in columns]
    head = "".join(
        f'<th scope="col"{css}>{text(name.removeprefix("#"))}</th>' for name, css in zip(columns, classes, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{css}>{text(cell)}</td>" for cell, css in zip(row, classes, strict=True)) + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = len(rows) - MOST_ROWS
    rest = f'<p class="soft">… and {more:,} more; see <code>lemonade report --json</code></p>' if more > 0 else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}"><table><caption class="soft">'
        f"{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    )
