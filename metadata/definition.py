"""What a file type is: its fields, names and processing; pure values, checked when they are parsed.

`parse_definition` and `parse_config` are the only makers of checked values, and they say every fault at once. Types
of fields are Iceberg's, written as Iceberg writes them in JSON, and `json` for "any value, kept as JSON text".
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum, StrEnum
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from metadata.deliveries import DeliveryPolicy, OnRedelivery, OnSameContent
from metadata.errors import ConfigurationError

DATE_COLUMN = "date"
LINEAGE = ("_source_file", "_file_id", "_record_no", "_batch_id")
RESCUED = "_rescued"
"""The columns that every raw table has after its type's own: the date, its lineage, and JSON of what its schema does
not know; no field may take their names."""

RAW_NAMESPACE = "raw_data"

PLAIN_TYPES = frozenset(
    {"boolean", "int", "long", "float", "double", "date", "time", "timestamp", "string", "uuid", "binary", "json"}
)
_OTHER_NAMES = {
    "timestamptz": 'use "timestamp": it is stored as timestamptz, in UTC',
    "timestamp_ns": 'use "timestamp": microseconds, in UTC',
    "timestamptz_ns": 'use "timestamp": microseconds, in UTC',
    "datetime": 'use "timestamp"',
    "bool": 'use "boolean"',
    "integer": 'use "int" (32 bits) or "long" (64 bits)',
    "bigint": 'use "long"',
    "number": 'use "double", "long" or "decimal(p,s)"',
    "numeric": 'use "decimal(p,s)"',
    "decimal": 'give its digits, as in "decimal(10,2)"',
    "real": 'use "float"',
    "str": 'use "string"',
    "text": 'use "string"',
    "varchar": 'use "string"',
    "bytes": 'use "binary"',
    "object": 'use "json", or a struct in Iceberg\'s JSON form',
    "array": "use a list in Iceberg's JSON form",
    "list": 'give its element, as in {"type": "list", "element": "string"}',
    "map": 'give its key and value, as in {"type": "map", "key": "string", "value": "long"}',
    "struct": 'give its fields, as in {"type": "struct", "fields": [{"name": "x", "type": "long"}]}',
}
_DECIMAL = re.compile(r"decimal\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TRANSFORM = re.compile(r"(day|hour)\(\s*([^()]+?)\s*\)")
_MAX_DEPTH = 16
_Choice = TypeVar("_Choice", bound=StrEnum)

FieldType = str | dict[str, Any]
"""`"long"`, `"decimal(10,2)"`, …, or a struct, list or map in Iceberg's JSON form without its ids."""


class Unset(Enum):
    """The one member stands for "nothing was given" where null is a value; it survives pickling."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


class TypeStatus(StrEnum):
    """Whether files of a type are taken."""

    INACTIVE = "inactive"  #: known by name only, or not switched on yet; its files are held
    ACTIVE = "active"  #: its files are claimed and loaded
    DISABLED = "disabled"  #: an admin switched it off; its files are held


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Field(_Value):
    """One column of a type and the JSON key that it is read from."""

    name: str
    type: FieldType
    nullable: bool = True
    default: Any = UNSET  #: as it would stand in JSON; for a missing key, never for a null
    source: str | None = None
    format: Literal["epoch_s", "epoch_ms"] | None = None
    coerce: bool = False  #: a string that also takes numbers and booleans, a number that also takes its text
    description: str | None = None
    renamed_from: str | None = None  #: the table's column of that name becomes this one
    enum: tuple[Any, ...] | None = None  #: the only values it takes, as they stand in JSON
    min: Any = None  #: the smallest value it takes, as it stands in JSON
    max: Any = None
    pattern: str | None = None  #: a regular expression that is found somewhere in its text
    max_length: int | None = None  #: of its text, in characters

    @property
    def key(self) -> str:
        """The JSON key that holds the value."""
        return self.name if self.source is None else self.source

    @property
    def has_default(self) -> bool:
        """Whether a missing key gets a default; the default may be null."""
        return self.default is not UNSET

    @property
    def required(self) -> bool:
        """Whether a record without this key is rejected."""
        return not self.nullable and not self.has_default


class Definition(_Value):
    """The records of a type, as parsed and checked by `parse_definition`."""

    fields: tuple[Field, ...]
    primary_key: tuple[str, ...] = ()
    root: str | None = None  #: dotted path to the array of records

    def field(self, name: str) -> Field:
        """The field of that name; KeyError when there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @property
    def required(self) -> tuple[Field, ...]:
        """The fields without which a record is rejected."""
        return tuple(field for field in self.fields if field.required)


