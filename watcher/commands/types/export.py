"""`lemonade types export`: types as one JSON document, for `types import`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from watcher.app import App


@click.command()
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
