"""What changes between two definitions of a file type: in words, and whether it may.

Pure. A change may be made when rows that are there can be read on, and records that are under way can still be loaded:
columns are added, renamed, widened or left behind, never rewritten. A column's name belongs to it for good: no other
field may take the name of one that was renamed or dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from metadata.types.config import ProcessingConfig, SummaryConfig
from metadata.types.definition import UNSET, Definition, Field
from metadata.types.field_types import PLAIN_TYPES, FieldType, plain_type
from metadata.types.file_type import FileType

_DECODER_KEYS = ("source", "format", "coerce", "default", "enum", "min", "max", "pattern", "max_length")
"""What only the decoder reads: it says what later records are, the rows that are there stay what they are."""


@dataclass(frozen=True)
class Change:
    """One change; `refused` is why it may not be made, with the cure, None when it may."""

    part: Literal["schema", "config", "type"]  #: only changes of the schema make a new version of it
    what: str
    field: str | None = None
    refused: str | None = None

    def line(self) -> str:
        """The change in one line, with the reason when it is refused."""
        return f"{self.what}: {self.refused}" if self.refused else self.what


def diff(
    old: FileType, new: FileType, history: Sequence[Definition] = (), *, is_imported: bool = False
) -> list[Change]:
    """Every change from `old` to `new`, in the order schema, config, type; empty when nothing changes.

    `history` are the earlier versions of the definition, oldest first: they know the names that dropped columns have.
    In a definition that is imported, `renamed_from` may name columns that never were here.
    """
    changes: list[Change] = []
    renamed: dict[str, str] = {}
    if old.definition is None or new.definition is None:
        if new.definition is not None:
            changes += [Change("schema", f"add {_described(field)}", field.name) for field in new.definition.fields]
    else:
        renamed = renames(old.definition, new.definition)
        changes += _schema_changes(old.definition, new.definition, renamed, history, is_imported=is_imported)
    changes += _config_changes(old.config, new.config, renamed)
    changes += _type_changes(old, new)
    return changes


def renames(old: Definition, new: Definition) -> dict[str, str]:
    """Fields of `old` that have another name in `new`: old name → new name."""
    before, after = _by_name(old), _by_name(new)
    found: dict[str, str] = {}
    for field in new.fields:
        if field.name in before:
            continue
        source = next((name for name in field.former_names if name in before and name not in after), None)
        if source is not None and source not in found:
            found[source] = field.name
    return found


def with_former_names(old: Definition | None, new: Definition, history: Sequence[Definition] = ()) -> Definition:
    """`new`, each field with every name that its column has had: a table may still have any of them."""
    known: dict[str, tuple[str, ...]] = {}
    for definition in (*history, *([] if old is None else [old])):
        known |= {field.name: field.former_names for field in definition.fields}
    before = {} if old is None else _by_name(old)
    renamed = {} if old is None else {now: was for was, now in renames(old, new).items()}
    fields = []
    for field in new.fields:
        if (was := renamed.get(field.name)) is not None:
            names = (*field.former_names, *known[was])
        elif field.name in before:
            names = known[field.name]
        else:
            names = (*known.get(field.name, ()), *field.former_names)
        names = tuple(dict.fromkeys(name for name in names if name != field.name))
        fields.append(field.model_copy(update={"renamed_from": names[0] if len(names) == 1 else names or None}))
    return new.model_copy(update={"fields": tuple(fields)})


def refusals(changes: Sequence[Change]) -> list[str]:
    """The lines of those that are refused."""
    return [change.line() for change in changes if change.refused]


def is_new_version(changes: Sequence[Change]) -> bool:
    """Whether they make a new version of the schema."""
    return any(change.part == "schema" for change in changes)


# -- the schema -------------------------------------------------------------------------------------------------------


def _schema_changes(
    old: Definition, new: Definition, renamed: Mapping[str, str], history: Sequence[Definition], *, is_imported: bool
) -> Iterator[Change]:
    before, was = _by_name(old), {now: name for name, now in renamed.items()}
    owners = _owners((*history, old))
    after = _by_name(new)
    for field in new.fields:
        source = before.get(was.get(field.name, field.name))
        if source is None:
            yield _addition(field, before, after, owners, is_imported=is_imported)
            continue
        if source.name != field.name:
            yield _rename(source, field, owners)
        elif merged := [name for name in field.former_names if name in before and name not in source.former_names]:
            refused = f'both are columns; drop "{merged[0]}", or leave it'
            yield Change("schema", f'rename field "{merged[0]}" to "{field.name}"', field.name, refused)
        yield from _field_changes(source, field)
    for field in old.fields:
        if field.name not in after and field.name not in renamed:
            yield Change("schema", f'drop field "{field.name}": the column stays, later rows leave it null', field.name)
    order = [renamed.get(field.name, field.name) for field in old.fields]
    kept = [field.name for field in new.fields if field.name in order]
    if kept != [name for name in order if name in after]:
        yield Change("schema", f"reorder fields: {', '.join(field.name for field in new.fields)}")
    if tuple(renamed.get(name, name) for name in old.primary_key) != new.primary_key:
        yield Change("schema", f"primary_key: {_names(old.primary_key)} → {_names(new.primary_key)}")
    if old.root != new.root:
        yield Change("schema", f"root: {_shown(old.root)} → {_shown(new.root)}; for later files")


def _addition(
    field: Field,
    before: Mapping[str, Field],
    after: Mapping[str, Field],
    owners: Mapping[str, list[Field]],
    *,
    is_imported: bool,
) -> Change:
    earlier = owners.get(field.name.lower())
    what = f"add {_described(field)}"
    if earlier and earlier[-1].name == field.name:
        what = f'take up field "{field.name}" ({_type_name(field.type)}) again, whose column is still there'
    refused = _unrenamed(field, before, after, is_imported=is_imported)
    if refused is None and earlier:
        refused = _taken(field, earlier[-1])
    if refused is None and field.required:
        refused = (
            "rows that are there have no value, and records without it would be rejected; "
            "make it nullable, or give it a default"
        )
    return Change("schema", what, field.name, refused)


def _unrenamed(
    field: Field, before: Mapping[str, Field], after: Mapping[str, Field], *, is_imported: bool
) -> str | None:
    """Why nothing becomes this new field, though it says that it is renamed."""
    for name in field.former_names:
        if name in before and name in after:
            return f'"{name}" cannot become it, for it is still a field of its own'
        if name in before:
            return f'"{name}" has become another field already'
    if field.former_names and not is_imported:
        return f'there is no field "{field.former_names[0]}" to rename; known are {", ".join(before)}'
    return None


def _taken(field: Field, earlier: Field) -> str | None:
    """Why a name that a column had before may not be a new field's; None when it is that column taken up again."""
    if earlier.name != field.name:
        return f'the name was that of the column "{earlier.name}" before; take another, with "source" for the JSON key'
    if _type_fault(earlier.type, field.type):
        return f"the table has a column of that name still, a {_type_name(earlier.type)}; take another name"
    return None