class UnknownFields(StrEnum):
    """What becomes of keys that a record has and its schema has not."""

    RESCUE = "rescue"  #: they are kept as JSON in the column `_rescued`
    IGNORE = "ignore"  #: they are left out
    REJECT = "reject"  #: the record is rejected


class Dedupe(StrEnum):
    """What makes a record one that is there already."""

    PRIMARY_KEY = "primary_key"  #: its key is in the same batch, or in the partitions that the batch touches


class SummaryConfig(_Value):
    """A daily summary: per key and UTC day of `time`, the last time and the `latest` columns as they were then."""

    table: str
    key: tuple[str, ...]
    time: str
    latest: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The summary table's columns, in order."""
        return (*self.key, "day", f"last_{self.time}", *(f"last_{name}" for name in self.latest))


class RetryConfig(_Value):
    """A type's own numbers for attempts at its micro-batches; None follows the table in `metadata.retries`."""

    attempts: int | None = None  #: in all, the first included
    first_wait_seconds: float | None = None
    longest_wait_seconds: float | None = None


class ProcessingConfig(_Value):
    """How a type's files become rows; thresholds that are None follow the settings."""

    partition_by: str = DATE_COLUMN  #: date, day(field), hour(field), a field, or none
    format: str = "iceberg"
    write_mode: str = "append"
    summary: SummaryConfig | None = None
    flush_max_files: int | None = None
    flush_max_bytes: int | None = None
    flush_max_age_seconds: int | None = None
    retry: RetryConfig | None = None
    on_same_content: OnSameContent = OnSameContent.SKIP
    on_redelivery: OnRedelivery = OnRedelivery.APPEND
    unknown_fields: UnknownFields = UnknownFields.RESCUE
    dedupe: Dedupe | None = None
    max_rejected_ratio: float = 0.5  #: of a file's records; beyond it the file loads nothing and goes to error/
    max_rejected_records: int | None = None  #: likewise, a number of records

    @property
    def deliveries(self) -> DeliveryPolicy:
        """What becomes of files that were delivered before."""
        return DeliveryPolicy(self.on_same_content, self.on_redelivery)

    @property
    def partition(self) -> tuple[Literal["identity", "day", "hour"], str] | None:
        """The partition's transform and column; None when the table has no partitions."""
        if self.partition_by == "none":
            return None
        match = _TRANSFORM.fullmatch(self.partition_by)
        if match is None:
            return "identity", self.partition_by
        return ("day" if match[1] == "day" else "hour"), match[2]


@dataclass(frozen=True)
class FileType:
    """A row of the registry, checked; `definition` is None for a type that discovery made."""

    name: str
    table_name: str  #: namespace.table
    patterns: tuple[str, ...]
    status: TypeStatus
    definition: Definition | None
    schema_version: int
    config: ProcessingConfig
    description: str | None = None


def file_type_name(text: object) -> str:
    """The name of a file type; raises ConfigurationError when it cannot be one."""
    if isinstance(text, str) and _TYPE_NAME.fullmatch(text):
        return text
    raise ConfigurationError(
        "reading a file type",
        [f"file_type {_show(text)} must be 1 to 63 of a-z, 0-9 and _, and begin with a letter"],
    )


