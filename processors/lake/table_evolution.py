"""How a table's columns become those of a schema: pure; `processors.lake.lake` commits what is decided here.

A column is found by its field's name, or by a name that the field had before. What a table has beside stays as it is:
fields that were dropped are columns that later rows leave null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pyiceberg.exceptions import ResolveError
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema, promote
from pyiceberg.table import Transaction
from pyiceberg.types import DecimalType, IcebergType, ListType, MapType, NestedField, StructType

from metadata.types.definition import DATE_COLUMN, Definition
from processors.lake.parquet_properties import BOUNDS

FORMER_NAMES = "lemonade.former-names"
"""Table property: JSON object of the names that columns had before, and the names that they have now."""
_VERSION = "lemonade.schema-version."

Path = tuple[str, ...]
FormerNames = Mapping[str, Sequence[str]]
"""Column → the names that it may still have in a table, the last one first."""


@dataclass(frozen=True)
class Step:
    """One change of a table's schema; `path` is as the table has it now, or of the new column."""

    kind: Literal["add", "rename", "widen", "describe", "optional"]
    path: Path
    name: str = ""  #: of a rename: the new one
    type: IcebergType | None = None  #: of a column that is added or widened
    doc: str | None = None


@dataclass(frozen=True)
class Evolution:
    """What brings a table to a schema; nothing of it when there are faults."""

    steps: tuple[Step, ...] = ()
    order: tuple[str, ...] = ()  #: all columns as they are to stand, by the names they have now; empty: as they are
    renamed: tuple[tuple[str, str], ...] = ()  #: columns of the table by their old and their new name
    properties: tuple[tuple[str, str], ...] = ()  #: of the table
    faults: tuple[str, ...] = ()  #: why it cannot be brought there

    @property
    def is_needed(self) -> bool:
        """Whether the table has to be changed at all."""
        return bool(self.steps or self.order or self.properties)


def former_names(definition: Definition) -> dict[str, tuple[str, ...]]:
    """The names that a definition's columns had before."""
    return {field.name: field.former_names for field in definition.fields if field.former_names}


def evolution(
    table: Schema,
    spec: PartitionSpec,
    properties: Mapping[str, str],
    wanted: Schema,
    wanted_spec: PartitionSpec,
    *,
    former: FormerNames | None = None,
    version: tuple[str, int] | None = None,
) -> Evolution:
    """What brings the columns of a table to `wanted`; asked again afterwards, it is nothing.

    `version` is a file type and its schema version: columns get the order and the comments of `wanted` once for each
    version, so that two types that share a table do not change them to and fro. Without it columns that are there keep
    theirs.
    """
    faults: list[str] = []
    columns = _columns(table, wanted, former or {}, properties, faults)
    seen = version_property(version)
    has_new_version = not seen.items() <= properties.items()
    steps = [
        step
        for field in wanted.fields
        for step in _column_steps(table, columns.get(field.name), field, faults)
        if step.kind != "describe" or has_new_version
    ]
    renamed = {old: new for new, old in columns.items() if old != new}
    there, asked = partitioning(table, spec, renamed), partitioning(wanted, wanted_spec)
    if there != asked:
        faults.append(f"it is partitioned by {there}, the type asks for {asked}")
    if faults:
        return Evolution(faults=tuple(faults))
    order = _order(table, wanted, columns, is_free=has_new_version)
    changed = _properties(properties, renamed)
    if has_new_version:
        changed |= seen
    return Evolution(tuple(steps), order, tuple(renamed.items()), tuple(changed.items()))


def version_property(version: tuple[str, int] | None) -> dict[str, str]:
    """The table property that says which version of a file type's schema the table has got."""
    return {} if version is None else {_VERSION + version[0]: str(version[1])}


def apply(transaction: Transaction, evolution: Evolution) -> None:
    """Stage an evolution; committing it is the caller's."""
    if evolution.steps or evolution.order:
        with transaction.update_schema() as update:
            for step in evolution.steps:
                match step.kind:
                    case "add" if step.type is not None:
                        update.add_column(step.path, step.type, doc=step.doc, required=False)
                    case "widen":
                        update.update_column(step.path, field_type=step.type)
                    case "describe":
                        update.update_column(step.path, doc=step.doc or "")
                    case "optional":
                        update.make_column_optional(step.path)
                    case "rename":
                        update.rename_column(step.path, step.name)
            if evolution.order:
                update.move_first(evolution.order[0])
                for before, name in pairwise(evolution.order):
                    update.move_after(name, before)
    if evolution.properties:
        transaction.set_properties(dict(evolution.properties))


def partitioning(schema: Schema, spec: PartitionSpec, renamed: Mapping[str, str] | None = None) -> str:
    """A partition spec in words, such as `identity(date)`; `renamed` are columns that have other names by now."""
    names = [str(schema.find_column_name(field.source_id)) for field in spec.fields]
    fields = [
        f"{field.transform}({(renamed or {}).get(name, name)})" for field, name in zip(spec.fields, names, strict=True)
    ]
    return ", ".join(fields) or "nothing"


