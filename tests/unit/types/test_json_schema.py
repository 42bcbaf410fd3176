from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from metadata.errors import ConfigurationError
from metadata.types.built_in import BUILT_IN
from metadata.types.config import ProcessingConfig, RetryConfig, SummaryConfig
from metadata.types.definition import Field
from metadata.types.field_types import PLAIN_TYPES
from metadata.types.file_type import TypeStatus
from metadata.types.json_schema import schema_text, types_schema
from metadata.types.parse_file import TYPES_FILE_KEYS, parse_type
from watcher.cli import VerbGroup
from watcher.terminal.types_files import read_types_file

TYPES = VerbGroup("types", verb="types")

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "docs/types.schema.json"
SCHEMA = types_schema()
KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
NOTES = {"$schema", "$defs", "title", "description", "default"}


def faults(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """What JSON Schema has against a value, for the few words of it that the schema uses."""
    found: list[str] = []
    kinds = schema.get("type", list(KINDS))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds):
        found.append(f"{where}: is no {kinds}")
    for word, said in schema.items():
        if word == "$ref":
            found += faults(value, SCHEMA["$defs"][said.removeprefix("#/$defs/")], where)
        elif word == "anyOf":
            if all(faults(value, each, where) for each in said):
                found.append(f"{where}: fits nothing")
        elif word in ("enum", "const"):
            if value not in (said if word == "enum" else [said]):
                found.append(f"{where}: is not {said}")
        elif isinstance(value, dict) and word == "properties":
            for key in value.keys() & said.keys():
                found += faults(value[key], said[key], f"{where}.{key}")
        elif isinstance(value, dict) and word == "required":
            found += [f"{where}: lacks {key}" for key in said if key not in value]
        elif isinstance(value, dict) and word == "additionalProperties":
            found += [f"{where}: has {key}" for key in value if key not in schema["properties"]]
        elif isinstance(value, list) and word == "items":
            found += [fault for number, each in enumerate(value) for fault in faults(each, said, f"{where}[{number}]")]
        elif isinstance(value, str) and word == "pattern":
            found += [] if re.search(said, value) else [f"{where}: is not like {said}"]
        elif isinstance(value, str | list) and word in ("minItems", "minLength"):
            found += [f"{where}: is too short"] if len(value) < said else []
        elif not isinstance(value, str | list | dict | None) and word in ("minimum", "exclusiveMinimum"):
            found += [f"{where}: is too small"] if value < said or (value == said and word != "minimum") else []
        elif not isinstance(value, str | list | dict | None) and word == "maximum":
            found += [f"{where}: is too large"] if value > said else []
        elif word not in NOTES | {
            "type", "properties", "required", "additionalProperties", "items", "pattern", "minItems", "minLength",
            "minimum", "exclusiveMinimum", "maximum",
        }:  # fmt: skip
            raise AssertionError(f"this test does not know {word}")
    return found


