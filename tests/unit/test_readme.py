"""The documentation against the code: what it says is there, is there.

Run as a program this file writes the generated tables into README.md.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

from metadata.clock import SystemClock
from metadata.database.engine import Database
from metadata.database.models import Base
from metadata.database.states import BatchState, FileState
from metadata.logs import Event, Severity
from metadata.registry.registry import Registry
from metadata.reject_codes import RejectCode
from metadata.retry_policy import policies
from metadata.settings import Settings, settings_table
from metadata.types.definition import PLAIN_TYPES, TypeStatus
from metadata.types.parse_file import parse_type
from watcher import cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/decisions.md",
    "docs/ledger.md",
    "docs/types.md",
    "docs/content.md",
    "docs/records.md",
    "docs/drafts.md",
    "docs/evolution.md",
    "docs/report.md",
)
_COMMAND = re.compile(r"(?:^|[\s`(])(?:\.venv/bin/)?lemonade ((?:-C \S+ )?[a-z][^`\n]*)")
_VALUE = re.compile(r"\bSeverity\.([A-Z]+)\b")


# -- reading the documents --------------------------------------------------------------------------------------------


@cache
def text_of(document: str) -> str:
    """A document's text."""
    return (ROOT / document).read_text(encoding="utf-8")


def between(name: str, document: str = "README.md") -> str:
    """What stands between `<!-- name -->` and `<!-- /name -->`."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text_of(document), re.DOTALL)
    assert found, f"{document} has no part <!-- {name} -->"
    return found[1].strip() + "\n"


def blocks(language: str, document: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(document), re.DOTALL | re.MULTILINE)


def cells(table: str) -> list[list[str]]:
    """The rows of a Markdown table without its head, back-quotes taken away."""
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [
        [cell.strip().replace("`", "").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in rows
    ]


def prose(document: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text_of(document), flags=re.DOTALL | re.MULTILINE)


# -- the tables that are made from the code ---------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every verb with its command; those of a group one by one."""
    context = click.Context(cli.group)
    for verb in cli.VERBS:
        command = cli.group.get_command(context, verb)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{verb} {name}", inner) for name, inner in command.commands.items())
        else:
            yield verb, command


def verbs_table() -> str:
    """The verbs with their arguments, options and help."""
    rows = ["| you type `lemonade …` | options | it does |", "| --- | --- | --- |"]
    for verb, command in commands():
        arguments = " ".join(
            piece for piece in command.collect_usage_pieces(click.Context(command)) if piece != "[OPTIONS]"
        )
        options = [f"`{max(each.opts, key=len)}`" for each in command.params if isinstance(each, click.Option)]
        told = " ".join((command.help or "").split())
        rows.append(f"| `{f'{verb} {arguments}'.strip()}` | {' '.join(options)} | {told} |")
    return "\n".join(rows) + "\n"


def exit_codes_table() -> str:
    """The exit codes and what they mean."""
    rows = [f"| {code} | {meaning} |" for code, meaning in cli.EXIT_CODES.items()]
    return "\n".join(["| code | means |", "| --- | --- |", *rows]) + "\n"


def members(kind: type[Any]) -> dict[str, str]:
    """The values of an enum with the `#:` comment of each."""
    found = re.findall(r'^    [A-Z_]+ = "([^"]+)"  #: (.+)$', inspect.getsource(kind), re.MULTILINE)
    assert [name for name, _ in found] == [str(each) for each in kind], f"a member of {kind.__name__} has no `#:`"
    return dict(found)