def table_identifier(text: object) -> str:
    """`x` and `raw_data.x` both name the table `raw_data.x`; raises ConfigurationError for anything else."""
    if isinstance(text, str):
        name = text.removeprefix(f"{RAW_NAMESPACE}.")
        if _TYPE_NAME.fullmatch(name):
            return f"{RAW_NAMESPACE}.{name}"
    raise ConfigurationError(
        "reading a file type",
        [
            f"table_name {_show(text)} must be 1 to 63 of a-z, 0-9 and _, beginning with a letter; "
            f"its namespace is always {RAW_NAMESPACE}"
        ],
    )


def parse_definition(raw: object) -> Definition:
    """Check a schema definition as it stands in the registry.

    Raises ConfigurationError with all its faults, each naming the field it is about.
    """
    faults: list[str] = []
    fields: list[Field] = []
    if not isinstance(raw, Mapping):
        raise ConfigurationError("reading a schema definition", [f"it must be a JSON object, not {_show(raw)}"])
    _unknown_keys(raw, ("fields", "primary_key", "root"), "the definition", faults)
    listed = raw.get("fields")
    if not isinstance(listed, list) or not listed:
        faults.append('"fields" must be a list of at least one field')
        listed = []
    for number, item in enumerate(listed, start=1):
        field = _parse_field(item, number, faults)
        if field is not None:
            fields.append(field)
    named = [item for item in listed if isinstance(item, Mapping) and isinstance(item.get("name"), str)]
    _unique(((item["name"].lower(), item["name"]) for item in named), "field name, whatever the case,", faults)
    _unique(((str(item.get("source") or item["name"]), item["name"]) for item in named), "JSON key", faults)
    for item in named:
        if item["name"].lower() in (DATE_COLUMN, *LINEAGE, RESCUED):
            cure = f'give it another name and "source": "{item.get("source") or item["name"]}"'
            faults.append(f'field "{item["name"]}": every table has a column of that name already; {cure}')
    names = [item["name"] for item in named]
    primary_key = _name_list(raw.get("primary_key", []), names, "primary_key", faults)
    for field in fields:
        if field.name in primary_key and isinstance(field.type, dict):
            faults.append(f'primary_key: field "{field.name}" is a {field.type["type"]}; a key needs a plain type')
    root = raw.get("root")
    if root is not None and not (isinstance(root, str) and all(root.split("."))):
        faults.append(f'"root" must be the keys that lead to the records, joined by dots, not {_show(root)}')
        root = None
    if faults:
        raise ConfigurationError("reading a schema definition", faults)
    return Definition(fields=tuple(fields), primary_key=primary_key, root=root)


def parse_config(raw: object, partition_column: str | None, definition: Definition) -> ProcessingConfig:
    """Check a processing config against its definition; None and `{}` give the defaults.

    `partition_column` is the older name of `partition_by`: it counts when that is absent and must agree when it is not.
    Raises ConfigurationError with all faults.
    """
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        raise ConfigurationError("reading a processing config", [f"it must be a JSON object, not {_show(raw)}"])
    faults: list[str] = []
    _unknown_keys(raw, tuple(ProcessingConfig.model_fields), "processing_config", faults)
    values: dict[str, Any] = {}
    for key, built in (("format", "iceberg"), ("write_mode", "append")):
        values[key] = raw.get(key, built)
        if values[key] != built:
            faults.append(f'{key} {_show(values[key])} is not built yet; use "{built}"')
    for key in ("flush_max_files", "flush_max_bytes", "flush_max_age_seconds"):
        values[key] = raw.get(key)
        if values[key] is not None and (not _is_int(values[key]) or values[key] < 1):
            faults.append(f"{key} must be a whole number from 1, not {_show(values[key])}")
    values["partition_by"] = _partition_by(raw.get("partition_by"), partition_column, definition, faults)
    if raw.get("summary") is not None:
        values["summary"] = _summary(raw["summary"], definition, faults)
    if raw.get("retry") is not None:
        values["retry"] = _retry(raw["retry"], faults)
    values["on_same_content"] = _one_of(raw, "on_same_content", OnSameContent.SKIP, faults)
    values["on_redelivery"] = _one_of(raw, "on_redelivery", OnRedelivery.APPEND, faults)
    values["unknown_fields"] = _one_of(raw, "unknown_fields", UnknownFields.RESCUE, faults)
    if raw.get("dedupe") is not None:
        values["dedupe"] = _one_of(raw, "dedupe", Dedupe.PRIMARY_KEY, faults)
        if not definition.primary_key:
            faults.append('dedupe: the schema has no "primary_key" that tells records apart')
    ratio = raw.get("max_rejected_ratio", 0.5)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1:
        faults.append(f"max_rejected_ratio must be a number from 0 to 1, not {_show(ratio)}")
    values["max_rejected_ratio"] = ratio
    values["max_rejected_records"] = raw.get("max_rejected_records")
    if values["max_rejected_records"] is not None and (
        not _is_int(values["max_rejected_records"]) or values["max_rejected_records"] < 0
    ):
        faults.append(
            f"max_rejected_records must be a whole number from 0, not {_show(values['max_rejected_records'])}"
        )
    if faults:
        raise ConfigurationError("reading a processing config", faults)
    return ProcessingConfig(**values)


