"""The JSON Schema of types files, so that editors complete and check them.

It says what stands where; what depends on other parts of the file (a partition's field, a default's type) only
`metadata.types.parse_file` knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from metadata.types.config import TRANSFORM, Dedupe, OnRedelivery, OnSameContent, UnknownFields
from metadata.types.definition import NAME, TYPE_NAME
from metadata.types.field_types import DECIMAL_NAME, PLAIN_TYPES, map_keys
from metadata.types.json_values import EPOCH_MICROSECONDS

_Schema = dict[str, Any]

_POSITIVE = {"type": ["integer", "null"], "minimum": 1}


def types_schema() -> _Schema:
    """The schema of a types file, in JSON Schema's draft 2020-12."""
    keys = {
        "$schema": _text("where this schema is found; for editors"),
        "file_type": _named(TYPE_NAME.pattern, "its name: 1 to 63 of a-z, 0-9, _, beginning with a letter"),
        "table_name": _or_null(
            _named(rf"(raw_data\.)?{TYPE_NAME.pattern}", "its table in raw_data; left out: called as the type")
        ),
        "filename_patterns": {
            "description": "prefixes of its files' names, or globs over the whole name; left out: the type's name",
            "type": ["array", "null"],
            "items": {"type": "string", "minLength": 1},
            "minItems": 1,
        },
        "schema_definition": {
            "description": "its fields; a type without is inactive",
            "anyOf": [_ref("definition"), {"type": "null"}],
        },
        "partition_column": _or_null(_text("older name of processing_config.partition_by; must agree with it")),
        "processing_config": {
            "description": "how its files become rows",
            "anyOf": [_ref("config"), {"type": "null"}],
        },
        "description": _or_null(_text("for people")),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lemonade types file",
        "description": "A file type: what its files are called, what their records look like, where the rows go",
        **_object(keys, ["file_type"]),
        "$defs": {
            "definition": _object(_definition(), ["fields"]),
            "field": _object(_field(), ["name", "type"]),
            "type": _type(),
            "list": _object(_list(), ["type", "element"]),
            "map": _object(_map(), ["type", "key", "value"]),
            "struct": _object(_struct(), ["type", "fields"]),
            "config": _object(_config()),
            "summary": _object(_summary(), ["table", "key", "time"]),
            "retry": _object(_retry()),
        },
    }


def schema_text() -> str:
    """The schema as the file docs/types.schema.json holds it."""
    return json.dumps(types_schema(), indent=2, ensure_ascii=False) + "\n"


def _definition() -> _Schema:
    return {
        "fields": {
            "description": "the columns of the table, in their order",
            "type": "array",
            "items": _ref("field"),
            "minItems": 1,
        },
        "primary_key": {**_names("the fields that tell records apart"), "type": ["array", "null"]},
        "root": _or_null(_text("the keys that lead to the array of records, joined by dots: payload.items")),
    }


def _field() -> _Schema:
    return {
        "name": _named(NAME.pattern, "the column: A-Z, a-z, 0-9, _, no digit first"),
        "type": {"description": "what its values are", "$ref": "#/$defs/type"},
        "nullable": _flag("whether it may be null or missing", True),
        "default": {"description": "the value for a missing key, as it stands in JSON; never for a null"},
        "source": _or_null(_text("the JSON key, when it is not the name")),
        "format": _choice("a timestamp that is a number: seconds or milliseconds since 1970", EPOCH_MICROSECONDS, None),
        "coerce": _flag("text also of numbers and booleans; numbers and booleans also of text", False),
        "description": _or_null(_text("the column's comment")),
        "renamed_from": {
            "description": "the column that becomes this one, or all its former names with the last one first",
            "type": ["string", "array", "null"],
            "items": {"type": "string"},
        },
        "enum": {
            "description": "the only values it takes: text, numbers, dates, times",
            "type": ["array", "null"],
            "items": {"type": ["string", "number"]},
            "minItems": 1,
        },
        "min": {"description": "the smallest number, date or time it takes", "type": ["string", "number", "null"]},
        "max": {"description": "the largest number, date or time it takes", "type": ["string", "number", "null"]},
        "pattern": {
            "description": "a regular expression (Python's) that is found somewhere in its text",
            "type": ["string", "null"],
        },
        "max_length": {"description": "how many characters its text may have", **_POSITIVE},
    }