def members_table(kind: type[Any], head: str) -> str:
    """An enum as a table."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in members(kind).items()]
    return "\n".join([f"| {head} | means |", "| --- | --- |", *rows]) + "\n"


def retries_table() -> str:
    """The retry policy at default settings."""
    rows = [
        f"| `{row.error}` | {f'`{row.code}`' if row.code else 'any'} | {row.attempts or 'no end'} | "
        f"{f'{row.first_wait_seconds:g} s' if row.first_wait_seconds else '-'} | "
        f"{f'{row.longest_wait_seconds:g} s' if row.longest_wait_seconds else '-'} | "
        f"{f'±{row.jitter:.0%}' if row.jitter else '-'} | {row.destination} | {row.severity} |"
        for row in policies(Settings.load({}, None))
    ]
    head = "| error | code | attempts | first wait | longest | jitter | then | alert |"
    return "\n".join([head, "| --- " * 8 + "|", *rows]) + "\n"


GENERATED: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "verbs": verbs_table,
    "exit codes": exit_codes_table,
    "events": lambda: members_table(Event, "event"),
    "retries": retries_table,
    "file states": lambda: members_table(FileState, "state"),
    "batch states": lambda: members_table(BatchState, "state"),
    "reject codes": lambda: members_table(RejectCode, "code"),
}
HOMES = {"file states": "docs/ledger.md", "batch states": "docs/ledger.md", "reject codes": "docs/content.md"}


@pytest.mark.parametrize("name", GENERATED)
def test_generated_table_is_what_the_code_says(name: str) -> None:
    """Settings, verbs, exit codes, events and states stand in the documents as the code has them."""
    stands = between(name, HOMES.get(name, "README.md"))
    assert stands == GENERATED[name](), "write the tables anew: .venv/bin/python tests/unit/test_readme.py"


# -- commands, links, names -------------------------------------------------------------------------------------------


def mentioned(document: str) -> list[str]:
    """What follows `lemonade ` wherever a command is shown, outside of generated tables and transcripts."""
    shown = re.sub(r"<!-- (verbs|transcript) -->.*?<!-- /\1 -->", "", text_of(document), flags=re.DOTALL)
    in_code = re.findall(r"^```sh\n(.*?)^```", shown, re.DOTALL | re.MULTILINE)
    in_code += [f"{code}\n" for code in re.findall(r"`([^`\n]+)`", re.sub(r"(?s)```.*?```", "", shown))]
    return [found.strip() for code in in_code for found in _COMMAND.findall(code)]


def words_of(command: str) -> list[str]:
    """A shown command's words, up to what is the shell's."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in iter(lexer.get_token, None):
        if word in (";", "&&", "||", "|", "&", ">", ">>", "<"):
            break
        words.append(word)
    return words


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and the rest of them."""
    if words[0] == "-C":
        words = words[2:]
    command: click.Command | None = cli.group
    while isinstance(command, click.Group) and words:
        name, *words = words
        command = command.get_command(click.Context(command), name)
        assert command is not None, f"there is no verb {name}"
    assert command is not None
    return command, words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_is_shown_exists(document: str) -> None:
    """Each `lemonade VERB --option` of a document is a verb with that option."""
    for shown in mentioned(document):
        command, rest = resolve(words_of(shown))
        options = {name for each in command.params for name in each.opts} | {"-h", "--help"}
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word.split("=")[0] in options, f"{document}: lemonade {shown}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_to_copy_parses(document: str) -> None:
    """Each line of a shell block is a whole command line: click takes it as it stands."""
    for block in blocks("sh", document):
        for shown in _COMMAND.findall(block):
            command, rest = resolve(words_of(shown))
            command.make_context("lemonade", rest)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    """Each `make TARGET` of a document is in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    in_code = "\n".join(re.findall(r"`[^`\n]+`", prose(document)) + blocks("sh", document))
    shown = set(re.findall(r"\bmake (?:PYTHON=\S+ )?([a-z]+)", in_code))
    assert shown <= targets