def _rename(old: Field, new: Field, owners: Mapping[str, list[Field]]) -> Change:
    what = f'rename field "{old.name}" to "{new.name}"'
    others = [each for each in owners.get(new.name.lower(), []) if each.name != old.name]
    refused = None
    if others and new.name not in old.former_names:
        refused = "the table has, or had, another column of that name; take a name that was never used"
    elif old.key != new.key:
        what += f', read from the key "{new.key}", no longer "{old.key}"'
    return Change("schema", what, new.name, refused)


def _owners(history: Sequence[Definition]) -> dict[str, list[Field]]:
    """Every name that a column has or had, in lower case → the fields that it was known under, the last one last."""
    owners: dict[str, list[Field]] = {}
    for definition in history:
        for field in definition.fields:
            for name in (field.name, *field.former_names):
                owners.setdefault(name.lower(), []).append(field)
    return owners


def _field_changes(old: Field, new: Field) -> Iterator[Change]:
    where = f'field "{new.name}"'
    if old.type != new.type:
        fault = _type_fault(old.type, new.type)
        what = f"{'change' if fault else 'widen'} {where}: {_type_name(old.type)} → {_type_name(new.type)}"
        yield Change("schema", what, new.name, fault or None)
    yield from _requirement(old, new, where)
    if old.description != new.description:
        yield Change("schema", f"describe {where}: {_shown(new.description)}", new.name)
    for key in _DECODER_KEYS:
        then, now = getattr(old, key), getattr(new, key)
        if key == "source":
            if old.name == new.name and old.key != new.key:  # of a field that is renamed, its new name says it
                yield Change("schema", f'{where}: read from the key "{new.key}", no longer "{old.key}"', new.name)
            continue
        if _json(then) != _json(now):
            yield Change("schema", f"{where}: {key} {_shown(then)} → {_shown(now)}; for later records", new.name)


def _requirement(old: Field, new: Field, where: str) -> Iterator[Change]:
    if not old.nullable and new.nullable:
        yield Change("schema", f"make {where} optional", new.name)
    elif old.nullable and not new.nullable:
        reason = "rows that are there may be null, and records without it would be rejected; leave it optional"
        yield Change("schema", f"make {where} required", new.name, reason)
    elif new.required and not old.required:
        reason = "records without it would be rejected; make it optional, or leave its default"
        yield Change("schema", f"take the default of {where} away", new.name, reason)