def decimal_digits(type_: FieldType) -> tuple[int, int] | None:
    """Precision and scale of a decimal type; None for other types."""
    match = _DECIMAL.fullmatch(type_) if isinstance(type_, str) else None
    return (int(match[1]), int(match[2])) if match else None


def fit_decimal(number: Decimal, precision: int, scale: int) -> Decimal:
    """The same number with no more than `scale` decimals written out, so that nothing has to be rounded later.

    Raises ValueError when it is no finite number, and OverflowError when it needs other digits than the type has.
    """
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("is no number")
    if not number:
        return Decimal(0)
    if number.adjusted() >= precision - scale:
        raise OverflowError(f"does not fit in decimal({precision},{scale})")
    surplus = -scale - exponent
    if surplus <= 0:
        return number
    if surplus >= len(digits) or any(digits[-surplus:]):
        raise OverflowError(f"does not fit in decimal({precision},{scale}) without rounding")
    return Decimal((sign, digits[:-surplus], -scale))


def _parse_field(raw: object, number: int, faults: list[str]) -> Field | None:
    """One field, or None when it has a fault that hides the rest of it."""
    if not isinstance(raw, Mapping):
        faults.append(f"field {number} must be a JSON object, not {_show(raw)}")
        return None
    name = raw.get("name")
    where = f'field "{name}"' if isinstance(name, str) and name else f"field {number}"
    before = len(faults)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        cure = 'other keys of the JSON are read with "source"'
        faults.append(f'{where}: its "name" must be of A-Z, a-z, 0-9 and _, and not begin with a digit; {cure}')
    _unknown_keys(raw, tuple(Field.model_fields), where, faults)
    for key, kind, words in (
        ("nullable", bool, "true or false"),
        ("coerce", bool, "true or false"),
        ("source", str, "text"),
        ("description", str, "text"),
        ("renamed_from", str, "the name of a column"),
    ):
        if key in raw and not isinstance(raw[key], kind) and not (kind is str and raw[key] is None):
            faults.append(f'{where}: "{key}" must be {words}, not {_show(raw[key])}')
    type_ = _parse_type(raw.get("type"), where, faults)
    given_format = raw.get("format")
    if given_format is not None and given_format not in ("epoch_s", "epoch_ms"):
        faults.append(f'{where}: "format" must be "epoch_s" or "epoch_ms", not {_show(given_format)}')
    elif given_format is not None and type_ not in ("timestamp", None):
        faults.append(f'{where}: "format" is for timestamps, this field is {_show_type(type_)}')
    if raw.get("coerce") is True and type_ not in ("string", None):
        faults.append(f'{where}: "coerce" is for strings, this field is {_show_type(type_)}')
    if "default" in raw and type_ is not None and len(faults) == before:
        if raw["default"] is None:
            if raw.get("nullable", True) is False:
                faults.append(f'{where}: its default is null, but it is "nullable": false')
        else:
            fault = _value_fault(raw["default"], type_, given_format, raw.get("coerce", False))
            if fault:
                faults.append(f"{where}: its default {_show(raw['default'])} {fault}")
    if len(faults) > before or type_ is None:
        return None
    return Field(**{**raw, "type": type_})


