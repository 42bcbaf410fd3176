"""A processing config as it stands in the registry → a checked `ProcessingConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metadata.errors import ConfigurationError
from metadata.types.config import (
    TRANSFORM,
    Dedupe,
    OnRedelivery,
    OnSameContent,
    ProcessingConfig,
    RetryConfig,
    SummaryConfig,
    UnknownFields,
)
from metadata.types.definition import DATE_COLUMN, TYPE_NAME, Definition
from metadata.types.fault_list import is_int, name_list, one_of, show, show_type, unique, unknown_keys
from metadata.types.field_types import PLAIN_TYPES, row_of


def parse_config(raw: object, partition_column: str | None, definition: Definition) -> ProcessingConfig:
    """Check a processing config against its definition; None and `{}` give the defaults.

    `partition_column` is the older name of `partition_by`: it counts when that is absent and must agree when it is not.
    Raises ConfigurationError with all faults.
    """
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        raise ConfigurationError("reading a processing config", [f"it must be a JSON object, not {show(raw)}"])
    faults: list[str] = []
    unknown_keys(raw, tuple(ProcessingConfig.model_fields), "processing_config", faults)
    values: dict[str, Any] = {}
    for key, built in (("format", "iceberg"), ("write_mode", "append")):
        values[key] = raw.get(key, built)
        if values[key] != built:
            faults.append(f'{key} {show(values[key])} is not built yet; use "{built}"')
    for key in ("flush_max_files", "flush_max_bytes", "flush_max_age_seconds"):
        values[key] = raw.get(key)
        if values[key] is not None and (not is_int(values[key]) or values[key] < 1):
            faults.append(f"{key} must be a whole number from 1, not {show(values[key])}")
    values["partition_by"] = _partition_by(raw.get("partition_by"), partition_column, definition, faults)
    if raw.get("summary") is not None:
        values["summary"] = _summary(raw["summary"], definition, faults)
    if raw.get("retry") is not None:
        values["retry"] = _retry(raw["retry"], faults)
    values["on_same_content"] = one_of(raw, "on_same_content", OnSameContent.SKIP, faults)
    values["on_redelivery"] = one_of(raw, "on_redelivery", OnRedelivery.APPEND, faults)
    values["unknown_fields"] = one_of(raw, "unknown_fields", UnknownFields.RESCUE, faults)
    if raw.get("dedupe") is not None:
        values["dedupe"] = one_of(raw, "dedupe", Dedupe.PRIMARY_KEY, faults)
        if not definition.primary_key:
            faults.append('dedupe: the schema has no "primary_key" that tells records apart')
    ratio = raw.get("max_rejected_ratio", 0.5)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1:
        faults.append(f"max_rejected_ratio must be a number from 0 to 1, not {show(ratio)}")
    values["max_rejected_ratio"] = ratio
    values["max_rejected_records"] = raw.get("max_rejected_records")
    if values["max_rejected_records"] is not None and (
        not is_int(values["max_rejected_records"]) or values["max_rejected_records"] < 0
    ):
        faults.append(f"max_rejected_records must be a whole number from 0, not {show(values['max_rejected_records'])}")
    if faults:
        raise ConfigurationError("reading a processing config", faults)
    return ProcessingConfig(**values)


def _partition_by(raw: object, column: object, definition: Definition, faults: list[str]) -> str:
    for label, value in (("partition_by", raw), ("partition_column", column)):
        if value is not None and not isinstance(value, str):
            faults.append(f"{label} must be text, not {show(value)}")
            return DATE_COLUMN
    text = str(raw if raw is not None else column if column is not None else DATE_COLUMN).strip()
    match = TRANSFORM.fullmatch(text)
    name = match[2] if match else text
    if raw is not None and column is not None and str(column).strip() not in (text, name):
        faults.append(f'partition_column {show(column)} disagrees with "partition_by": {show(raw)}; leave one out')
    if match is None and text in (DATE_COLUMN, "none"):
        return text
    try:
        type_ = definition.field(name).type
    except KeyError:
        faults.append(
            f"partition_by {show(text)}: it must be date, day(field), hour(field), a field, or none; "
            f"the fields are {_names(definition)}"
        )
        return DATE_COLUMN
    row, transform = row_of(type_), match[1] if match else "identity"
    if row is not None and transform in row.partitions:
        return f"{transform}({name})" if match else name
    if match:
        allowed = [other for other, each in PLAIN_TYPES.items() if transform in each.partitions]
        faults.append(f'partition_by {show(text)}: field "{name}" is {show_type(type_)}, not a {" or ".join(allowed)}')
    else:
        faults.append(f'partition_by {show(text)}: {show_type(type_)} (field "{name}") cannot divide a table')
    return DATE_COLUMN


def _summary(raw: object, definition: Definition, faults: list[str]) -> SummaryConfig | None:
    if not isinstance(raw, Mapping):
        faults.append(f"summary must be a JSON object, not {show(raw)}")
        return None
    before = len(faults)
    unknown_keys(raw, tuple(SummaryConfig.model_fields), "summary", faults)
    names = [field.name for field in definition.fields]
    table = raw.get("table")
    if not isinstance(table, str) or not TYPE_NAME.fullmatch(table):
        faults.append(f'summary: "table" must be of a-z, 0-9 and _, and begin with a letter, not {show(table)}')
    key = name_list(raw.get("key"), names, "summary: key", faults)
    if not key:
        faults.append('summary: "key" must name at least one field')
    latest = name_list(raw.get("latest", []), names, "summary: latest", faults)
    time_name = raw.get("time")
    if time_name not in names:
        faults.append(
            f'summary: "time" must name a timestamp field, not {show(time_name)}; known are {_names(definition)}'
        )
    elif definition.field(str(time_name)).type != "timestamp":
        faults.append(
            f'summary: "time" must name a timestamp, "{time_name}" is a {definition.field(str(time_name)).type}'
        )
    for name in key:
        if isinstance(definition.field(name).type, dict):
            faults.append(
                f'summary: key "{name}" is {show_type(definition.field(name).type)}; a key needs a plain type'
            )
    if len(faults) > before:
        return None
    summary = SummaryConfig(table=str(table), key=key, time=str(time_name), latest=latest)
    unique(((column.lower(), column) for column in summary.columns), "summary: column", faults)
    return summary


def _retry(raw: object, faults: list[str]) -> RetryConfig | None:
    if not isinstance(raw, Mapping):
        faults.append(f'retry must be a JSON object, as in {{"attempts": 3}}, not {show(raw)}')
        return None
    before = len(faults)
    unknown_keys(raw, tuple(RetryConfig.model_fields), "retry", faults)
    attempts = raw.get("attempts")
    if attempts is not None and not (is_int(attempts) and 1 <= attempts <= 100):
        faults.append(f"retry: attempts must be a whole number from 1 to 100, not {show(attempts)}")
    for key in ("first_wait_seconds", "longest_wait_seconds"):
        seconds = raw.get(key)
        if seconds is None:
            continue
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 3600:
            faults.append(f"retry: {key} must be a number above 0, at most 3600, not {show(seconds)}")
    return RetryConfig(**raw) if len(faults) == before else None


def _names(definition: Definition) -> str:
    return ", ".join(field.name for field in definition.fields)
