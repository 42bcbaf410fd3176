"""`lemonade types disable`: take a type's files no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.deeds.by_name import DaemonThread
from watcher.terminal.types_files import say_done

if TYPE_CHECKING:
    from watcher.app import App
    from watcher.work.work import Work

DONE_BY = DaemonThread.MAIN


@click.command()
@click.argument("file_type", metavar="TYPE")
@click.pass_obj
def disable(app: App, file_type: str) -> None:
    """Take the type's files no more: new ones are held, claimed ones are still loaded."""
    from watcher.deeds.daemon_or_here import perform

    say_done(perform(app, "types.disable", {"file_type": file_type}), "disabled")


def do(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """`file_type`."""
    work.app.registry.disable(arguments["file_type"])
    return {"file_type": arguments["file_type"], "status": "disabled"}