def _parse_type(raw: object, where: str, faults: list[str], depth: int = 0) -> FieldType | None:
    """The type without Iceberg's ids and with every key there; None when it has faults."""
    if depth > _MAX_DEPTH:
        faults.append(f"{where}: its type is nested deeper than {_MAX_DEPTH}")
        return None
    if isinstance(raw, str):
        return _parse_plain_type(raw, where, faults)
    if not isinstance(raw, Mapping):
        faults.append(f'{where}: its "type" must be a type\'s name or a JSON object, not {_show(raw)}')
        return None
    match raw.get("type"):
        case "list":
            return _parse_list(raw, where, faults, depth)
        case "map":
            return _parse_map(raw, where, faults, depth)
        case "struct":
            return _parse_struct(raw, where, faults, depth)
        case other:
            faults.append(f'{where}: a nested type is a "struct", "list" or "map", not {_show(other)}')
            return None


def _parse_plain_type(raw: str, where: str, faults: list[str]) -> str | None:
    if raw in PLAIN_TYPES:
        return raw
    digits = decimal_digits(raw)
    if digits:
        precision, scale = digits
        if 1 <= precision <= 38 and scale <= precision:
            return f"decimal({precision},{scale})"
        faults.append(f"{where}: {raw} must have 1 to 38 digits, and not more of them behind the point")
        return None
    hint = (
        _OTHER_NAMES.get(raw.lower()) or f"known are {', '.join(sorted(PLAIN_TYPES))}, decimal(p,s), struct, list, map"
    )
    faults.append(f"{where}: there is no type {_show(raw)}; {hint}")
    return None


def _parse_list(raw: Mapping[str, Any], where: str, faults: list[str], depth: int) -> FieldType | None:
    _unknown_keys(raw, ("type", "element", "element-id", "element-required"), where, faults)
    element = _parse_type(raw.get("element"), f"{where}, list element", faults, depth + 1)
    required = _flag(raw, "element-required", where, faults)
    return None if element is None else {"type": "list", "element": element, "element-required": required}


def _parse_map(raw: Mapping[str, Any], where: str, faults: list[str], depth: int) -> FieldType | None:
    _unknown_keys(raw, ("type", "key", "key-id", "value", "value-id", "value-required"), where, faults)
    key = raw.get("key")
    if key not in ("string", "int", "long"):
        faults.append(
            f'{where}: the keys of a map stand in JSON as text; use "string", "int" or "long", not {_show(key)}'
        )
        key = None
    value = _parse_type(raw.get("value"), f"{where}, map value", faults, depth + 1)
    required = _flag(raw, "value-required", where, faults)
    if key is None or value is None:
        return None
    return {"type": "map", "key": key, "value": value, "value-required": required}


