"""Verbs are files: listed, described, run and done by what stands in them, and nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

import watcher.commands
from metadata.errors import UsageError
from watcher import cli
from watcher.deeds.by_name import DaemonThread, deed_of, do
from watcher.deeds.command_files import VerbFile, verb_files
from watcher.work.work import Work

HELP_WIDTH = 64
"""What click leaves of 80 columns beside the longest verb."""

WAVE = '''"""`lemonade wave`: say hello."""

from __future__ import annotations

import click

from watcher.deeds.by_name import AfterFlush, DaemonThread

DONE_BY = DaemonThread.BATCHES


@click.command()
@click.argument("whom")
def wave(whom):
    """Say hello to WHOM."""
    click.echo(f"hello {whom}")


def do(work, arguments):
    """`whom`, and `flush`: whether it is said after one."""
    told = {"said": f"{work} greets {arguments['whom']}"}
    return AfterFlush([], lambda report: {**told, "report": report}) if arguments.get("flush") else told
'''


def every_file() -> list[VerbFile]:
    """Verbs and sub-verbs."""
    return [
        file
        for verb in verb_files().values()
        for file in (verb, *(verb_files(verb.verb).values() if verb.is_group else ()))
    ]


@pytest.fixture
def more_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of verbs beside the one of the product."""
    monkeypatch.setattr(watcher.commands, "__path__", [*watcher.commands.__path__, str(tmp_path)])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("watcher.commands.wave")]:
        del sys.modules[name]


def test_a_verb_is_one_file(more_verbs: Path) -> None:
    """A file put into the folder is in the help, can be typed, and is done by the daemon's name for it."""
    assert "wave" not in CliRunner().invoke(cli.group, ["--help"]).stdout
    (more_verbs / "wave.py").write_text(WAVE)
    told = CliRunner().invoke(cli.group, ["--help"]).stdout
    assert re.search(r"^  wave +Say hello\.$", told, re.MULTILINE)
    assert "watcher.commands.wave" not in sys.modules, "help reads a file's first line and imports nothing"
    assert CliRunner().invoke(cli.group, ["wave", "you"]).stdout == "hello you\n"
    assert "Say hello to WHOM." in CliRunner().invoke(cli.group, ["wave", "--help"]).stdout
    assert deed_of("wave").thread is DaemonThread.BATCHES
    assert do(cast(Work, "work"), "wave", {"whom": "you"}) == {"said": "work greets you"}


def test_a_sub_verb_is_one_file_in_a_folder(more_verbs: Path) -> None:
    """A folder is a verb, its files are the sub-verbs; a trailing `_` is for Python and is not typed."""
    (more_verbs / "waves").mkdir()
    (more_verbs / "waves/__init__.py").write_text('"""`lemonade waves`: greetings; not farewells."""\n')
    text = WAVE.replace("lemonade wave`", "lemonade waves if`").replace("def wave(", "def if_(")
    (more_verbs / "waves/if_.py").write_text(text)
    assert re.search(r"^  waves +Greetings\.$", CliRunner().invoke(cli.group, ["--help"]).stdout, re.MULTILINE)
    assert re.search(r"^  if +Say hello\.$", CliRunner().invoke(cli.group, ["waves", "--help"]).stdout, re.MULTILINE)
    assert CliRunner().invoke(cli.group, ["waves", "if", "you"]).stdout == "hello you\n"
    assert do(cast(Work, "work"), "waves.if", {"whom": "you"}) == {"said": "work greets you"}


def test_an_answer_may_wait_for_a_flush(more_verbs: Path) -> None:
    """Under the lock the flush that a verb asks for is done, and the verb tells its end."""
    (more_verbs / "wave.py").write_text(WAVE)
    flushed: list[Any] = []
    work = SimpleNamespace(flush=lambda types, reason: flushed.append((types, reason.value)) or "over")
    assert do(cast(Work, work), "wave", {"whom": "you", "flush": True})["report"] == "over"
    assert flushed == [([], "request")]


@pytest.mark.parametrize(
    "verb",
    ["nothing", "status", "types", "types.list", "types.nothing", "status.x", "clean", "x.y.z", "", "a b", "types."],
)
def test_a_verb_that_nothing_is_done_for(verb: str) -> None:
    """A name that no file has, a verb that only reads, a folder: a newer command asked an older daemon."""
    with pytest.raises(UsageError, match="there is no such verb; is the command newer than the daemon"):
        deed_of(verb)


def test_names_of_requests_stay() -> None:
    """An old command may ask a new daemon: these names stand in its database."""
    threads = {
        "flush": "batches",
        "summarize": "summary",
        "retry": "batches",
        "undo": "batches",
        "backfill": "batches",
        "quarantine.replay": "batches",
        "quarantine.discard": "batches",
        "types.add": "main",
        "types.update": "main",
        "types.activate": "main",
        "types.disable": "main",
        "types.import": "main",
    }
    assert {verb: deed_of(verb).thread.value for verb in threads} == threads
    doing = {file.verb for file in every_file() if not file.is_group and hasattr(file.load(), "DONE_BY")}
    assert doing | {"backfill"} == threads.keys()


@pytest.mark.parametrize("file", every_file(), ids=lambda file: file.verb)
def test_a_file_begins_with_what_its_verb_does(file: VerbFile) -> None:
    """The first line names the verb and fits into one line of the help; the file has the command of its name."""
    typed = file.verb.replace(".", " ")
    first = file.path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f'"""`lemonade {typed}`: ')
    assert len(file.help_line) <= HELP_WIDTH
    assert file.help_line[0].isupper() and file.help_line[-1] in ".?"
    command = cli.VerbGroup(verb=file.verb.rpartition(".")[0]).get_command(click.Context(cli.group), file.name)
    assert command is not None
    assert command.help


def test_help_imports_no_verb() -> None:
    """`lemonade --help` loads no file of a verb, no database, no Iceberg."""
    asked = (
        "import sys; from watcher.cli import group\n"
        "try: group.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith('watcher.commands.') or name.split('.')[0] in "
        "('sqlalchemy', 'pyiceberg', 'pyspark', 'pyarrow', 'duckdb', 'pydantic')])"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
