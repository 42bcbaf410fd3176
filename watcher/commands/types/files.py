"""What the verbs of `lemonade types` have in common: types files in, requests, answers out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from watcher.app import App


def perform(app: App, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Have the daemon do it, or do it here; see `watcher.verbs.perform`."""
    from watcher.verbs.perform import perform as ask

    return ask(app, verb, arguments)


def read(path: Path) -> dict[str, Any]:
    """The JSON object in a types file; UsageError with the reason when there is none."""
    from metadata.errors import UsageError

    try:
        with click.open_file(str(path), encoding="utf-8-sig") as file:
            raw = json.load(file)
    except OSError as error:
        raise UsageError(f"reading {path}: {error.strerror}; give the path of a types file") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"reading {path}: it is no JSON: {error}; correct it") from error
    if not isinstance(raw, dict):
        raise UsageError(f"reading {path}: a types file is one JSON object, not {type(raw).__name__}; see the README")
    raw.pop("$schema", None)  # for editors
    return raw


def say(answer: dict[str, Any], done: str) -> None:
    """What a verb did to a type, in one line."""
    text = f"{done} {answer['file_type']}"
    if "table_name" in answer:
        patterns = ", ".join(answer["filename_patterns"])
        text += (
            f" ({answer['status']}): {patterns} -> {answer['table_name']}, schema version {answer['schema_version']}"
        )
    click.echo(text)


def agree(operation: str, question: str, yes: bool) -> None:
    """Ask on a terminal unless `yes` was said; without a terminal, UsageError."""
    from metadata.errors import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{operation}: nothing was changed; without a terminal, say --yes")
    click.confirm(question, abort=True, err=True)
