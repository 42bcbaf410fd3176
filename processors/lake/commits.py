"""Commits: one snapshot of a table, which lands once; and descriptions of the data files that go into it.

A commit cannot land twice: its snapshot's id is derived from (batch or operation id, table). PyIceberg's own retry
finds that id in the refreshed table and stops; so does a second process, and a writer that starts from a stale table.
Everything here works on a table that was just opened; `processors.lake.lake` opens it and makes errors ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyarrow.parquet import read_metadata
from pyiceberg.io.pyarrow import PYARROW_PARQUET_FIELD_ID_KEY, parquet_file_to_data_file
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update.snapshot import UpdateSnapshot, _SnapshotProducer

from metadata.errors import TypeStopped
from processors.lake.landing import current_paths, derived_snapshot_id, is_in_main

BATCH_ID = "lemonade.batch-id"
OPERATION = "lemonade.operation"
OPERATION_ID = "lemonade.operation-id"


@dataclass(frozen=True)
class Commit:
    """A commit that is in the table; `landed_before` says that it was there already and this call added nothing."""

    snapshot_id: int
    landed_before: bool


def append(
    table: Table, name: str, batch_id: str, data_files: Sequence[DataFile], properties: Mapping[str, str]
) -> Commit:
    """Add a batch's data files in one snapshot."""
    before = landed_before(table, name, batch_id)
    if before is not None:
        return before
    transaction = table.transaction()
    producer = _update(transaction, {**properties, BATCH_ID: batch_id}).fast_append()
    return _send(transaction, producer, derived_snapshot_id(batch_id, name), data_files)


def append_paths(table: Table, name: str, batch_id: str, paths: Sequence[str], properties: Mapping[str, str]) -> Commit:
    """Like `append`, from Parquet files that an earlier process wrote."""
    before = landed_before(table, name, batch_id)
    if before is not None:
        return before
    present = current_paths(table, paths)
    if present:
        raise TypeStopped(
            f"committing to table {name}, batch {batch_id}: {len(present)} of its data files are in the table "
            f"by another commit, such as {min(present)}; compare the table with `lemonade batches`",
            code="data_files_present",
        )
    return append(table, name, batch_id, described(table, name, paths), properties)


def overwrite(
    table: Table,
    name: str,
    operation: tuple[str, str],
    delete: Sequence[DataFile],
    append: Sequence[DataFile],
    properties: Mapping[str, str],
) -> int | None:
    """Take data files out and put others in, in one snapshot; `operation` is its kind and its id."""
    kind, operation_id = operation
    before = landed_before(table, name, operation_id)
    if before is not None:
        return before.snapshot_id
    if not delete and not append:
        current = table.current_snapshot()
        return current.snapshot_id if current else None
    transaction = table.transaction()
    producer = _update(transaction, {**properties, OPERATION: kind, OPERATION_ID: operation_id}).overwrite()
    for data_file in delete:
        producer.delete_data_file(data_file)
    return _send(transaction, producer, derived_snapshot_id(operation_id, name), append).snapshot_id


def landed_before(table: Table, name: str, key: str) -> Commit | None:
    """The commit of that batch or operation when it is in `main`'s history; TypeStopped when it was taken out."""
    snapshot_id = derived_snapshot_id(key, name)
    if table.snapshot_by_id(snapshot_id) is None:
        return None
    if is_in_main(table, snapshot_id):
        return Commit(snapshot_id, landed_before=True)
    raise TypeStopped(
        f"committing to table {name}: snapshot {snapshot_id} of {key} was committed before and is no longer part "
        "of the table, somebody rolled it back; restore it, or settle the batch by hand",
        code="history_cut",
    )


def described(table: Table, name: str, paths: Sequence[str]) -> list[DataFile]:
    """The descriptions of Parquet files that a worker wrote, made again from the files themselves."""
    return [_described(table, name, path) for path in paths]


def _update(transaction: Transaction, properties: Mapping[str, str]) -> UpdateSnapshot:
    return transaction.update_snapshot(snapshot_properties=dict(properties))


def _send(
    transaction: Transaction, producer: _SnapshotProducer[Any], snapshot_id: int, data_files: Sequence[DataFile]
) -> Commit:
    """Send one snapshot under its derived id."""
    producer._snapshot_id = snapshot_id
    for data_file in data_files:
        producer.append_data_file(data_file)
    producer.commit()
    table = transaction.commit_transaction()
    # A retry that found the id in the table stopped there: then the snapshot is somebody else's, not this producer's.
    landed = table.snapshot_by_id(snapshot_id)
    ours = landed is not None and str(producer.commit_uuid) in landed.manifest_list
    return Commit(snapshot_id, landed_before=not ours)


def _described(table: Table, name: str, path: str) -> DataFile:
    try:
        return parquet_file_to_data_file(table.io, _as_written(table, path), path)
    except FileNotFoundError as error:
        raise TypeStopped(
            f"committing to table {name}: data file {path} of a prepared batch is gone; restore it, or settle the "
            "batch by hand and put its source files back into incoming/",
            code="data_file_missing",
        ) from error


def _as_written(table: Table, path: str) -> TableMetadata:
    """The table's metadata with the schema that a data file was written under: its columns may have other names now."""
    with table.io.new_input(path).open() as stream:
        written = {
            (int(field.metadata[PYARROW_PARQUET_FIELD_ID_KEY]), field.name)
            for field in read_metadata(stream).schema.to_arrow_schema()
            if field.metadata and PYARROW_PARQUET_FIELD_ID_KEY in field.metadata
        }
    for schema in (table.schema(), *reversed(table.metadata.schemas)):
        if written == {(field.field_id, field.name) for field in schema.fields}:
            return table.metadata.model_copy(update={"current_schema_id": schema.schema_id})
    return table.metadata