def _parse_struct(raw: Mapping[str, Any], where: str, faults: list[str], depth: int) -> FieldType | None:
    before = len(faults)
    _unknown_keys(raw, ("type", "fields", "schema-id", "identifier-field-ids"), where, faults)
    listed = raw.get("fields")
    if not isinstance(listed, list) or not listed:
        faults.append(f'{where}: a struct\'s "fields" must be a list of at least one field')
        return None
    fields: list[dict[str, Any]] = []
    for number, item in enumerate(listed, start=1):
        if not isinstance(item, Mapping):
            faults.append(f"{where}, struct field {number}: it must be a JSON object, not {_show(item)}")
            continue
        name = item.get("name")
        inner = f'{where}, struct field "{name}"' if isinstance(name, str) else f"{where}, struct field {number}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            faults.append(f'{inner}: its "name" must be of A-Z, a-z, 0-9 and _, and not begin with a digit')
        _unknown_keys(item, ("id", "name", "type", "required", "doc"), inner, faults)
        required = _flag(item, "required", inner, faults)
        doc = item.get("doc")
        if doc is not None and not isinstance(doc, str):
            faults.append(f'{inner}: "doc" must be text, not {_show(doc)}')
        type_ = _parse_type(item.get("type"), inner, faults, depth + 1)
        fields.append({"name": name, "type": type_, "required": required, **({"doc": doc} if doc else {})})
    _unique(
        ((str(field["name"]).lower(), str(field["name"])) for field in fields), f"{where}: struct field name", faults
    )
    return {"type": "struct", "fields": fields} if len(faults) == before else None


def _value_fault(value: object, type_: FieldType, format_: str | None, coerce: bool) -> str | None:
    """Why this JSON value is none of that type, or None when it is."""
    if isinstance(type_, dict):
        return _nested_fault(value, type_)
    if type_ == "json":
        return None
    if type_ == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if type_ in ("int", "long"):
        bits = 31 if type_ == "int" else 63
        fits = isinstance(value, int) and not isinstance(value, bool) and -(2**bits) <= value < 2**bits
        return None if fits else f"must be a whole number of {bits + 1} bits"
    if type_ in ("float", "double") or format_:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return None if fits else "must be a number"
    if (digits := decimal_digits(type_)) is not None:
        return _decimal_fault(value, *digits)
    if coerce and isinstance(value, int | float):
        return None
    if not isinstance(value, str):
        return f"must be text, as a {type_} stands in JSON"
    try:
        _PARSERS[type_](value)
    except (ValueError, binascii.Error):
        return f"is no {type_}"
    return None


def _nested_fault(value: object, type_: dict[str, Any]) -> str | None:
    if type_["type"] == "list":
        if not isinstance(value, list):
            return "must be a list"
        return _first_fault((item, type_["element"], type_["element-required"]) for item in value)
    if not isinstance(value, Mapping):
        return "must be a JSON object"
    if type_["type"] == "map":
        for key in value:
            if type_["key"] != "string" and not re.fullmatch(r"-?(0|[1-9]\d{0,17})", key):
                return f"has the key {_show(key)}, which is no {type_['key']}"
        return _first_fault((item, type_["value"], type_["value-required"]) for item in value.values())
    return _first_fault((value.get(inner["name"]), inner["type"], inner["required"]) for inner in type_["fields"])


def _first_fault(values: Iterable[tuple[object, FieldType, bool]]) -> str | None:
    for value, type_, required in values:
        fault = (
            ("must not hold null" if required else None) if value is None else _value_fault(value, type_, None, False)
        )
        if fault:
            return fault if value is None else f"holds {_show(value)}, which {fault}"
    return None


def _decimal_fault(value: object, precision: int, scale: int) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return "must be a number or its text"
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return "is no number"
    try:
        fit_decimal(number, precision, scale)
    except (ValueError, OverflowError) as error:
        return str(error)
    return None


def _parse_text(value: str) -> None:
    value.encode()  # a lone surrogate is no text


def _parse_binary(value: str) -> None:
    base64.b64decode(value, validate=True)


_PARSERS: dict[str, Any] = {
    "string": _parse_text,
    "binary": _parse_binary,
    "uuid": UUID,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timestamp": datetime.fromisoformat,
}


