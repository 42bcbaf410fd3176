"""What may change in a type, in words; and how the columns of a table follow."""

from __future__ import annotations

from typing import Any

import pytest
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    DateType,
    DecimalType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    StructType,
)

from metadata.errors import ConfigurationError
from metadata.types.definition import Definition
from metadata.types.difference import Change, diff, is_new_version, refusals, with_former_names
from metadata.types.file_type import FileType, TypeStatus
from metadata.types.parse_definition import parse_definition
from metadata.types.parse_file import parse_type
from processors.lake.table_evolution import FORMER_NAMES, Evolution, Step, evolution

ID: dict[str, Any] = {"name": "id", "type": "long", "nullable": False}
AT: dict[str, Any] = {"name": "at", "type": "timestamp"}
N: dict[str, Any] = {"name": "n", "type": "int"}
POINT: dict[str, Any] = {"type": "struct", "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "double"}]}


def kind(*fields: dict[str, Any], **rest: Any) -> FileType:
    """A type with these fields."""
    schema = {"fields": list(fields), **{key: rest.pop(key) for key in ("primary_key", "root") if key in rest}}
    raw = {"file_type": "orders", "schema_definition": schema, **rest}
    return parse_type(raw, TypeStatus.ACTIVE, 1, "testing")


def definition(*fields: dict[str, Any]) -> Definition:
    """A definition with these fields."""
    return parse_definition({"fields": list(fields)})


def lines(changes: list[Change]) -> list[str]:
    """Each change in a line."""
    return [change.line() for change in changes]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ([ID], [ID], []),
        ([ID], [ID, N], ['add optional field "n" (int)']),
        (
            [ID],
            [ID, {**N, "nullable": False, "default": 1, "source": "N"}],
            ['add required field "n" (int, from "N", default 1)'],
        ),
        ([ID, N], [N, ID], ["reorder fields: n, id"]),
        ([ID, N], [ID], ['drop field "n": the column stays, later rows leave it null']),
        ([N], [{**N, "type": "long"}], ['widen field "n": int → long']),
        ([{**N, "type": "float"}], [{**N, "type": "double"}], ['widen field "n": float → double']),
        (
            [{**N, "type": "decimal(5,2)"}],
            [{**N, "type": "decimal(7,2)"}],
            ['widen field "n": decimal(5,2) → decimal(7,2)'],
        ),
        ([ID], [{**ID, "nullable": True}], ['make field "id" optional']),
        ([N], [{**N, "description": "how many"}], ['describe field "n": "how many"']),
        ([{**N, "description": "x"}], [N], ['describe field "n": none']),
        ([N], [{**N, "source": "N"}], ['field "n": read from the key "N", no longer "n"']),
        ([N], [{**N, "min": 0}], ['field "n": min none → 0; for later records']),
        ([N], [{**N, "enum": [1, 2]}], ['field "n": enum none → [1, 2]; for later records']),
        ([{**N, "default": 1}], [{**N, "default": None}], ['field "n": default 1 → none; for later records']),
        ([N], [{**N, "coerce": True}], ['field "n": coerce false → true; for later records']),
        ([AT], [{**AT, "format": "epoch_ms"}], ['field "at": format none → "epoch_ms"; for later records']),
        (
            [ID, N],
            [ID, {**N, "name": "count", "renamed_from": "n"}],
            ['rename field "n" to "count", read from the key "count", no longer "n"'],
        ),
        (
            [ID, N],
            [ID, {"name": "count", "type": "long", "renamed_from": "n", "source": "n"}],
            ['rename field "n" to "count"', 'widen field "count": int → long'],
        ),
        ([{**N, "name": "N"}], [{**N, "renamed_from": "N", "source": "N"}], ['rename field "N" to "n"']),
        ([{**N, "renamed_from": "m"}], [{**N, "renamed_from": "m"}], []),
        ([{**N, "renamed_from": "m"}], [N], []),
        (
            [{**N, "type": POINT}],
            [{**N, "type": {**POINT, "fields": [{"name": "x", "type": "long"}, *POINT["fields"][1:], N]}}],
            ['widen field "n": '],
        ),
    ],
)
def test_what_may_change(old: list[dict[str, Any]], new: list[dict[str, Any]], told: list[str]) -> None:
    """Each change is said in a line of its own; nothing of it is refused, and it makes a new version."""
    changes = list(diff(kind(*old), kind(*new)))
    assert len(changes) == len(told)
    for line, beginning in zip(lines(changes), told, strict=True):
        assert line.startswith(beginning)
    assert refusals(changes) == []
    assert is_new_version(changes) == bool(told)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ([N], [{**N, "type": "string"}], "a column keeps its type"),
        ([{**N, "type": "long"}], [N], "do not fit any more"),
        ([{**N, "type": "double"}], [{**N, "type": "float"}], "do not fit any more"),
        ([{**N, "type": "decimal(7,2)"}], [{**N, "type": "decimal(5,2)"}], "do not fit any more"),
        ([{**N, "type": "decimal(5,2)"}], [{**N, "type": "decimal(7,3)"}], "keeps its number of decimals"),
        ([N], [{**N, "type": "double"}], "no whole numbers into floating-point ones"),
        ([{**N, "type": "json"}], [{**N, "type": "string"}], "a column keeps its type"),
        ([N], [{**N, "type": POINT}], "a column keeps its type"),
        ([ID], [ID, {**N, "nullable": False}], "give it a default"),
        ([N], [{**N, "nullable": False}], "rows that are there may be null"),
        ([{**N, "nullable": False, "default": 1}], [{**N, "nullable": False}], "leave its default"),
        ([ID], [ID, {**N, "renamed_from": "m"}], 'no field "m" to rename; known are id'),
        ([ID, N], [ID, N, {**N, "name": "m", "renamed_from": "n"}], "still a field of its own"),
        (
            [N],
            [{**N, "name": "a", "renamed_from": "n"}, {**N, "name": "b", "renamed_from": "n"}],
            '"n" has become another field already',
        ),
        ([ID, N], [{**ID, "renamed_from": "n"}], "both are columns"),
        ([ID, {**N, "renamed_from": "m"}], [ID, N, {**N, "name": "m"}], 'that of the column "n" before'),
        ([ID, N], [{**N, "name": "id", "renamed_from": "n"}, N], "both are columns"),
        ([N], [{**N, "name": "N"}], 'that of the column "n" before'),
        (
            [{**N, "type": POINT}],
            [{**N, "type": {**POINT, "fields": POINT["fields"][:1]}}],
            'dropping "y" inside a struct',
        ),
        (
            [{**N, "type": POINT}],
            [{**N, "type": {**POINT, "fields": [*POINT["fields"], {**N, "required": True}]}}],
            'the new "n" in it is required',
        ),
        (
            [{**N, "type": {"type": "list", "element": "long"}}],
            [{**N, "type": {"type": "list", "element": "int"}}],
            "element: rows that are there",
        ),
        (
            [{**N, "type": {"type": "map", "key": "int", "value": "int"}}],
            [{**N, "type": {"type": "map", "key": "long", "value": "int"}}],
            "keys of a map keep their type",
        ),
    ],
)
def test_what_is_refused(old: list[dict[str, Any]], new: list[dict[str, Any]], reason: str) -> None:
    """Each refusal says why, and mostly what to do instead."""
    assert reason in "\n".join(refusals(list(diff(kind(*old), kind(*new)))))


