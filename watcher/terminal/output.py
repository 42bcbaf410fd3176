"""How commands show rows: aligned text for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON; its fields are stable.")


def print_json(value: Any) -> None:
    """One JSON document on stdout; times as ISO 8601 UTC."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], none: str) -> None:
    """Aligned columns with a header; `none` is said instead of an empty table."""
    if not rows:
        click.echo(none)
        return
    for line in table_lines(columns, rows):
        click.echo(line)


def table_lines(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines of such a table of at least one row."""
    cells = [list(columns), *([shown(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def shown(value: Any) -> str:
    """One value as a cell: on one line, control characters made visible."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return iso(value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "-"
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape", "surrogateescape").decode()


def iso(value: datetime | None) -> str | None:
    """`2026-01-15T12:00:00Z`, to the second."""
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bytes_text(size: int) -> str:
    """`1.2 MB`; powers of 1000."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _plain(value: Any) -> Any:
    return iso(value) if isinstance(value, datetime) else str(value)