def _columns(
    table: Schema, wanted: Schema, former: FormerNames, properties: Mapping[str, str], faults: list[str]
) -> dict[str, str]:
    """Each wanted field's column in the table, by the name it has there; without those that the table lacks."""
    there = [field.name for field in table.fields]
    wanted_names = [field.name for field in wanted.fields]
    current = _former_names(properties)
    columns: dict[str, str] = {}
    for name in wanted_names:
        candidates = [name, *(each for each in former.get(name, ()) if each not in wanted_names)]
        found = next((each for each in candidates if each in there), None)
        if found is not None and found in columns.values():
            faults.append(f"column {found} is claimed by two fields, {name} is one of them")
        elif found is not None:
            columns[name] = found
        elif current.get(name) in there:
            faults.append(f"column {name} was renamed to {current[name]} by a later version of the schema")
    return columns


def _column_steps(table: Schema, column: str | None, wanted: NestedField, faults: list[str]) -> list[Step]:
    if column is None:
        return [Step("add", (wanted.name,), type=wanted.field_type, doc=wanted.doc)]
    field = table.find_field(column)
    steps: list[Step] = [Step("optional", (column,))] if field.required else []
    steps += _type_steps((column,), field.field_type, wanted.field_type, faults)
    if (field.doc or None) != (wanted.doc or None):
        steps.append(Step("describe", (column,), doc=wanted.doc))
    if column != wanted.name:
        steps.append(Step("rename", (column,), name=wanted.name))
    return steps


def _type_steps(path: Path, there: IcebergType, wanted: IcebergType, faults: list[str]) -> list[Step]:
    """What widens a type; a type in the table that is wider than what is wanted already is left as it is."""
    if isinstance(there, StructType) and isinstance(wanted, StructType):
        known = {field.name: field for field in there.fields}
        steps: list[Step] = []
        for field in wanted.fields:
            if field.name in known:
                steps += _type_steps((*path, field.name), known[field.name].field_type, field.field_type, faults)
            else:
                steps.append(Step("add", (*path, field.name), type=field.field_type, doc=field.doc))
        return steps
    if isinstance(there, ListType) and isinstance(wanted, ListType):
        return _type_steps((*path, "element"), there.element_type, wanted.element_type, faults)
    if isinstance(there, MapType) and isinstance(wanted, MapType) and there.key_type == wanted.key_type:
        return _type_steps((*path, "value"), there.value_type, wanted.value_type, faults)
    if there == wanted or (there.is_primitive and wanted.is_primitive and _is_wider(there, wanted)):
        return []
    if there.is_primitive and wanted.is_primitive and _is_wider(wanted, there):
        return [Step("widen", path, type=wanted)]
    faults.append(f"column {'.'.join(path)} is {there} in the table and {wanted} in the schema")
    return []


def _is_wider(wide: IcebergType, narrow: IcebergType) -> bool:
    """Whether every value of `narrow` is one of `wide`, and Iceberg reads it as such."""
    if {str(wide), str(narrow)} == {"string", "binary"}:  # both ways to Iceberg, but bytes need not be text
        return False
    if isinstance(wide, DecimalType) and isinstance(narrow, DecimalType) and wide.scale != narrow.scale:
        return False
    try:
        promote(narrow, wide)
    except ResolveError:
        return False
    return True


def _order(table: Schema, wanted: Schema, columns: Mapping[str, str], *, is_free: bool) -> tuple[str, ...]:
    """The columns as they are to stand, if they do not: those of the schema, what was dropped, then `date` and after.

    Unless it is free only new columns have to find their place: the one after those that stand before `date`.
    """
    there = [field.name for field in table.fields]
    names = [columns.get(field.name, field.name) for field in wanted.fields]  # as the table has them, or as they come
    if DATE_COLUMN not in there or DATE_COLUMN not in names:
        return ()  # new columns go to the end
    at, wanted_at = there.index(DATE_COLUMN), names.index(DATE_COLUMN)
    head, tail = there[:at], there[at:]
    if is_free:
        moved = [*names[:wanted_at], *(name for name in head if name not in names[:wanted_at])]
        moved = [name for name in moved if name not in tail]
    else:
        moved = [*head, *(name for name in names[:wanted_at] if name not in there)]
    order = [*moved, *tail, *(name for name in names[wanted_at:] if name not in there)]
    return () if order == [*there, *(name for name in names if name not in there)] else tuple(order)


def _properties(properties: Mapping[str, str], renamed: Mapping[str, str]) -> dict[str, str]:
    """What a table is to remember of columns that get other names: the old ones, and how their metrics are kept."""
    if not renamed:
        return {}
    former = {old: renamed.get(now, now) for old, now in _former_names(properties).items()} | dict(renamed)
    former = {old: now for old, now in former.items() if old != now}
    changed = {FORMER_NAMES: json.dumps(former)}
    for old, new in renamed.items():
        if BOUNDS + old in properties:
            changed[BOUNDS + new] = properties[BOUNDS + old]
    return changed


def _former_names(properties: Mapping[str, str]) -> dict[str, str]:
    try:
        found = json.loads(properties.get(FORMER_NAMES, "{}"))
    except ValueError:  # somebody else wrote it
        return {}
    return found if isinstance(found, dict) else {}
