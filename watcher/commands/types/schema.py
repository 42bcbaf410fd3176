"""`lemonade types schema`: the JSON Schema of types files, for editors."""

from __future__ import annotations

import click


@click.command()
def schema() -> None:
    """The JSON Schema of types files, for editors: save it and name it in a types file as "$schema"."""
    from metadata.types.json_schema import schema_text

    click.echo(schema_text(), nl=False)
