"""Types files, as commands read them, and the line that says what became of a type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from metadata.errors import UsageError


def read_types_file(path: Path) -> dict[str, Any]:
    """The JSON object in a types file, `-` being standard input; UsageError with the reason when there is none."""
    try:
        with click.open_file(str(path), encoding="utf-8-sig") as file:
            raw = json.load(file)
    except OSError as error:
        raise UsageError(f"reading {path}: {error.strerror}; give the path of a types file") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"reading {path}: it is no JSON: {error}; correct it") from error
    if not isinstance(raw, dict):
        what = type(raw).__name__
        raise UsageError(f"reading {path}: a types file is one JSON object, not {what}; see docs/types.md")
    raw.pop("$schema", None)  # for editors
    return raw


def say_done(answer: dict[str, Any], done: str) -> None:
    """What a verb did to a type, in one line."""
    text = f"{done} {answer['file_type']}"
    if "table_name" in answer:
        patterns = ", ".join(answer["filename_patterns"])
        text += (
            f" ({answer['status']}): {patterns} -> {answer['table_name']}, schema version {answer['schema_version']}"
        )
    click.echo(text)


def patterns_text(row: dict[str, Any]) -> str:
    """The patterns of a type as `Registry.describe` tells them; without any, its name is the pattern."""
    patterns = row["filename_patterns"]
    if patterns is None:
        return str(row["file_type"])
    return ", ".join(map(str, patterns)) if isinstance(patterns, list) else str(patterns)
