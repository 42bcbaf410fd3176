"""A definition's faces: the struct that JSON is decoded into, the Arrow schema, the Iceberg schema and partition spec.

All columns are optional in Iceberg and Arrow, also those that may not be null in a definition: the decoder holds that
promise, and a schema in which every column is optional can grow.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyiceberg.types
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.transforms import DayTransform, HourTransform, IdentityTransform, Transform
from pyiceberg.types import DateType, IcebergType, ListType, LongType, MapType, NestedField, StringType, StructType

from metadata.types.config import ProcessingConfig
from metadata.types.definition import DATE_COLUMN, LINEAGE, RESCUED, Definition, Field
from metadata.types.field_types import FieldType, plain_type, row_of
from metadata.types.json_values import EPOCH_MICROSECONDS, EPOCH_RANGE, json_text

NULL = b"null"
"""What a column of raw JSON holds where its key is missing."""


def iceberg_schema(definition: Definition) -> Schema:
    """The table's schema: the definition's columns, `date`, the lineage, `_rescued`; ids fresh from 1."""
    types = [
        *((field.name, _iceberg_type(field.type), field.description) for field in definition.fields),
        (DATE_COLUMN, DateType(), "UTC day of the timestamp in the source file's name"),
        *zip(LINEAGE, (StringType(), StringType(), LongType(), StringType()), _LINEAGE_DOCS, strict=True),
        (RESCUED, StringType(), "JSON of what a record has and the schema has not; null when there is nothing"),
    ]
    fields = [
        NestedField(field_id=number, name=name, field_type=type_, required=False, doc=doc)
        for number, (name, type_, doc) in enumerate(types, start=1)
    ]
    return assign_fresh_schema_ids(Schema(*fields))


_LINEAGE_DOCS = (
    "name of the source file",
    "id of the source file in the ledger",
    "number of the record in its file, from 1",
    "id of the micro-batch that loaded the row",
)


def arrow_schema(definition: Definition) -> pa.Schema:
    """The same columns as Arrow types, which the Iceberg writer takes without a cast."""
    return pa.schema(
        [
            *((field.name, arrow_type(field.type)) for field in definition.fields),
            (DATE_COLUMN, pa.date32()),
            *zip(LINEAGE, (pa.string(), pa.string(), pa.int64(), pa.string()), strict=True),
            (RESCUED, pa.string()),
        ]
    )


def partition_spec(definition: Definition, config: ProcessingConfig) -> PartitionSpec:
    """How the table is divided; source ids are those of `iceberg_schema`."""
    if config.partition is None:
        return PartitionSpec()
    transform_name, column = config.partition
    transform: Transform[Any, Any]
    match transform_name:
        case "day":
            transform, name = DayTransform(), f"{column}_day"
        case "hour":
            transform, name = HourTransform(), f"{column}_hour"
        case _:
            transform, name = IdentityTransform(), column
    source = iceberg_schema(definition).find_field(column).field_id
    return PartitionSpec(
        PartitionField(source_id=source, field_id=PARTITION_FIELD_ID_START, transform=transform, name=name)
    )


def decoder_type(definition: Definition, *, forbid_unknown_fields: bool = False) -> type[msgspec.Struct]:
    """The struct that one JSON record is decoded into: attributes `f0…fn`, in the definition's order.

    Coerced numbers are numbers or their text. Fields of type json and coerced strings are `msgspec.Raw`: never None,
    `null` where the key is missing; they keep the buffer that they were decoded from alive. `forbid_unknown_fields`:
    keys that the definition has not, also inside of structs, raise a ValidationError; without it they are skipped.
    """
    return _struct(
        "Record",
        [(field.key, *_field_parts(field, forbid_unknown_fields)) for field in definition.fields],
        forbid_unknown_fields,
    )


def is_raw(field: Field) -> bool:
    """Whether a field is decoded as raw JSON."""
    row = row_of(field.type)
    return row is not None and (row.is_raw or (field.coerce and row.is_text))


def arrow_type(type_: FieldType) -> pa.DataType:
    """The Arrow type of a field's values."""
    if isinstance(type_, dict):
        match type_["type"]:
            case "list":
                return pa.list_(pa.field("element", arrow_type(type_["element"])))
            case "map":
                return pa.map_(arrow_type(type_["key"]), pa.field("value", arrow_type(type_["value"])))
            case _:
                return pa.struct([(inner["name"], arrow_type(inner["type"])) for inner in type_["fields"]])
    make, *arguments = plain_type(type_).arrow
    return getattr(pa, str(make))(*arguments)