def slugs(document: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    """Each link within the repository names a file that is there, and a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert file.exists(), f"{document}: {target}"
        if anchor:
            assert anchor in slugs(str(file.resolve().relative_to(ROOT))), f"{document}: {target}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_that_are_named_exist(document: str) -> None:
    """Each path into the repository's own folders is there."""
    rooms = "metadata|processors|watcher|tests|docs|benchmarks"
    for path in re.findall(rf"`((?:{rooms})/[\w./]*|[a-z_]+\.(?:conf|toml|lock))`", prose(document)):
        assert (ROOT / path).exists(), f"{document}: {path}"


def test_ci_runs_the_readmes_test_command() -> None:
    """What CI runs is `make test`, the command that the README gives."""
    assert re.search(r"^make test$", text_of(".ci/run"), re.MULTILINE)
    assert "make test" in blocks("sh", "README.md")[0]


# -- what can be tried ------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    """A migrated, empty database."""
    database = Database(f"sqlite:///{tmp_path}/data/metadata.db")
    database.migrate()
    database.close()
    return tmp_path / "data/metadata.db"


def test_every_query_of_the_ledger_page_runs(ledger_file: Path) -> None:
    """Each SQL block of docs/ledger.md is one statement that an empty ledger answers with columns."""
    found = blocks("sql", "docs/ledger.md")
    assert len(found) >= 8
    connection = sqlite3.connect(ledger_file)
    for sql in found:
        assert connection.execute(sql).description, sql
    connection.close()


def test_ledger_page_has_every_table_and_column() -> None:
    """docs/ledger.md describes the tables of the models, column by column, in their order."""
    parts = re.split(r"^### ", text_of("docs/ledger.md"), flags=re.MULTILINE)[1:]
    described = {}
    for part in parts:
        name = part.splitlines()[0].strip("` ")
        if name in Base.metadata.tables:
            table = part.split("| column |", 1)[1]
            described[name] = [row[0] for row in cells("| column |" + table)]
    assert described == {name: list(table.columns.keys()) for name, table in Base.metadata.tables.items()}


def test_types_file_of_the_readme_is_a_type() -> None:
    """The types file that the README shows is accepted as it stands, and with the summary that it shows for it."""
    shown = [json.loads(block) for block in blocks("json", "README.md")]
    found = [raw for raw in shown if "schema_definition" in raw]
    summaries = [raw for raw in shown if "summary" in raw]
    assert found
    assert summaries
    for raw in found:
        parse_type(raw, TypeStatus.ACTIVE, 1, "reading the README")
        for config in summaries:
            parse_type({**raw, "processing_config": config}, TypeStatus.ACTIVE, 1, "reading the README")


def test_types_files_of_the_reference_are_types() -> None:
    """Every types file in docs/types.md is accepted, and all field types are described."""
    for block in blocks("json", "docs/types.md"):
        raw = json.loads(block)
        parse_type(raw, TypeStatus.ACTIVE, 1, "reading docs/types.md")
    described = {name for row in cells(between("field types", "docs/types.md")) for name in row[0].split(", ")}
    assert described >= PLAIN_TYPES | {"decimal(p,s)"}


@pytest.mark.parametrize("discovered", [False, True])
def test_insert_of_the_readme_makes_an_active_type(ledger_file: Path, discovered: bool) -> None:
    """The README's SQL, run by plain sqlite3, makes an active type, also where discovery made a row before."""
    database = Database(f"sqlite:///{ledger_file}")
    registry = Registry(database, SystemClock())
    if discovered:
        registry.discover("alarms")
    connection = sqlite3.connect(ledger_file)
    for sql in blocks("sql", "README.md"):
        connection.executescript(sql)
    connection.close()
    snapshot = registry.read()
    database.close()
    assert snapshot.broken == ()
    assert [kind.status for kind in snapshot.types] == [TypeStatus.ACTIVE]


def test_python_call_of_the_readme_makes_an_active_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's Python call registers its type in the working directory's database."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for block in blocks("python", "README.md"):
        if "get_or_create_table_metadata" in block:
            exec(compile(block, "README.md", "exec"), {})
    database = Database(f"sqlite:///{tmp_path}/data/metadata.db")
    types = Registry(database, SystemClock()).read().types
    database.close()
    assert [kind.status for kind in types] == [TypeStatus.ACTIVE]


# -- events and alerts ------------------------------------------------------------------------------------------------


def sources() -> list[Path]:
    """The product's own Python files."""
    return [path for room in ("metadata", "processors", "watcher") for path in sorted((ROOT / room).rglob("*.py"))]


def alerts_in_the_code() -> dict[str, set[str]]:
    """Event → severities, as they stand in calls that alert."""
    found: dict[str, set[str]] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name not in ("alert", "_tell_once"):
                continue
            severities = {
                Severity[each].value
                for keyword in node.keywords
                if keyword.arg == "severity"
                for each in _VALUE.findall(ast.unparse(keyword.value))
            }
            for member in re.findall(r"\bEvent\.([A-Z_]+)\b", ast.unparse(node.args[0])):
                found.setdefault(Event[member].value, set()).update(severities)
    return found


def test_alerts_of_the_readme_are_those_of_the_code() -> None:
    """The README's table of alerts has each event that may be one, with every severity that the code gives it."""
    told = {row[0]: set(re.findall(r"[a-z]+", row[1])) for row in cells(between("alerts"))}
    code = alerts_in_the_code()
    assert set(told) == set(code)
    for event, severities in code.items():
        assert severities <= told[event], event


def test_log_lines_of_the_readme_name_events() -> None:
    """The log lines that the README shows are JSON objects with a known event."""
    shown = [json.loads(block) for block in blocks("json", "README.md")]
    lines = [line for line in shown if "event" in line]
    assert lines
    for line in lines:
        assert line["event"] in set(Event)
        if line.get("alert"):
            assert line["severity"] in set(Severity)


# -- nothing of the machine it was written on -------------------------------------------------------------------------


def tracked() -> list[Path]:
    """The repository's text files: those of git where it is one, else everything but hidden and made folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    made = ("data", "demo", "build", "dist")
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") or part in made for part in path.relative_to(ROOT).parts[:-1])
        and path.suffix in (".py", ".md", ".toml", ".lock", ".conf", ".properties")
    ]


def test_nothing_names_the_machine_it_was_written_on() -> None:
    """No file holds somebody's home or checkout, or a package index."""
    somebodys = re.compile(r"(?<![\w.~}>%)-])/(?:root|home|Users|work|workspace|mnt)/\w")
    index = re.compile(r"(?<!no-emit-)index[-]url|trusted[-]host|find[-]links")
    found = []
    for path in tracked():
        if path == Path(__file__).resolve() or path.suffix in (".gz", ".zst", ".parquet"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {hit[0]}" for hit in (somebodys.search(text), index.search(text)) if hit]
        if path.suffix == ".lock" and "://" in text:
            found.append(f"{path.relative_to(ROOT)}: names a host")
    assert found == []


def test_no_marker_is_left_open() -> None:
    """Every `<!-- part -->` of the documents is closed, so that no table can be lost."""
    for document in DOCUMENTS:
        opened = re.findall(r"<!-- ([a-z ]+) -->", text_of(document))
        closed = re.findall(r"<!-- /([a-z ]+) -->", text_of(document))
        assert opened == closed, document


def _write_tables() -> None:
    for name, make in GENERATED.items():
        path = ROOT / HOMES.get(name, "README.md")
        part = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        before, opened, closed, after = part.split(path.read_text(encoding="utf-8"))
        path.write_text(f"{before}{opened}{make()}{closed}{after}", encoding="utf-8")


if __name__ == "__main__":
    _write_tables()
