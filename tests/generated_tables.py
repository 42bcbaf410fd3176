"""The tables of the documents that are made from the code. Run as a program, this file writes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import click
from documents import ROOT, home

from metadata.database.states import BatchState, FileState
from metadata.logs import Event
from metadata.reject_codes import RejectCode
from metadata.retry_policy import policies
from metadata.setting_words import settings_table
from metadata.settings import Settings
from metadata.types.field_types import FIELD_TYPES
from watcher import cli
from watcher.exit_codes import EXIT_CODES


def commands(group: click.Group = cli.group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every verb with its command; those of a group one by one."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def verbs_table() -> str:
    """The verbs with their arguments, options and help."""
    rows = ["| you type `lemonade …` | options | it does |", "| --- | --- | --- |"]
    for verb, command in commands():
        arguments = " ".join(
            piece for piece in command.collect_usage_pieces(click.Context(command)) if piece != "[OPTIONS]"
        )
        options = [f"`{max(each.opts, key=len)}`" for each in command.params if isinstance(each, click.Option)]
        told = " ".join((command.help or "").split())
        typed = f"{verb} {arguments}".strip().replace("|", "\\|")
        rows.append(f"| `{typed}` | {' '.join(options)} | {plain(told)} |")
    return "\n".join(rows) + "\n"


def plain(words: str) -> str:
    """Words of the code in which Markdown would see a tag or the end of a cell, outside of back-quotes."""
    pieces = words.split("`")
    pieces[::2] = [piece.replace("<", "&lt;").replace("|", "\\|") for piece in pieces[::2]]
    return "`".join(pieces)


def exit_codes_table() -> str:
    """The exit codes and what they mean."""
    rows = [f"| {code} | {plain(meaning)} |" for code, meaning in EXIT_CODES.items()]
    return "\n".join(["| code | means |", "| --- | --- |", *rows]) + "\n"


def members(kind: type[Any]) -> dict[str, str]:
    """The values of an enum with the `#:` comment of each."""
    found = re.findall(r'^    [A-Z_]+ = "([^"]+)"  #: (.+)$', inspect.getsource(kind), re.MULTILINE)
    assert [name for name, _ in found] == [str(each) for each in kind], f"a member of {kind.__name__} has no `#:`"
    return dict(found)


def members_table(kind: type[Any], head: str) -> str:
    """An enum as a table."""
    rows = [f"| `{name}` | {plain(meaning)} |" for name, meaning in members(kind).items()]
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


def field_types_table() -> str:
    """The plain types of fields: their values in JSON and their columns."""
    rows = [f"| `{row.name}` | {plain(row.in_json)} | {plain(row.column)} |" for row in FIELD_TYPES]
    return "\n".join(["| type | in JSON | column |", "| --- | --- | --- |", *rows]) + "\n"


GENERATED: dict[str, Callable[[], str]] = {
    "settings": lambda: settings_table(Settings.model_fields),
    "verbs": verbs_table,
    "exit codes": exit_codes_table,
    "events": lambda: members_table(Event, "event"),
    "field types": field_types_table,
    "retries": retries_table,
    "file states": lambda: members_table(FileState, "state"),
    "batch states": lambda: members_table(BatchState, "state"),
    "reject codes": lambda: members_table(RejectCode, "code"),
}
"""The name of a part of a document → what makes it."""


def write_tables() -> None:
    """Write every table where its part is."""
    for name, make in GENERATED.items():
        path = ROOT / home(name)
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        before, opened, closed, after = marked.split(path.read_text(encoding="utf-8"))
        path.write_text(f"{before}{opened}{make()}{closed}{after}", encoding="utf-8")


if __name__ == "__main__":
    write_tables()
