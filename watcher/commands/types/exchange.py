"""`lemonade types export` and `import`: types from one environment to another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watcher.commands.types.files import agree, perform, read
from watcher.commands.types.update import as_told, tell
from watcher.show import JSON_OPTION, print_json

if TYPE_CHECKING:
    from watcher.app import App


@click.command("export")
@click.argument("file_types", metavar="[TYPE…]", nargs=-1)
@click.option("--file", "path", type=click.Path(path_type=Path), help="Write to this file, not to standard output.")
@click.pass_obj
def export(app: App, file_types: tuple[str, ...], path: Path | None) -> None:
    """Types (all that have a schema, or these) as one JSON document, which `types import` reads elsewhere."""
    from metadata.errors import UsageError

    text = json.dumps(app.registry.export(file_types), indent=2, ensure_ascii=False)
    if path is None:
        click.echo(text)
        return
    try:
        path.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"writing {path}: {error.strerror}; give a path that can be written") from error


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Only show what would change; exit 1 when it is refused.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@JSON_OPTION
@click.pass_obj
def import_(app: App, path: Path, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Make types what they are in an exported FILE: show what changes, ask, change all of it or nothing.

    New types are added, others changed as `types update` may change them; types that FILE does not have stay as they
    are. Done again it changes nothing.
    """
    from metadata.errors import ConfigurationError, UsageError

    document = read(path)
    planned = app.registry.import_all(document, dry_run=True)
    changes = any(each.is_change for each in planned)
    faults = [f"{each.new.name}: {fault}" for each in planned for fault in each.faults]
    told = {"types": [as_told(each) for each in planned], "imported": False}
    if not as_json:
        for each in planned:
            tell(each)
    elif faults or dry_run:
        print_json(told)
    if dry_run:
        raise click.exceptions.Exit(1 if faults else 0)
    if faults:
        raise ConfigurationError(f"importing {path}", faults)
    if changes:
        try:
            agree(f"importing {path}", "Change them all?", yes)
        except UsageError:
            if as_json:
                print_json(told)
            raise
        answer = perform(app, "types.import", {"document": document})
        told["imported"] = True
        if not as_json:
            click.echo(f"imported: {', '.join(answer['changed']) or 'nothing to change'}")
    if as_json:
        print_json(told)
