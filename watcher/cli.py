"""The `lemonade` command: what it can do, what its exit codes mean. It alone reads the environment.

Exit codes: 0 done · 1 the answer is "no" · 2 usage · 70 bug · 75 busy, try later · 78 configuration.
The verbs are the files of `watcher/commands/` (see `watcher.deeds.command_files`). `lemonade --help` reads a line of
each and imports none; a verb imports what it needs when it runs, so that no other verb waits for Spark or PyIceberg.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from metadata.errors import LemonadeError, UsageError
from watcher.deeds.command_files import verb_files
from watcher.exit_codes import exit_code


class VerbGroup(click.Group):
    """All verbs, or the sub-verbs of `verb`: listed by their files, each imported when it is asked for."""

    def __init__(self, *arguments: Any, verb: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.verb = verb

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(verb_files(self.verb))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The click command that its file has under the file's name."""
        file = verb_files(self.verb).get(cmd_name)
        if file is None:
            return None
        if file.is_group:
            return VerbGroup(cmd_name, verb=file.verb, help=file.help_line)
        command = getattr(file.load(), file.path.stem)
        assert isinstance(command, click.Command)  # noqa: S101 - a file without its command is a bug that tests see
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A line a verb, each the first of its file."""
        with formatter.section("Commands"):
            formatter.write_dl([(file.name, file.help_line) for file in verb_files(self.verb).values()])


class _Lemonade(VerbGroup):
    """All verbs; a reader of the output who goes away is no error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # the reader of our output went away: nothing to say, and nobody to say it to
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0  # click's own answer would be 1, as if the answer were no


@click.group(cls=_Lemonade, context_settings={"help_option_names": ["-h", "--help"]})
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