def test_a_name_belongs_to_its_column_for_good() -> None:
    """What earlier versions called a column no other field may be called; a dropped one may be taken up again."""
    first, second = kind(ID, N), kind(ID)
    history = [definition(ID, N), definition(ID)]
    (again,) = diff(second, first, history)
    assert again.line() == 'take up field "n" (int) again, whose column is still there'
    (wider,) = diff(second, kind(ID, {**N, "type": "long"}), history)
    assert wider.refused is None
    (other,) = diff(second, kind(ID, {**N, "type": "string"}), history)
    assert other.refused is not None and "a column of that name still, a int" in other.refused
    (renamed, *_) = diff(second, kind({**ID, "name": "n", "renamed_from": "id"}), history)
    assert renamed.refused is not None and "a name that was never used" in renamed.refused
    back = diff(kind({**ID, "name": "key", "renamed_from": "id"}), kind({**ID, "renamed_from": "key"}), history)
    assert refusals(list(back)) == []


def test_config_and_the_rest() -> None:
    """What does not touch the schema makes no new version; partition, table and summary are refused with reasons."""
    summary = {"table": "daily", "key": ["id"], "time": "at"}
    old = kind(ID, AT, description="x", processing_config={"summary": summary, "partition_by": "day(at)"})
    moved = {"name": "moment", "type": "timestamp", "renamed_from": "at", "source": "at"}
    config = {"summary": {**summary, "time": "moment"}, "partition_by": "day(moment)", "max_rejected_ratio": 0.1}
    changes = list(diff(old, kind(ID, moved, filename_patterns=["a", "b"], processing_config=config)))
    assert lines(changes) == [
        'rename field "at" to "moment"',
        "max_rejected_ratio: 0.5 → 0.1",
        "filename_patterns: orders → a, b",
        "description: none",
    ]
    assert not is_new_version(changes[1:])
    other = {**config, "summary": {**summary, "time": "moment", "latest": ["id"]}, "partition_by": "date"}
    refused = refusals(list(diff(old, kind(ID, moved, table_name="elsewhere", processing_config=other))))
    assert [line.split(":")[0] for line in refused] == ["partition_by", "summary", "table_name"]
    added = diff(kind(ID, AT), kind(ID, AT, primary_key=["id"], root="a.b", processing_config={"summary": summary}))
    assert lines(list(added)) == [
        "primary_key: none → id",
        'root: none → "a.b"; for later files',
        "summary: none → daily",
    ]


