"""`lemonade types infer`: draft a types file from held files or others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watcher.terminal.draft_facts import facts_lines
from watcher.terminal.output import JSON_OPTION, print_json

if TYPE_CHECKING:
    from metadata.types.file_type import FileType
    from processors.drafts.schema_draft import Draft
    from watcher.app import App


@click.command()
@click.argument("what", metavar="TYPE|FILE…", nargs=-1, required=True)
@click.option("--type", "file_type", help="What the type of these files shall be called; else their prefix.")
@click.option("--root", help='Where a document keeps its records, as in payload.items; "" makes each document one.')
@JSON_OPTION
@click.pass_obj
def infer(app: App, what: tuple[str, ...], file_type: str | None, root: str | None, as_json: bool) -> None:
    """Draft a types file from the held files of TYPE, or from files; writes nothing.

    The draft goes to stdout, as `types activate --file` and `types add --file` take it; what it was made of goes to
    stderr. With --json both are one document. Exit 1 when nothing could be drafted.
    """
    made = _draft(app, what, file_type, root)
    if as_json:
        print_json({"draft": made.raw, "facts": made.facts})
    else:
        _print(made)
    if made.raw is None:
        raise click.exceptions.Exit(1)


def _print(made: Draft) -> None:
    from processors.drafts.schema_draft import as_json

    for line in facts_lines(made.facts):
        click.echo(line, err=True)
    if made.raw is not None:
        click.echo(as_json(made.raw))


def _draft(app: App, what: Sequence[str], file_type: str | None, root: str | None) -> Draft:
    from metadata.errors import UsageError
    from metadata.types.file_type import file_type_name
    from processors.drafts.sample import Bounds, gather, keys_of
    from processors.drafts.schema_draft import draft
    from watcher.deeds.check import source_of
    from watcher.work.held_drafts import draft_for

    registered = next((kind for kind in app.registry.read().types if kind.name == what[0]), None)
    if len(what) == 1 and registered is not None and not Path(what[0]).exists():
        return _draft_held(app, registered, root)
    paths = _data_files(what)
    if not paths:
        raise UsageError(f"drafting from {', '.join(what)}: there is no type and no data file of that name")
    name = file_type_name(file_type) if file_type else _type_name(paths[0])
    known = next((kind for kind in app.registry.read().types if kind.name == name), None)
    table, patterns = (known.table_name, known.patterns) if known else (name, (name,))
    sample = gather(map(source_of, paths), keys_of(name, table, patterns), Bounds(), root)
    return draft_for(known, sample) if known else draft(sample, name)


def _draft_held(app: App, kind: FileType, root: str | None) -> Draft:
    from metadata.errors import UsageError
    from metadata.registry.drafts import Drafts
    from processors.drafts.sample import Bounds
    from processors.drafts.schema_draft import Draft
    from watcher.work.held_drafts import draft_held, wanted

    drafts = Drafts(app.database, app.clock)
    if kind.definition is not None:
        raise UsageError(f"drafting {kind.name}: it has a schema; to see what would change, give files of it")
    found = [each for each in wanted(app.registry.read().types, drafts.held()) if each.kind.name == kind.name]
    if not found:
        row = next(row for row in app.registry.describe() if row["file_type"] == kind.name)
        if isinstance(row["draft"], dict) and isinstance(row["draft_facts"], dict):
            return Draft(row["draft"], row["draft_facts"])  # its files are gone; what was drafted is still there
        raise UsageError(f"drafting {kind.name}: no file is held for it; give files to draft from")
    return draft_held(drafts, found[0], Bounds(), root)


def _data_files(what: Sequence[str]) -> list[Path]:
    """The files, and those in the folders; what is not there is said."""
    from metadata.errors import UsageError
    from watcher.deeds.check import data_files

    paths: list[Path] = []
    for each in map(Path, what):
        if not each.exists():
            raise UsageError(f"reading {each}: there is no such file, and no such type; see lemonade types list")
        paths += data_files(each) if each.is_dir() else [each]
    return paths


def _type_name(path: Path) -> str:
    from metadata.errors import FileRefused
    from metadata.files.names import parse_name
    from metadata.registry.registry import type_name_of

    try:
        return type_name_of(parse_name(path.name).prefix)
    except FileRefused:
        return type_name_of(path.name.partition(".")[0] or "records")
