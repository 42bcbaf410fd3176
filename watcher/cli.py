"""The `lemonade` command: what it can do, what its exit codes mean. It alone reads the environment.

Exit codes: 0 done · 1 the answer is "no" · 2 usage · 70 bug · 75 busy, try later · 78 configuration.
`lemonade --help` loads neither Spark nor PyIceberg: every verb imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from metadata.errors import LemonadeError, UsageError
from watcher.exit_codes import exit_code

VERBS = {
    "init": "watcher.commands.init:init",
    "run": "watcher.commands.run:run",
    "flush": "watcher.commands.flush:flush",
    "status": "watcher.commands.reading:status",
    "files": "watcher.commands.reading:files",
    "batches": "watcher.commands.reading:batches",
    "explain": "watcher.commands.explain:explain",
    "retry": "watcher.commands.retry:retry",
    "undo": "watcher.commands.undo:undo",
    "quarantine": "watcher.commands.quarantine:quarantine",
    "types": "watcher.commands.types.types:types",
    "check": "watcher.commands.check:check",
    "summarize": "watcher.commands.summarize:summarize",
    "query": "watcher.commands.query:query",
    "audit": "watcher.commands.audit:audit",
    "report": "watcher.commands.report:report",
    "recover": "watcher.commands.recover:recover",
    "generate": "watcher.commands.generate:generate",
    "demo": "watcher.commands.demo:demo",
    "doctor": "watcher.commands.doctor:doctor",
    "settings": "watcher.commands.settings:settings",
}
"""Verb → the module and name of its click command."""


class _LazyGroup(click.Group):
    """Verbs are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, name = VERBS[cmd_name].split(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - a wrong entry in VERBS is a bug that tests see
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # the reader of our output went away: nothing to say, and nobody to say it to
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0  # click's own answer would be 1, as if the answer were no


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-C",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Work in this directory: relative paths and .env are looked up there.",
)
@click.version_option(package_name="lemonade")
@click.pass_context
def group(ctx: click.Context, directory: Path | None) -> None:
    """Lemonade: JSON files in a folder become Iceberg tables; every record accounted for."""
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise UsageError(f"working in {directory}: {error.strerror}; make it first") from error
    ctx.obj = _LazyApp()


class _LazyApp:
    """Stands for the App until a verb touches it, so that help and `demo` need no settings."""

    def __init__(self) -> None:
        self._app: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._app is None:
            from metadata.logs import configure
            from metadata.settings import Settings
            from watcher.app import App

            configure("ERROR")  # a command says what went wrong; `run` sets the level that was asked for
            self._app = App(Settings.load(os.environ, Path(".env")), environ=os.environ)
        return getattr(self._app, name)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    try:
        code = group.main(args=arguments, prog_name="lemonade", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except LemonadeError as error:
        click.echo(f"lemonade: {error.message}", err=True)
        sys.exit(exit_code(error))
    sys.exit(code if isinstance(code, int) else 0)
