"""`lemonade types add`: register a type and take its files from now on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watcher.deeds.by_name import DaemonThread
from watcher.terminal.types_files import read_types_file, say_done

if TYPE_CHECKING:
    from watcher.app import App
    from watcher.work.work import Work

DONE_BY = DaemonThread.MAIN


@click.command()
@click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="The types file, a JSON object; - reads it from standard input.",
)
@click.pass_obj
def add(app: App, path: Path) -> None:
    """Register the type of a types file and take its files from now on."""
    from watcher.deeds.daemon_or_here import perform

    say_done(perform(app, "types.add", {"raw": read_types_file(path)}), "registered")


def do(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """`raw`: a types file."""
    from watcher.deeds.type_answer import type_answer

    return type_answer(work.app.registry.add(arguments["raw"]))
