"""What the page is put together from: sections, figures, tables. Texts that come in are escaped here, HTML is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from watcher.report.charts import text

MOST_ROWS = 200
"""Rows of a table; the rest is in `--json`."""


def section(heading: str, body: str) -> str:
    """A heading and what is below it, which is HTML."""
    return f"<section><h2>{text(heading)}</h2>{body}</section>"


def figure(chart: str, caption: str) -> str:
    """A chart with its caption."""
    return f"<figure><figcaption>{text(caption)}</figcaption>{chart}</figure>"


def details(summary: str, body: str) -> str:
    """A table that is shown when somebody asks for it."""
    return f"<details><summary>Table: {text(summary)}</summary>{body}</details>"


def sentences(heading: str, items: Sequence[str]) -> str:
    """A section of sentences."""
    return section(heading, bullets(items) if items else "<p>None.</p>")


def bullets(items: Iterable[str]) -> str:
    """Texts below each other."""
    return "<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>"


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
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
