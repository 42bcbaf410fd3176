"""`lemonade generate`: make test data in incoming/."""

from __future__ import annotations

import secrets
import sys
import threading
from random import Random
from typing import TYPE_CHECKING, Any

import click

from metadata.errors import Busy, UsageError
from watcher.terminal.output import JSON_OPTION, print_json

if TYPE_CHECKING:
    from watcher.app import App
    from watcher.deeds.made_up_files import Generated


@click.command()
@click.option("--num-files", type=click.IntRange(min=1), default=5, show_default=True, help="Files of each type.")
@click.option("--records", type=click.IntRange(min=1), default=100, show_default=True, help="Records in each file.")
@click.option(
    "--bad-records",
    type=click.FloatRange(min=0, max=1),
    default=0.0,
    show_default=True,
    help="Share of the records in each file that break the schema.",
)
@click.option("--continuous", is_flag=True, help="Go on, round after round, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds between two rounds of --continuous.  [default: 10]",
)
@click.option(
    "--no-cleanup", is_flag=True, help="Only add files; without it everything that was loaded is deleted first."
)
@click.option("--seed", type=int, help="Makes the same data again; fresh by default, and printed.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@JSON_OPTION
@click.pass_obj
def generate(
    app: App,
    num_files: int,
    records: int,
    bad_records: float,
    continuous: bool,
    interval: float | None,
    no_cleanup: bool,
    seed: int | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Make source files of the two built-in types and rename them into incoming/.

    Without --no-cleanup it starts from nothing: source files, tables, catalog and ledger of these settings are deleted,
    then everything is initialised again. It asks first, and refuses while a daemon runs.
    """
    from watcher.deeds.made_up_files import Generator

    if interval is not None and not continuous:
        raise UsageError("generating: --interval goes with --continuous")
    if as_json and continuous:
        raise UsageError("generating: --json goes with a single round, not with --continuous")
    if not no_cleanup:
        _start_again(app, yes)
    chosen = secrets.randbelow(1_000_000) if seed is None else seed
    if not as_json:
        click.echo(f"seed {chosen}")
    ledger = app.ledger if app.unchecked_database.is_migrated() else None
    generator = Generator(
        Random(chosen),  # noqa: S311 - test data, and it has to come again
        app.settings.incoming_folder,
        lambda name: bool(ledger and ledger.files(name=name, limit=1)),
    )
    stop = threading.Event()
    try:
        while True:
            made = generator.make(num_files, records, app.clock.now(), bad_records)
            if as_json:
                print_json({"seed": chosen, "files": [_as_json(file, records) for file in made]})
            else:
                _print(made)
            if not continuous or stop.wait(10.0 if interval is None else interval):
                return
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


def _as_json(file: Generated, records: int) -> dict[str, Any]:
    return {"name": file.path.name, "file_type": file.file_type, "records": records, "bad": file.bad}


def _print(made: list[Generated]) -> None:
    for file in made:
        bad = f", {file.bad} of them bad" if file.bad else ""
        click.echo(f"{file.path}  {file.records} records{bad}")


def _start_again(app: App, yes: bool) -> None:
    """Delete and initialise, after asking."""
    from watcher.deeds.clean import check_can_clean, clean, places
    from watcher.lock import DaemonLock, daemon_pid

    check_can_clean(app.settings)
    pid = daemon_pid(app.settings)
    if pid is not None:
        raise Busy(f"cleaning: the daemon runs (process {pid}); stop it, or use --no-cleanup, which only adds")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("cleaning: it deletes all data of these settings; say --yes, or --no-cleanup to only add")
        click.echo("This deletes what Lemonade made in:", err=True)
        for place in places(app.settings):
            click.echo(f"  {place}", err=True)
        if not click.confirm("Delete it and start from nothing?", err=True):
            click.echo("nothing was deleted", err=True)
            raise click.exceptions.Exit(1)
    with DaemonLock(app.settings, "command", "generate"):
        removed = clean(app.settings)
        app.init()
    click.echo(f"deleted {removed} files, initialised again", err=True)
