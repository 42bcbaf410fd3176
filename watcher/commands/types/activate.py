"""`lemonade types activate`: take a type's files, with its draft when it has no schema."""

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
@click.argument("file_type", metavar="TYPE")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="For a type without a schema: this types file, instead of the draft on its record; - reads standard input.",
)
@click.pass_obj
def activate(app: App, file_type: str, path: Path | None) -> None:
    """Take the type's files, with its draft when it has no schema; those held for it flow at the next scan."""
    from watcher.deeds.daemon_or_here import perform

    given = {} if path is None else {"raw": read_types_file(path)}
    say_done(perform(app, "types.activate", {"file_type": file_type, **given}), "activated")


def do(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """`file_type`, and `raw`: a types file, or without it the draft on the type's record."""
    from watcher.deeds.type_answer import type_answer

    return type_answer(work.app.registry.activate(arguments["file_type"], arguments.get("raw")))