def test_former_names_are_carried_along() -> None:
    """A definition knows every name its columns had, whether the file repeats them or not, and after being dropped."""
    first = definition(ID, N)
    second = with_former_names(first, definition(ID, {**N, "name": "m", "renamed_from": "n"}), [first])
    third = with_former_names(second, definition(ID, {**N, "name": "k", "renamed_from": "m"}), [first, second])
    assert third.field("k").former_names == ("m", "n")
    fourth = with_former_names(third, definition(ID, {**N, "name": "k"}), [first, second, third])
    assert fourth == third
    gone = with_former_names(fourth, definition(ID), [first, second, third, fourth])
    again = with_former_names(gone, definition(ID, {**N, "name": "k"}), [first, second, third, fourth, gone])
    assert again == third
    elsewhere = with_former_names(first, third)
    assert elsewhere == third


def test_an_imported_definition_may_know_more_names() -> None:
    """Elsewhere a column was renamed twice before it came here: it is found by its oldest name, or new altogether."""
    far = {**N, "name": "k", "renamed_from": ["m", "n"]}
    (renamed,) = diff(kind(ID, N), kind(ID, {**far, "source": "n"}), is_imported=True)
    assert renamed.line() == 'rename field "n" to "k"'
    (added,) = diff(kind(ID), kind(ID, far), is_imported=True)
    assert added.line() == 'add optional field "k" (int)'
    (refused,) = diff(kind(ID), kind(ID, far))
    assert refused.refused is not None


# -- tables -----------------------------------------------------------------------------------------------------------

BY_DATE = PartitionSpec(PartitionField(9, 1000, IdentityTransform(), "date"))


def table(*columns: tuple[str, IcebergType]) -> Schema:
    """A table's schema: these columns, `date` with the id 9, and one of lineage behind it."""
    fields = [NestedField(at, name, type_) for at, (name, type_) in enumerate(columns, start=1)]
    return Schema(*fields, NestedField(9, "date", DateType()), NestedField(10, "_file_id", StringType()))


def to(wanted: Schema, there: Schema, properties: dict[str, str] | None = None, **how: Any) -> Evolution:
    """What brings `there` to `wanted`, as the first version of orders."""
    how.setdefault("version", ("orders", 1))
    return evolution(there, BY_DATE, properties or {}, wanted, BY_DATE, **how)