def shown(document: str) -> list[Any]:
    """The types files that a document shows."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    return [block for block in blocks if isinstance(block, dict) and "schema_definition" in block]


def a_type(**changes: Any) -> dict[str, Any]:
    """A types file with some of its keys changed."""
    return {"file_type": "x", "schema_definition": {"fields": [{"name": "a", "type": "long"}]}, **changes}


def a_field(**changes: Any) -> dict[str, Any]:
    """A types file with one field."""
    return a_type(schema_definition={"fields": [{"name": "a", "type": "string", **changes}]})


def test_the_file_for_editors_is_what_the_code_says() -> None:
    """docs/types.schema.json is current; `lemonade types schema` prints the same."""
    printed = CliRunner().invoke(TYPES, ["schema"])
    assert printed.exit_code == 0
    assert FILE.read_text(encoding="utf-8") == schema_text() == printed.output, (
        "write it anew: lemonade types schema > docs/types.schema.json"
    )


@pytest.mark.parametrize("raw", [*BUILT_IN, *shown("docs/types.md"), *shown("docs/new_type.md")])
def test_types_that_exist_fit_the_schema(raw: Any) -> None:
    """The built-in types and every types file of the documents."""
    assert faults(raw, SCHEMA) == []


def test_schema_has_every_key_that_is_read() -> None:
    """A key that the parsers know and editors do not would be marked as wrong."""
    defs = SCHEMA["$defs"]
    assert set(SCHEMA["properties"]) == {"$schema", *TYPES_FILE_KEYS}
    for name, model in (
        ("field", Field),
        ("config", ProcessingConfig),
        ("summary", SummaryConfig),
        ("retry", RetryConfig),
    ):
        assert list(defs[name]["properties"]) == list(model.model_fields)
        assert all(each.get("description") for each in defs[name]["properties"].values())
    assert defs["type"]["anyOf"][0]["enum"] == sorted(PLAIN_TYPES)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        a_type(file_type="X"),
        a_type(table_name="summary.x"),
        a_type(colour=1),
        a_type(filename_patterns=[]),
        a_type(description=1),
        a_type(schema_definition={"fields": []}),
        a_type(schema_definition={"fields": [{"type": "long"}]}),
        a_field(name="1x"),
        a_field(type="varchar"),
        a_field(type="decimal"),
        a_field(type={"type": "list"}),
        a_field(type={"type": "list", "element": "nope"}),
        a_field(type={"type": "map", "key": "double", "value": "long"}),
        a_field(type={"type": "struct", "fields": [{"name": "a"}]}),
        a_field(nullable="yes"),
        a_field(format="unix"),
        a_field(enum=[]),
        a_field(max_length=0),
        a_field(pattern=3),
        a_type(processing_config={"colour": 1}),
        a_type(processing_config={"partition_by": "week(a)"}),
        a_type(processing_config={"format": "delta"}),
        a_type(processing_config={"flush_max_files": 0}),
        a_type(processing_config={"unknown_fields": "keep"}),
        a_type(processing_config={"dedupe": "row"}),
        a_type(processing_config={"max_rejected_ratio": 2}),
        a_type(processing_config={"max_rejected_records": -1}),
        a_type(processing_config={"retry": {"attempts": 0}}),
        a_type(processing_config={"summary": {"table": "s", "key": [], "time": "a"}}),
    ],
)
def test_what_the_schema_marks_the_parser_refuses_too(raw: Any) -> None:
    """An editor's red line is never about something that would have been taken."""
    assert faults(raw, SCHEMA)
    with pytest.raises(ConfigurationError):
        parse_type(raw, TypeStatus.ACTIVE, 1, "reading it")


@pytest.mark.parametrize(
    "raw",
    [
        a_type(table_name="raw_data.x", filename_patterns=["x", "eu_*"], description=None),
        a_type(processing_config={"partition_by": " none "}),
        a_type(processing_config={"partition_by": "a", "dedupe": None, "max_rejected_records": 0}),
        a_field(type="decimal( 10 , 2 )", min=0, max="9.5", coerce=True, default="1.5"),
        a_field(type={"type": "map", "key": "int", "value": {"type": "list", "element": "json"}}),
        a_field(enum=["a"], pattern="a", max_length=5, renamed_from="b", source=None),
        a_field(type="timestamp", format="epoch_s", min=0),
    ],
)
def test_what_the_parser_takes_the_schema_takes_too(raw: Any) -> None:
    """A good types file has no red line."""
    parse_type(raw, TypeStatus.ACTIVE, 1, "reading it")
    assert faults(raw, SCHEMA) == []
    assert faults({"$schema": "types.schema.json", **raw}, SCHEMA) == []


def test_types_file_may_say_where_its_schema_is(tmp_path: Path) -> None:
    """`$schema` is for the editor; the type is registered without it."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"$schema": "types.schema.json", **a_type()}), encoding="utf-8")
    assert read_types_file(path) == a_type()