def _type_fault(old: FieldType, new: FieldType) -> str:
    """Why a column of one type cannot become one of the other; empty when it can."""
    if old == new:
        return ""
    if isinstance(old, dict) and isinstance(new, dict) and old["type"] == new["type"]:
        return _nested_fault(old, new)
    if isinstance(old, dict) or isinstance(new, dict):
        return "a column keeps its type; add a field of another name for the other"
    was, wanted = plain_type(old), plain_type(new)
    if new in was.wider:
        return ""
    if was.digits and wanted.digits:
        if was.digits[1] != wanted.digits[1]:
            return "a decimal keeps its number of decimals, for rows that are there would have to be written again"
        return "" if wanted.digits[0] > was.digits[0] else _NARROWER
    if old in wanted.wider:
        return _NARROWER
    if was.is_whole and wanted.decoded is float:
        return "Iceberg turns no whole numbers into floating-point ones; add a field of another name for the other"
    widened = ", ".join(f"{name} → {' or '.join(row.wider)}" for name, row in PLAIN_TYPES.items() if row.wider)
    return (
        f"a column keeps its type, but for {widened} and a decimal of more digits; "
        "add a field of another name for the other"
    )


_NARROWER = "rows that are there may hold values that do not fit any more; leave it as wide as it is"


def _nested_fault(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The same for types that hold others: what is inside may widen, a struct may get optional fields."""
    match old["type"]:
        case "list":
            if new["element-required"] and not old["element-required"]:
                return "its elements may be null in rows that are there"
            return _inside("element", _type_fault(old["element"], new["element"]))
        case "map":
            if old["key"] != new["key"]:
                return "the keys of a map keep their type"
            if new["value-required"] and not old["value-required"]:
                return "its values may be null in rows that are there"
            return _inside("value", _type_fault(old["value"], new["value"]))
    before, after = ({inner["name"]: inner for inner in each["fields"]} for each in (old, new))
    for name, inner in before.items():
        if name not in after:
            return f'dropping "{name}" inside a struct is not built; leave it, it may stay null'
        if after[name]["required"] and not inner["required"]:
            return f'"{name}" may be null in rows that are there'
        if fault := _type_fault(inner["type"], after[name]["type"]):
            return _inside(name, fault)
    for name, inner in after.items():
        if name not in before and inner["required"]:
            return f'the new "{name}" in it is required, and rows that are there have none; make it optional'
    return ""


def _inside(name: str, fault: str) -> str:
    return f"{name}: {fault}" if fault else ""


# -- the rest ---------------------------------------------------------------------------------------------------------


def _config_changes(old: ProcessingConfig, new: ProcessingConfig, renamed: Mapping[str, str]) -> Iterator[Change]:
    then, now = old.partition, new.partition
    if (then and (then[0], renamed.get(then[1], then[1]))) != now:
        yield Change(
            "config",
            f"partition_by: {old.partition_by} → {new.partition_by}",
            refused="rows that are there would have to be written again; register another type with its own table",
        )
    yield from _summary_changes(old.summary, new.summary, renamed)
    for key in ProcessingConfig.model_fields:
        if key not in ("partition_by", "summary") and getattr(old, key) != getattr(new, key):
            values = (_shown(_plain(getattr(each, key))) for each in (old, new))
            yield Change("config", f"{key}: {' → '.join(values)}")


def _summary_changes(
    old: SummaryConfig | None, new: SummaryConfig | None, renamed: Mapping[str, str]
) -> Iterator[Change]:
    if old is not None:
        old = old.model_copy(
            update={
                "key": tuple(renamed.get(name, name) for name in old.key),
                "time": renamed.get(old.time, old.time),
                "latest": tuple(renamed.get(name, name) for name in old.latest),
            }
        )
    if old == new:
        return
    what = f"summary: {'none' if old is None else old.table} → {'none' if new is None else new.table}"
    if old is not None and new is not None and old.table == new.table:
        yield Change("config", what, refused=f"changing what {old.table} holds is not built yet; name another table")
    else:
        yield Change("config", what)


def _type_changes(old: FileType, new: FileType) -> Iterator[Change]:
    if old.table_name != new.table_name:
        yield Change(
            "type",
            f"table_name: {old.table_name} → {new.table_name}",
            refused="a type keeps its table, for its rows are there; register another type",
        )
    if old.patterns != new.patterns:
        yield Change("type", f"filename_patterns: {_names(old.patterns)} → {_names(new.patterns)}")
    if old.description != new.description:
        yield Change("type", f"description: {_shown(new.description)}")


# -- words ------------------------------------------------------------------------------------------------------------


def _by_name(definition: Definition) -> dict[str, Field]:
    return {field.name: field for field in definition.fields}


def _described(field: Field) -> str:
    kind = "optional" if field.nullable else "required"
    notes = [f'from "{field.source}"'] if field.source else []
    notes += [f"default {_shown(field.default)}"] if field.has_default else []
    return f'{kind} field "{field.name}" ({", ".join([_type_name(field.type), *notes])})'


def _type_name(type_: FieldType) -> str:
    return type_ if isinstance(type_, str) else json.dumps(type_, ensure_ascii=False)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _plain(value: Any) -> Any:
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value


def _json(value: Any) -> str:
    """A value so that 1 and true, 1 and 1.0 differ."""
    return "unset" if value is UNSET else json.dumps(value, sort_keys=True)


def _shown(value: Any) -> str:
    if value is None or value is UNSET:
        return "none"
    return json.dumps(value, ensure_ascii=False)