def test_a_table_that_fits_is_left_alone() -> None:
    """Also one that has more columns, and wider ones; only the version is noted, once."""
    there = table(("a", LongType()), ("gone", StringType()))
    change = to(table(("a", IntegerType())), there)
    assert (change.steps, change.order, change.faults) == ((), (), ())
    assert change.properties == (("lemonade.schema-version.orders", "1"),)
    assert not to(table(("a", IntegerType())), there, dict(change.properties)).is_needed


def test_columns_are_ordered_once_for_a_version() -> None:
    """The schema's columns, what was dropped, then `date` and all behind it; afterwards others may have their order."""
    there = table(("a", LongType()), ("gone", StringType()), ("b", LongType()))
    wanted = table(("b", LongType()), ("new", LongType()), ("a", LongType()))
    assert to(wanted, there).order == ("b", "new", "a", "gone", "date", "_file_id")
    seen = {"lemonade.schema-version.orders": "1"}
    assert to(wanted, there, seen).order == ("a", "gone", "b", "new", "date", "_file_id")
    assert to(table(("b", LongType()), ("a", LongType())), there, seen).order == ()


def test_steps_of_an_evolution() -> None:
    """Widened and renamed at once, nested fields added and widened, by the names that the table has now."""
    there = table(("a", IntegerType()), ("p", StructType(NestedField(3, "x", IntegerType(), required=False))))
    point = StructType(NestedField(3, "x", LongType(), required=False), NestedField(4, "y", LongType(), required=False))
    change = to(table(("b", LongType()), ("p", point)), there, former={"b": ("z", "a")})
    assert change.steps == (
        Step("widen", ("a",), type=LongType()),
        Step("rename", ("a",), name="b"),
        Step("widen", ("p", "x"), type=LongType()),
        Step("add", ("p", "y"), type=LongType()),
    )
    assert dict(change.properties)[FORMER_NAMES] == '{"a": "b"}'


def test_what_no_step_can_bring_about() -> None:
    """Another type, a narrower decimal scale, bytes for text, another partition: each is a fault."""
    there = table(("a", StringType()), ("b", DecimalType(5, 2)))
    faults = to(table(("a", LongType()), ("b", DecimalType(5, 3))), there).faults
    assert faults == (
        "column a is string in the table and long in the schema",
        "column b is decimal(5, 2) in the table and decimal(5, 3) in the schema",
    )
    (fault,) = evolution(there, BY_DATE, {}, there, PartitionSpec()).faults
    assert fault == "it is partitioned by identity(date), the type asks for nothing"


def test_a_partition_column_takes_its_metrics_along() -> None:
    """Recovery reads partitions from bounds: they are kept whole under the new name too."""
    there = table(("a", StringType()))
    spec = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "a"))
    properties = {"write.metadata.metrics.column.a": "full"}
    change = evolution(there, spec, properties, table(("b", StringType())), spec, former={"b": ("a",)})
    assert change.faults == ()
    assert dict(change.properties)["write.metadata.metrics.column.b"] == "full"


def test_a_former_name_is_no_new_column() -> None:
    """A schema that is older than the table is told so, instead of growing a second column for one."""
    properties = {FORMER_NAMES: '{"a": "b"}'}
    (fault,) = to(table(("a", LongType())), table(("b", LongType())), properties).faults
    assert fault == "column a was renamed to b by a later version of the schema"
    broken = to(table(("a", LongType())), table(("b", LongType())), {FORMER_NAMES: "{"})
    assert broken.faults == ()


@pytest.mark.parametrize("names", [3, "1x", ["a", 3], ["a", "b c"], {"a": "b"}])
def test_former_names_are_names(names: Any) -> None:
    """`renamed_from` is a column's name, or several; anything else is a fault of the definition."""
    with pytest.raises(ConfigurationError, match='field "n": "renamed_from" must be the name of the column'):
        definition({**N, "renamed_from": names})
    assert definition({**N, "renamed_from": ["b", "a"]}).field("n").former_names == ("b", "a")