def _iceberg_type(type_: FieldType) -> IcebergType:
    """The Iceberg type; its ids only keep it valid until fresh ones are assigned."""
    if isinstance(type_, dict):
        match type_["type"]:
            case "list":
                return ListType(element_id=1, element_type=_iceberg_type(type_["element"]), element_required=False)
            case "map":
                return MapType(
                    key_id=1,
                    key_type=_iceberg_type(type_["key"]),
                    value_id=2,
                    value_type=_iceberg_type(type_["value"]),
                    value_required=False,
                )
            case _:
                return StructType(
                    *(
                        NestedField(
                            field_id=number,
                            name=inner["name"],
                            field_type=_iceberg_type(inner["type"]),
                            required=False,
                            doc=inner.get("doc"),
                        )
                        for number, inner in enumerate(type_["fields"], start=1)
                    )
                )
    make, *arguments = plain_type(type_).iceberg
    made: IcebergType = getattr(pyiceberg.types, str(make))(*arguments)
    return made


def _field_parts(field: Field, forbid: bool) -> tuple[Any, Any]:
    """The type that msgspec checks, and what stands for a missing key (NODEFAULT: the record is rejected)."""
    if is_raw(field):
        if field.has_default:
            return msgspec.Raw, json_text(field.default)
        return msgspec.Raw, (NULL if field.nullable else msgspec.NODEFAULT)
    type_ = _value_type(field, forbid)
    if field.has_default:  # it may hold keys that its struct has not: nobody looks for those
        return type_, msgspec.json.decode(json_text(field.default), type=_value_type(field, False))
    return type_, (None if field.nullable else msgspec.NODEFAULT)


def _value_type(field: Field, forbid: bool) -> Any:
    type_: Any
    if field.format is not None:
        scale = 1_000_000 // EPOCH_MICROSECONDS[field.format]
        low, high = EPOCH_RANGE
        type_ = Annotated[float, msgspec.Meta(ge=low * scale, lt=(high + 1) * scale)]
    else:
        type_ = json_type(field.type, forbid)
        if field.coerce and type_ is not Decimal:  # which takes text anyway
            type_ = type_ | str
    return type_ | None if field.nullable else type_


def json_type(type_: FieldType, forbid: bool = False) -> Any:
    """What msgspec checks a value against, where it is not null; `forbid` as `forbid_unknown_fields` of records."""
    if isinstance(type_, dict):
        match type_["type"]:
            case "list":
                return list[_nullable(type_["element"], type_["element-required"], forbid)]  # type: ignore[misc] # made at run time
            case "map":
                value = _nullable(type_["value"], type_["value-required"], forbid)
                return dict[json_type(type_["key"], forbid), value]  # type: ignore[misc] # made at run time
            case _:
                return _struct(
                    "Nested", [(inner["name"], *_inner_parts(inner, forbid)) for inner in type_["fields"]], forbid
                )
    return plain_type(type_).decoded


def _inner_parts(inner: dict[str, Any], forbid: bool) -> tuple[Any, Any]:
    missing: Any = msgspec.NODEFAULT if inner["required"] else missing_of(inner["type"])
    return _nullable(inner["type"], inner["required"], forbid), missing


def missing_of(type_: FieldType) -> bytes | None:
    """What stands for a key that is missing inside of a struct."""
    row = row_of(type_)
    return NULL if row is not None and row.is_raw else None


def _nullable(type_: FieldType, required: bool, forbid: bool) -> Any:
    value = json_type(type_, forbid)
    return value if required or value is msgspec.Raw else value | None


def _struct(name: str, fields: list[tuple[str, Any, Any]], forbid: bool) -> type[msgspec.Struct]:
    """A struct with attributes `f0…fn`, so that any key is legal; without `gc=False` the collector costs five times."""
    parts: list[tuple[str, Any, Any]] = []
    for number, (_key, type_, default) in enumerate(fields):
        if isinstance(default, list | dict | msgspec.Struct):
            default = msgspec.field(default_factory=partial(_same, default))
        elif default is msgspec.NODEFAULT:
            default = msgspec.field()
        parts.append((f"f{number}", type_, default))
    rename = {f"f{number}": key for number, (key, _type, _default) in enumerate(fields)}
    return msgspec.defstruct(name, parts, rename=rename, kw_only=True, gc=False, forbid_unknown_fields=forbid)


def _same(value: Any) -> Any:
    """A default shared by all records: nothing writes to decoded values."""
    return value