def _partition_by(raw: object, column: object, definition: Definition, faults: list[str]) -> str:
    for label, value in (("partition_by", raw), ("partition_column", column)):
        if value is not None and not isinstance(value, str):
            faults.append(f"{label} must be text, not {_show(value)}")
            return DATE_COLUMN
    text = str(raw if raw is not None else column if column is not None else DATE_COLUMN).strip()
    match = _TRANSFORM.fullmatch(text)
    name = match[2] if match else text
    if raw is not None and column is not None and str(column).strip() not in (text, name):
        faults.append(f'partition_column {_show(column)} disagrees with "partition_by": {_show(raw)}; leave one out')
    if match is None and text in (DATE_COLUMN, "none"):
        return text
    try:
        type_ = definition.field(name).type
    except KeyError:
        faults.append(
            f"partition_by {_show(text)}: it must be date, day(field), hour(field), a field, or none; "
            f"the fields are {_names(definition)}"
        )
        return DATE_COLUMN
    allowed = {"day": ("date", "timestamp"), "hour": ("timestamp",)}.get(match[1] if match else "")
    if allowed is not None and type_ not in allowed:
        faults.append(
            f'partition_by {_show(text)}: field "{name}" is {_show_type(type_)}, not a {" or ".join(allowed)}'
        )
    elif isinstance(type_, dict) or type_ in ("json", "binary", "float", "double"):
        faults.append(f'partition_by {_show(text)}: {_show_type(type_)} (field "{name}") cannot divide a table')
    return f"{match[1]}({name})" if match else name


def _summary(raw: object, definition: Definition, faults: list[str]) -> SummaryConfig | None:
    if not isinstance(raw, Mapping):
        faults.append(f"summary must be a JSON object, not {_show(raw)}")
        return None
    before = len(faults)
    _unknown_keys(raw, tuple(SummaryConfig.model_fields), "summary", faults)
    names = [field.name for field in definition.fields]
    table = raw.get("table")
    if not isinstance(table, str) or not _TYPE_NAME.fullmatch(table):
        faults.append(f'summary: "table" must be of a-z, 0-9 and _, and begin with a letter, not {_show(table)}')
    key = _name_list(raw.get("key"), names, "summary: key", faults)
    if not key:
        faults.append('summary: "key" must name at least one field')
    latest = _name_list(raw.get("latest", []), names, "summary: latest", faults)
    time_name = raw.get("time")
    if time_name not in names:
        faults.append(
            f'summary: "time" must name a timestamp field, not {_show(time_name)}; known are {_names(definition)}'
        )
    elif definition.field(str(time_name)).type != "timestamp":
        faults.append(
            f'summary: "time" must name a timestamp, "{time_name}" is a {definition.field(str(time_name)).type}'
        )
    for name in key:
        if isinstance(definition.field(name).type, dict):
            faults.append(
                f'summary: key "{name}" is {_show_type(definition.field(name).type)}; a key needs a plain type'
            )
    if len(faults) > before:
        return None
    summary = SummaryConfig(table=str(table), key=key, time=str(time_name), latest=latest)
    _unique(((column.lower(), column) for column in summary.columns), "summary: column", faults)
    return summary


def _name_list(raw: object, names: Iterable[object], label: str, faults: list[str]) -> tuple[str, ...]:
    """The names that exist; what else stands in the list becomes faults."""
    if raw is None:
        raw = []
    if not isinstance(raw, list | tuple) or not all(isinstance(name, str) for name in raw):
        faults.append(f"{label} must be a list of field names, not {_show(raw)}")
        return ()
    known = list(names)
    for name in raw:
        if name not in known:
            faults.append(f'{label}: there is no field "{name}"; known are {", ".join(map(str, known))}')
    _unique(((name, name) for name in raw), f"{label}: field", faults)
    return tuple(dict.fromkeys(name for name in raw if name in known))


def _unique(pairs: Iterable[tuple[str, str]], what: str, faults: list[str]) -> None:
    """Add a fault for each key that comes again; the second of a pair is whose key it is."""
    seen: dict[str, str] = {}
    for key, owner in pairs:
        if key in seen:
            owners = "" if key == owner == seen[key] else f' (of "{seen[key]}" and "{owner}")'
            faults.append(f'{what} "{key}" stands there twice{owners}')
        seen.setdefault(key, owner)


