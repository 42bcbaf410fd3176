"""A sample of records → the draft of a types file, and the facts it was made of. Pure.

The promise: a type with this draft loads every record that it was drafted from. So that no rule here has to be trusted
with it, the draft is tried on its records with the very decoder that will load them, and a field that rejects one is
given a plainer type, `json` in the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from metadata.types.config import UnknownFields
from metadata.types.definition import DATE_COLUMN, Definition
from metadata.types.parse_definition import parse_definition
from processors.decode.decoder import Decoder
from processors.decode.document import BROKEN
from processors.drafts.column_names import column_names
from processors.drafts.record_places import key_fits
from processors.drafts.sample import Sample, keys_of
from processors.drafts.seen_values import Budget, SeenValues
from processors.drafts.value_types import TypeChoice, choose, plainer, words_of

MAX_FIELDS = 300
"""Fields of a draft; keys beyond them go where unknown fields go."""
MIN_RECORDS = 20
"""Records that must all have an identifier or a timestamp before the draft requires it."""
SURE_RECORDS = 1000
"""The same of any other field: public data sets have nulls that only the thousandth record shows."""
MAX_KEY_CHARS = 255

_MOST_KEYS = 5000
_SAMPLES = 3
_SAMPLE_CHARS = 80
_ROUNDS = 12
_IDENTIFIER = 2  # how much a key is called like one, at least
_KEY_TYPES = ("string", "long", "uuid", "timestamp", "date")


@dataclass(frozen=True)
class Draft:
    """A types file as `lemonade types add` takes it, None when nothing could be drafted; and what it was made of.

    `facts` is JSON: `files`, `records`, `bytes`, `root`, `unusable` records by code, `primary_key`, `notes`, and per
    field `name key type format coerce required seen nulls percent samples note`.
    """

    raw: dict[str, Any] | None
    facts: dict[str, Any]


@dataclass
class _Column:
    """A key of the records on its way to a field."""

    key: str
    seen: SeenValues = field(default_factory=SeenValues)
    samples: list[str] = field(default_factory=list)
    name: str = ""
    choice: TypeChoice = field(default_factory=lambda: TypeChoice("json"))

    @property
    def records(self) -> int:
        return self.seen.count + self.seen.nulls


@dataclass
class _Usable:
    """The records of a sample that a table can hold, and how many of the others there were."""

    records: list[bytes] = field(default_factory=list)
    columns: dict[str, _Column] = field(default_factory=dict)
    unusable: dict[str, int] = field(default_factory=dict)
    more_keys: set[str] = field(default_factory=set)

    def leave_out(self, code: str) -> None:
        self.unusable[code] = self.unusable.get(code, 0) + 1


def draft(
    sample: Sample,
    file_type: str,
    *,
    table_name: str | None = None,
    patterns: Sequence[str] | None = None,
    description: str | None = None,
) -> Draft:
    """The draft of a type of that name; `patterns` None: its name."""
    used = _observe(sample.records)
    columns, notes = _chosen(used, list(sample.notes))
    keys = keys_of(file_type, table_name or file_type, patterns or [file_type])
    root = sample.root
    if root in keys and root not in used.columns:
        root = None  # a key that names the type is looked under anyway
    table: list[pa.Array] = []
    if columns:
        columns, table = _tried(columns, used)
    notes += _notes_on(used, columns)
    key = _primary_key(columns, table, file_type)
    raw = None
    if columns:
        fields = [_field(column, len(used.records)) for column in columns]
        definition: dict[str, Any] = {"fields": fields}
        if key:
            definition["primary_key"] = key
        if root:
            definition["root"] = root
        raw = {
            "file_type": file_type,
            "table_name": table_name or file_type,
            **({"filename_patterns": list(patterns)} if patterns else {}),
            "schema_definition": definition,
            "processing_config": {"partition_by": DATE_COLUMN},
            "description": description or _description(sample, len(used.records)),
        }
    return Draft(raw, _facts(sample, used, columns, key, notes))


def propose(key: str, samples: Sequence[bytes], taken: Sequence[str] = ()) -> dict[str, Any]:
    """An optional field for a key that records have and their schema has not, out of some of its values.

    `taken` are the names of the schema's fields.
    """
    column = _Column(key, name=column_names([key], taken)[key])
    budget = Budget()
    for raw in samples:
        value = _decoded(raw)
        if value is not _BROKEN:
            column.seen.add(value, budget)
    column.choice = choose(column.seen, column.name)
    return _field(column, 0)


# -- looking ----------------------------------------------------------------------------------------------------------

_BROKEN = object()


def _observe(raws: Sequence[bytes]) -> _Usable:
    used, budget = _Usable(), Budget()
    for raw in raws:
        record = _decoded(raw)
        if record is _BROKEN:
            used.leave_out("bad_text")
        elif not isinstance(record, dict):
            used.leave_out("wrong_type")
        else:
            used.records.append(raw)
            for key, value in record.items():
                column = used.columns.get(key)
                if column is None:
                    if len(key) > MAX_KEY_CHARS or not key_fits(key) or len(used.columns) >= _MOST_KEYS:
                        if len(used.more_keys) < _MOST_KEYS:
                            used.more_keys.add(key[:MAX_KEY_CHARS])
                        continue
                    used.columns[key] = column = _Column(key)
                column.seen.add(value, budget)
                if len(column.samples) < _SAMPLES and value is not None:
                    _keep_sample(column, value)
    return used


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.ValidationError:  # a number too large for msgspec: a field of type json can hold it
        try:
            return json.loads(raw, parse_int=_whole)
        except (ValueError, RecursionError):
            return _BROKEN
    except BROKEN:
        return _BROKEN


def _whole(text: str) -> int | float:
    return int(text) if len(text) <= 40 else float("inf")


def _keep_sample(column: _Column, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else _text(value)
    text = text if len(text) <= _SAMPLE_CHARS else text[: _SAMPLE_CHARS - 1] + "…"
    if text not in column.samples:
        column.samples.append(text)


def _text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, OverflowError):  # whole numbers beyond 64 bits
        return json.dumps(value)


# -- choosing ---------------------------------------------------------------------------------------------------------


def _chosen(used: _Usable, notes: list[str]) -> tuple[list[_Column], list[str]]:
    """The columns with names and types, in the order in which their keys came; the most frequent when too many."""
    columns = list(used.columns.values())
    if len(columns) > MAX_FIELDS:
        kept = {id(column) for column in sorted(columns, key=lambda column: -column.records)[:MAX_FIELDS]}
        columns = [column for column in columns if id(column) in kept]
    names = column_names([column.key for column in columns])
    for column in columns:
        column.name = names[column.key]
        column.choice = choose(column.seen, column.key)
    return columns, notes


def _field(column: _Column, records: int) -> dict[str, Any]:
    """The field as a types file has it."""
    choice = column.choice
    return {
        "name": column.name,
        "type": choice.type,
        **({"nullable": False} if _is_required(column, records) else {}),
        **({"source": column.key} if column.name != column.key else {}),
        **({"format": choice.format} if choice.format else {}),
        **({"coerce": True} if choice.coerce else {}),
    }


def _is_required(column: _Column, records: int) -> bool:
    """In every one of enough records, and never null. A field of unknown content is not worth rejecting records for."""
    if column.seen.count != records or column.choice.type == "json":
        return False
    rank = _key_rank(column.name, "")
    is_vital = column.choice.type == "timestamp" or (rank is not None and rank <= _IDENTIFIER)
    return records >= (MIN_RECORDS if is_vital else SURE_RECORDS)


# -- trying -----------------------------------------------------------------------------------------------------------


def _tried(columns: list[_Column], used: _Usable) -> tuple[list[_Column], list[pa.Array]]:
    """The columns with types under which the decoder rejects no record, and what it made of the records.

    A record that no schema can hold leaves `used`. Columns that no record has any more leave too.
    """
    for tries in range(_ROUNDS * 2):
        definition = _definition(columns, len(used.records))
        decoder = Decoder(definition, (), unknown_fields=UnknownFields.IGNORE)  # they never reject a record by default
        decoded = decoder.decode_records(used.records)
        if not decoded.rejected:
            return columns, decoded.columns
        at_fault = {rejected.field for rejected in decoded.rejected if rejected.field is not None}
        if tries >= _ROUNDS:
            at_fault = {column.name for column in columns}
        lost = set()
        for rejected in decoded.rejected:
            column = next((each for each in columns if each.name == rejected.field), None)
            if column is None or (column.choice.type == "json" and column.name in at_fault):
                lost.add(rejected.record_no - 1)
                used.leave_out(rejected.code)
        columns = [replace(each, choice=plainer(each.choice)) if each.name in at_fault else each for each in columns]
        used.records = [raw for number, raw in enumerate(used.records) if number not in lost]
        if not used.records:
            break
    return [], []


def _definition(columns: Sequence[_Column], records: int) -> Definition:
    return parse_definition({"fields": [_field(column, records) for column in columns]})


def _primary_key(columns: Sequence[_Column], table: Sequence[pa.Array], file_type: str) -> list[str]:
    """A field, or an identifier and a time, that is never null and never the same twice, and is called like a key."""
    whole = {
        column.name: array
        for column, array in zip(columns, table, strict=True)
        if column.choice.type in _KEY_TYPES and not array.null_count and not column.choice.coerce
    }
    records = len(table[0]) if table else 0
    if records < 2:
        return []
    ranked = sorted((rank, name) for name in whole if (rank := _key_rank(name, file_type)) is not None)
    for _, name in ranked:
        if pc.count_distinct(_countable(whole[name])).as_py() == records:
            return [name]
    moments = [column.name for column in columns if column.choice.type == "timestamp" and column.name in whole]
    for _, name in ranked[:3]:
        for moment in moments[:3]:
            if name != moment and _is_unique(whole[name], whole[moment], records):
                return [name, moment]
    return []


def _key_rank(name: str, file_type: str) -> int | None:
    """How much a name sounds like that of a key, 0 the most; None: not at all."""
    words = words_of(name)
    if not words:
        return None
    if words in (["id"], ["uuid"], ["guid"], ["key"]):
        return 0
    last = words[-1]
    if last in ("id", "uuid", "guid"):
        return 1 if set(words[:-1]) & {word.rstrip("s") for word in words_of(file_type)} else _IDENTIFIER
    if last in ("key", "code", "no", "number", "sku", "serial", "vin", "name", "slug"):
        return _IDENTIFIER + 1
    return None


def _countable(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _is_unique(one: pa.Array, other: pa.Array, records: int) -> bool:
    pairs = pa.table({"one": _countable(one), "other": _countable(other)})
    return bool(pairs.group_by(["one", "other"]).aggregate([]).num_rows == records)


# -- telling ----------------------------------------------------------------------------------------------------------


def _notes_on(used: _Usable, columns: Sequence[_Column]) -> list[str]:
    notes = []
    left_out = len(used.columns) + len(used.more_keys) - len(columns)
    if not used.records:
        notes.append("no record in them is a JSON object that a table can hold")
    elif not columns:
        notes.append("no record in them has a key that can be a field")
    elif left_out:
        many = "at least " if len(used.more_keys) >= _MOST_KEYS else ""
        notes.append(
            f"{many}{left_out} further keys are left to the type's unknown_fields: a draft has {MAX_FIELDS} fields at "
            'most, and none for a key with ", \\ or control characters, or of more than 255'
        )
    if 0 < len(used.records) < MIN_RECORDS:
        notes.append(f"no field is required: {len(used.records)} records are too few to tell")
    for code, count in used.unusable.items():
        notes.append(f"{count} records were left out, {code}: no schema can load them")
    return notes


def _description(sample: Sample, records: int) -> str:
    files = sum(1 for file in sample.files if file.records)
    return f"drafted from {records} records of {files} file{'s' if files != 1 else ''}"


def _facts(
    sample: Sample, used: _Usable, columns: Sequence[_Column], key: Sequence[str], notes: Sequence[str]
) -> dict[str, Any]:
    total = len(used.records)
    return {
        "files": [
            {
                "name": file.name,
                "records": file.records,
                "whole": file.is_whole,
                **({"code": file.code, "message": file.message} if file.code else {}),
            }
            for file in sample.files
        ],
        "records": total,
        "bytes": sample.bytes,
        "root": sample.root,
        "unusable": dict(used.unusable),
        "primary_key": list(key),
        "notes": list(notes),
        "fields": [_field_facts(column, total) for column in columns],
    }


def _field_facts(column: _Column, total: int) -> dict[str, Any]:
    return {
        "name": column.name,
        "key": column.key,
        "type": column.choice.type,
        **({"format": column.choice.format} if column.choice.format else {}),
        **({"coerce": True} if column.choice.coerce else {}),
        "required": _is_required(column, total),
        "seen": column.records,
        "nulls": column.seen.nulls,
        "percent": round(100 * column.records / total, 1) if total else 0.0,
        "samples": column.samples,
        **({"note": column.choice.note} if column.choice.note else {}),
    }


def as_json(draft_raw: Mapping[str, Any]) -> str:
    """A draft as a person edits it: a field a line."""
    definition = dict(draft_raw["schema_definition"])
    fields = ",\n".join(f"      {json.dumps(each, ensure_ascii=False)}" for each in definition.pop("fields"))
    marker = "\0fields"
    whole = {**draft_raw, "schema_definition": {"fields": marker, **definition}}
    text = json.dumps(whole, indent=2, ensure_ascii=False)
    return text.replace(json.dumps(marker), f"[\n{fields}\n    ]")