def _type() -> _Schema:
    return {
        "anyOf": [
            {"enum": sorted(PLAIN_TYPES)},
            {"type": "string", "pattern": _whole(DECIMAL_NAME.pattern)},
            _ref("list"),
            _ref("map"),
            _ref("struct"),
        ]
    }


def _list() -> _Schema:
    return {
        "type": {"const": "list"},
        "element": _ref("type"),
        "element-id": {"type": "integer"},
        "element-required": _flag("whether its elements may not be null", False),
    }


def _map() -> _Schema:
    return {
        "type": {"const": "map"},
        "key": {"enum": map_keys()},
        "key-id": {"type": "integer"},
        "value": _ref("type"),
        "value-id": {"type": "integer"},
        "value-required": _flag("whether its values may not be null", False),
    }


def _struct() -> _Schema:
    field = {
        "id": {"type": "integer"},
        "name": _named(NAME.pattern, "its JSON key"),
        "type": _ref("type"),
        "required": _flag("whether it may not be null or missing", False),
        "doc": _or_null(_text("its comment")),
    }
    return {
        "type": {"const": "struct"},
        "fields": {"type": "array", "items": _object(field, ["name", "type"]), "minItems": 1},
        "schema-id": {"type": "integer"},
        "identifier-field-ids": {"type": "array", "items": {"type": "integer"}},
    }


def _config() -> _Schema:
    return {
        "partition_by": {
            "description": "date (the UTC day of the time in the file's name), day(field), hour(field), a field, none",
            "type": ["string", "null"],
            "pattern": _whole(rf"\s*({TRANSFORM.pattern}|{NAME.pattern})\s*"),
            "default": "date",
        },
        "format": {"description": "the table's format", "const": "iceberg"},
        "write_mode": {"description": "rows are added", "const": "append"},
        "summary": {"description": "a daily summary", "anyOf": [_ref("summary"), {"type": "null"}]},
        "flush_max_files": {"description": "files that wait before they are loaded", **_POSITIVE},
        "flush_max_bytes": {"description": "bytes that wait before they are loaded", **_POSITIVE},
        "flush_max_age_seconds": {"description": "how long the oldest file waits", **_POSITIVE},
        "retry": {"description": "attempts at its micro-batches", "anyOf": [_ref("retry"), {"type": "null"}]},
        "on_same_content": _choice("the same delivery once more", OnSameContent, OnSameContent.SKIP),
        "on_redelivery": _choice("a loaded name with other bytes", OnRedelivery, OnRedelivery.APPEND),
        "unknown_fields": _choice("keys that the schema has not", UnknownFields, UnknownFields.RESCUE),
        "dedupe": _choice("what makes a record one that is there already", Dedupe, None),
        "max_rejected_ratio": {
            "description": "of a file's records; beyond it the file loads nothing and goes to error/",
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.5,
        },
        "max_rejected_records": {
            "description": "of one file; beyond it the file loads nothing and goes to error/",
            "type": ["integer", "null"],
            "minimum": 0,
        },
    }


def _summary() -> _Schema:
    return {
        "table": _named(TYPE_NAME.pattern, "its table in the namespace summary"),
        "key": {**_names("the fields that it is kept by"), "minItems": 1},
        "time": _text("the timestamp that says the day"),
        "latest": _names("the fields whose last value of the day is kept"),
    }


def _retry() -> _Schema:
    seconds = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 3600}
    return {
        "attempts": {
            "description": "in all, the first included",
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": 100,
        },
        "first_wait_seconds": {"description": "before the second attempt", **seconds},
        "longest_wait_seconds": {"description": "the waits double up to this", **seconds},
    }


def _object(keys: _Schema, required: Iterable[str] = ()) -> _Schema:
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": keys, **needed, "additionalProperties": False}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/$defs/{name}"}


def _text(description: str) -> _Schema:
    return {"description": description, "type": "string"}


def _named(pattern: str, description: str) -> _Schema:
    return {"description": description, "type": "string", "pattern": _whole(pattern)}


def _names(description: str) -> _Schema:
    return {"description": description, "type": "array", "items": {"type": "string"}}


def _or_null(schema: _Schema) -> _Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _flag(description: str, default: bool) -> _Schema:
    return {"description": description, "type": "boolean", "default": default}


def _choice(description: str, values: Iterable[str], default: str | None) -> _Schema:
    return {"description": description, "enum": [*map(str, values), None], "default": default}


def _whole(pattern: str) -> str:
    return f"^({pattern})$"