def _retry(raw: object, faults: list[str]) -> RetryConfig | None:
    if not isinstance(raw, Mapping):
        faults.append(f'retry must be a JSON object, as in {{"attempts": 3}}, not {_show(raw)}')
        return None
    before = len(faults)
    _unknown_keys(raw, tuple(RetryConfig.model_fields), "retry", faults)
    attempts = raw.get("attempts")
    if attempts is not None and not (_is_int(attempts) and 1 <= attempts <= 100):
        faults.append(f"retry: attempts must be a whole number from 1 to 100, not {_show(attempts)}")
    for key in ("first_wait_seconds", "longest_wait_seconds"):
        seconds = raw.get(key)
        if seconds is None:
            continue
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 3600:
            faults.append(f"retry: {key} must be a number above 0, at most 3600, not {_show(seconds)}")
    return RetryConfig(**raw) if len(faults) == before else None


def _one_of(raw: Mapping[Any, Any], key: str, default: _Choice, faults: list[str]) -> _Choice:
    kind, value = type(default), raw.get(key)
    if value is None:
        return default
    if isinstance(value, str) and value in set(kind):
        return kind(value)
    faults.append(f"{key} must be one of {', '.join(kind)}, not {_show(value)}")
    return default


def _unknown_keys(raw: Mapping[Any, Any], known: tuple[str, ...], where: str, faults: list[str]) -> None:
    for key in raw:
        if key not in known:
            faults.append(f'{where}: unknown key "{key}"; known are {", ".join(known)}')


def _flag(raw: Mapping[str, Any], key: str, where: str, faults: list[str]) -> bool:
    value = raw.get(key, False)
    if not isinstance(value, bool):
        faults.append(f'{where}: "{key}" must be true or false, not {_show(value)}')
    return value is True


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _names(definition: Definition) -> str:
    return ", ".join(field.name for field in definition.fields)


def _show_type(type_: FieldType | None) -> str:
    return f"a {type_['type']}" if isinstance(type_, dict) else f"{type_}"


def _show(value: object) -> str:
    """A hostile value in a message: short, on one line."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= 80 else f"{text[:77]}…"


BUILT_IN: tuple[dict[str, Any], ...] = (
    {
        "file_type": "vehicle_events",
        "table_name": "vehicle_events",
        "filename_patterns": ["vehicle_events", "vehicles_events"],
        "schema_definition": {
            "fields": [
                {"name": "vehicle_id", "type": "string", "nullable": False},
                {"name": "event_time", "type": "timestamp", "nullable": False},
                {"name": "event_source", "type": "string"},
                {"name": "event_type", "type": "string"},
                {
                    "name": "event_value",
                    "type": "string",
                    "coerce": True,
                    "description": "producers send text and numbers; a number keeps its JSON text",
                },
                {"name": "event_extra_data", "type": "json"},
            ],
            "primary_key": ["vehicle_id", "event_time"],
        },
        "partition_column": "date",
        "processing_config": {
            "partition_by": "date",
            "format": "iceberg",
            "write_mode": "append",
            "summary": {
                "table": "daily_summary",
                "key": ["vehicle_id"],
                "time": "event_time",
                "latest": ["event_type"],
            },
        },
        "description": "Events of vehicles: what happened to which vehicle, when",
    },
    {
        "file_type": "vehicle_status",
        "table_name": "vehicle_status",
        "filename_patterns": ["vehicle_status", "vehicles_status"],
        "schema_definition": {
            "fields": [
                {"name": "vehicle_id", "type": "string", "nullable": False},
                {"name": "report_time", "type": "timestamp", "nullable": False},
                {"name": "status_source", "type": "string"},
                {"name": "status", "type": "string"},
            ],
            "primary_key": ["vehicle_id", "report_time"],
        },
        "partition_column": "date",
        "processing_config": {"partition_by": "date", "format": "iceberg", "write_mode": "append"},
        "description": "Status reports of vehicles",
    },
)
"""The types that every installation starts with, in the form of a types file."""
