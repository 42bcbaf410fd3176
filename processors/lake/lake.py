"""The lake: catalog, namespaces, tables and commits, through PyIceberg.

Every private name of PyIceberg that Lemonade needs, and every translation of its errors into ours, is in this file.

A commit cannot land twice: its snapshot's id is derived from (batch or operation id, table). PyIceberg's own retry
finds that id in the refreshed table and stops; so does a second process, and a writer that starts from a stale table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pyarrow.parquet import read_metadata
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io import PY_IO_IMPL, FileIO, load_file_io
from pyiceberg.io.pyarrow import PYARROW_PARQUET_FIELD_ID_KEY, parquet_file_to_data_file
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table, Transaction
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil
from pyiceberg.table.update.snapshot import UpdateSnapshot, _SnapshotProducer
from sqlalchemy import Engine, event, make_url, text
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from metadata.errors import BatchFault, LemonadeError, TypeStopped, UnknownOutcome, WorldFault
from metadata.files.os_errors import world_code
from metadata.settings import Settings
from metadata.types.config import RAW_NAMESPACE, SUMMARY_NAMESPACE
from metadata.types.file_type import FileType
from processors.decode.schema import iceberg_schema, partition_spec
from processors.lake.durable_io import IMPLEMENTATION
from processors.lake.landing import (
    Landing,
    LandingState,
    current_paths,
    derived_snapshot_id,
    find_landing,
    is_in_main,
)
from processors.lake.table_evolution import Evolution, FormerNames, apply, evolution, former_names, version_property

__all__ = ["CATALOG_NAME", "NAMESPACES", "Commit", "Lake", "Landing", "LandingState", "TableHandle"]

CATALOG_NAME = "lemonade"  # a SQL catalog keys its entries by this name: another one shows an empty lake
NAMESPACES = (RAW_NAMESPACE, SUMMARY_NAMESPACE, "quarantine")
BATCH_ID = "lemonade.batch-id"
OPERATION = "lemonade.operation"
OPERATION_ID = "lemonade.operation-id"
_BUSY_TIMEOUT_SECONDS = 10

_DAY_MS = 24 * 60 * 60 * 1000
_TABLE_PROPERTIES = {
    "format-version": "2",
    # Never 0 retries: a conflict reported for a commit that did land would delete that commit's manifests.
    "commit.retry.num-retries": "3",
    "commit.retry.min-wait-ms": "100",
    "commit.retry.max-wait-ms": "2000",
    "commit.retry.total-timeout-ms": "30000",
    # As small as level 3 on this kind of data, in half the time.
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "1",
    # Columns that do not repeat give their dictionary up early: a sixth less time, and no larger.
    "write.parquet.dict-size-bytes": str(128 * 1024),
    # Bounds are cut to 16 characters otherwise, which all UUIDs of one day share.
    "write.metadata.metrics.column._file_id": "full",
    "write.metadata.metrics.column._batch_id": "full",
    # Every commit writes a metadata file; the log of old ones stays bounded from the first day.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
    # What expiry keeps when it runs.
    "history.expire.max-snapshot-age-ms": str(7 * _DAY_MS),
    "history.expire.min-snapshots-to-keep": "100",
}


@dataclass(frozen=True)
class TableHandle:
    """A table as a worker needs it to write data files: picklable, without history and without the catalog."""

    name: str
    metadata_json: str
    io_properties: tuple[tuple[str, str], ...]

    def open(self) -> tuple[TableMetadata, FileIO]:
        """Its metadata and the way to its files; kept for the process's next call."""
        return _open(self)


@dataclass(frozen=True)
class Commit:
    """A commit that is in the table; `landed_before` says that it was there already and this call added nothing."""

    snapshot_id: int
    landed_before: bool


class Lake:
    """The Iceberg tables of one catalog. The catalog is opened when it is first needed.

    Every method raises WorldFault when catalog or warehouse do not answer: nothing is lost then, call again later.
    """

    def __init__(self, settings: Settings) -> None:
        self.warehouse = settings.warehouse.rstrip("/")
        self.catalog_uri = settings.catalog_uri

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog itself; WorldFault when it is a SQLite file that is not there. `init` makes it."""
        uri = self.catalog_uri
        if uri.startswith("sqlite"):
            url = make_url(uri)
            if url.database and url.database != ":memory:" and not Path(url.database).exists():
                raise WorldFault(  # SQLite would make an empty one, in which every table is missing
                    f"opening the catalog {url.database}: the file is not there; bring it back (is its disk mounted?), "
                    "or make a new and empty one with: lemonade init",
                    code="catalog_away",
                )
            if "timeout" not in url.query:
                url = url.update_query_dict({"timeout": str(_BUSY_TIMEOUT_SECONDS)})
            uri = url.render_as_string(hide_password=False)
        local_files = {PY_IO_IMPL: IMPLEMENTATION} if is_local(self.warehouse) else {}
        catalog = load_catalog(CATALOG_NAME, uri=uri, warehouse=self.warehouse, **local_files)
        engine = getattr(catalog, "engine", None)
        if isinstance(engine, Engine) and engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _sync_commits)
            engine.dispose()  # of the connections that were made without it
        return catalog

    @cached_property
    def file_io(self) -> FileIO:
        """The way to files of the warehouse that belong to no table."""
        return load_file_io(dict(self.catalog.properties), self.warehouse)

    def init(self) -> None:
        """Make the namespaces; safe to repeat."""
        with _our_faults("preparing the catalog", self.warehouse):
            url = make_url(self.catalog_uri)
            if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
                Path(url.database).touch()
            engine = getattr(self.catalog, "engine", None)
            if isinstance(engine, Engine) and engine.dialect.name == "sqlite":
                with engine.connect() as connection:  # readers and the writer do not wait for each other; it persists
                    connection.execute(text("PRAGMA journal_mode=WAL"))
            for namespace in NAMESPACES:
                self._ensure_namespace(namespace)

    # -- tables -------------------------------------------------------------------------------------------------------

    def table(self, name: str) -> Table | None:
        """The table as it is now; None when there is none of that name."""
        with _our_faults("opening table", name):
            return self._load(name)

    def table_names(self) -> list[str]:
        """`namespace.table` of every table, sorted."""
        with _our_faults("listing tables of", self.warehouse):
            names: list[str] = []
            for namespace in NAMESPACES:
                try:
                    names += [".".join(identifier) for identifier in self.catalog.list_tables(namespace)]
                except NoSuchNamespaceError:
                    continue
            return sorted(names)

    def ensure_table(
        self,
        name: str,
        schema: Schema,
        spec: PartitionSpec,
        *,
        former: FormerNames | None = None,
        version: tuple[str, int] | None = None,
    ) -> Table:
        """The table, made or brought to the schema: new columns, new names, wider types, comments, order.

        One commit of schema and properties, none when there is nothing to change. What the table has beside stays as
        it is. `former` and `version` are as in `processors.lake.table_evolution`. Raises TypeStopped (`table_mismatch`)
        when a column has a type that cannot be widened to what is asked for, or the partitioning differs: both would
        need rewritten data.
        """
        with _our_faults("preparing table", name):
            table = self._load(name)
            if table is None:
                table = self._create(name, schema, spec, version_property(version))
            change = _evolution(name, table, schema, spec, former=former, version=version)
            if change.is_needed:
                with table.transaction() as transaction:
                    apply(transaction, change)
            return table

    def ensure_type_table(self, kind: FileType) -> Table:
        """A file type's table as its schema is now; raises as `ensure_table`, and TypeStopped without a schema."""
        definition = kind.schema_or_stop("loading files")
        return self.ensure_table(
            kind.table_name,
            iceberg_schema(definition),
            partition_spec(definition, kind.config),
            former=former_names(definition),
            version=(kind.name, kind.schema_version),
        )

    def seen_as(self, table: Table, schema: Schema, former: FormerNames) -> Table:
        """The table as it will be once its columns have the names and types of a schema; nothing is committed.

        For reading with the names of a schema that no batch has brought to the table yet. Raises TypeStopped when they
        do not fit.
        """
        name = ".".join(table.name())
        with _our_faults("reading table", name):
            change = _evolution(name, table, schema, None, former=former)
            if not change.is_needed:
                return table
            transaction = table.transaction()
            apply(transaction, change)
            return Table(
                identifier=table.name(),
                metadata=transaction.table_metadata,
                metadata_location=table.metadata_location,
                io=table.io,
                catalog=table.catalog,
            )

    def handle(self, table: Table) -> TableHandle:
        """What a worker needs of a table; the catalog's address and password stay here."""
        metadata = table.metadata.model_copy(
            update={
                "current_snapshot_id": None,
                "snapshots": [],
                "snapshot_log": [],
                "metadata_log": [],
                "refs": {},
                "statistics": [],
                "partition_statistics": [],
            }
        )
        properties = {key: str(value) for key, value in table.io.properties.items() if key != "uri"}
        return TableHandle(
            name=".".join(table.name()),
            metadata_json=metadata.model_dump_json(),
            io_properties=tuple(sorted(properties.items())),
        )

    def files_of(self, table: Table, row_filter: BooleanExpression | str) -> list[FileScanTask]:
        """The data files of a loaded table that may hold matching rows."""
        with _our_faults("planning a scan of", ".".join(table.name())):
            return list(table.scan(row_filter=row_filter).plan_files())

    def scan_tasks(
        self, name: str, row_filter: BooleanExpression | str | None = None, snapshot_id: int | None = None
    ) -> list[FileScanTask]:
        """The data files that may hold matching rows; none when there is no such table."""
        with _our_faults("planning a scan of", name):
            table = self._load(name)
            if table is None:
                return []
            scan = table.scan(row_filter=AlwaysTrue() if row_filter is None else row_filter, snapshot_id=snapshot_id)
            return list(scan.plan_files())

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """While a loaded table's files are read: what goes wrong becomes ours, as in every method here."""
        with _our_faults("reading table", name):
            yield

    # -- commits ------------------------------------------------------------------------------------------------------

    def append(self, name: str, batch_id: str, data_files: Sequence[DataFile], properties: Mapping[str, str]) -> Commit:
        """Add a batch's data files in one snapshot, once: a batch that landed already is left as it is.

        Raises BatchFault (`commit_conflict`) when others kept winning, UnknownOutcome when no answer came (ask
        `landed`), TypeStopped when the table is gone or the batch's snapshot was rolled back.
        """
        _check_not_empty(name, batch_id, data_files)
        with _our_faults("committing to table", name, committing=True):
            return self._append(self._existing(name), name, batch_id, data_files, properties)

    def append_paths(self, name: str, batch_id: str, paths: Sequence[str], properties: Mapping[str, str]) -> Commit:
        """Like `append`, from Parquet files that an earlier process wrote; for recovery.

        Also raises TypeStopped when one of the files is gone, or in the table already by another commit.
        """
        _check_not_empty(name, batch_id, paths)
        with _our_faults("committing to table", name, committing=True):
            table = self._existing(name)
            commit = self._landed_before(table, name, batch_id)
            if commit is not None:
                return commit
            present = current_paths(table, paths)
            if present:
                raise TypeStopped(
                    f"committing to table {name}, batch {batch_id}: {len(present)} of its data files are in the table "
                    f"by another commit, such as {min(present)}; compare the table with `lemonade batches`",
                    code="data_files_present",
                )
            data_files = [_described(table, name, path) for path in paths]
            return self._append(table, name, batch_id, data_files, properties)

    def landed(self, name: str, batch_id: str, paths: Sequence[str]) -> Landing:
        """Whether a batch is in a table; `paths` are its data files as the ledger has them.

        A table that is gone counts as cut history: its batches were prepared against a table that existed.
        """
        with _our_faults("looking for a batch in table", name):
            table = self._load(name)
            if table is None:
                return Landing(LandingState.HISTORY_CUT)
            return find_landing(table, name, batch_id, paths)

    def overwrite(
        self,
        name: str,
        operation: str,
        operation_id: str,
        delete: Sequence[DataFile],
        append: Sequence[DataFile],
        properties: Mapping[str, str] | None = None,
    ) -> int | None:
        """Take data files out and put others in, in one snapshot, once per operation id; returns its id.

        `delete` are files as `scan_tasks` describes them, `append` as a worker does.

        Nothing to do: the current snapshot's id, None for a table without one. Raises BatchFault
        (`commit_conflict`) when one of `delete` is no longer there or others changed what it touches: the operation
        has to be prepared again from the table as it is then.
        """
        with _our_faults("rewriting table", name, committing=True):
            table = self._existing(name)
            before = self._landed_before(table, name, operation_id)
            if before is not None:
                return before.snapshot_id
            if not delete and not append:
                current = table.current_snapshot()
                return current.snapshot_id if current else None
            transaction = table.transaction()
            about = {**(properties or {}), OPERATION: operation, OPERATION_ID: operation_id}
            producer = _update(transaction, about).overwrite()
            for data_file in delete:
                producer.delete_data_file(data_file)
            return _commit(transaction, producer, derived_snapshot_id(operation_id, name), append).snapshot_id

    def operation_landed(self, name: str, operation_id: str) -> int | None:
        """The snapshot of an operation that is part of the table's history as far as it is kept, else None.

        Raises TypeStopped when it was rolled back, or the table is gone.
        """
        with _our_faults("looking for an operation in table", name):
            landed = self._landed_before(self._existing(name), name, operation_id)
            return None if landed is None else landed.snapshot_id

    def discard(self, name: str, batch_id: str) -> int:
        """Remove data files of a batch that is not prepared, so that nobody knows of them; returns how many.

        Only in a warehouse on this machine; elsewhere, and after a crash, they are left to the care of orphans.
        """
        if not is_local(self.warehouse):
            return 0
        folder = Path(self.warehouse.removeprefix("file://"), *name.split("."), "data")
        found = list(folder.rglob(f"*-{batch_id}.parquet"))
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def described(self, name: str, paths: Sequence[str]) -> list[DataFile]:
        """The descriptions of Parquet files that an earlier process wrote; TypeStopped when one is gone."""
        with _our_faults("reading data files of table", name):
            table = self._existing(name)
            return [_described(table, name, path) for path in paths]

    def _append(
        self, table: Table, name: str, batch_id: str, data_files: Sequence[DataFile], properties: Mapping[str, str]
    ) -> Commit:
        commit = self._landed_before(table, name, batch_id)
        if commit is not None:
            return commit
        transaction = table.transaction()
        producer = _update(transaction, {**properties, BATCH_ID: batch_id}).fast_append()
        return _commit(transaction, producer, derived_snapshot_id(batch_id, name), data_files)

    def _landed_before(self, table: Table, name: str, key: str) -> Commit | None:
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

    # -- catalog ------------------------------------------------------------------------------------------------------

    def _load(self, name: str) -> Table | None:
        try:
            return self.catalog.load_table(name)
        except (NoSuchTableError, NoSuchNamespaceError):
            return None

    def _existing(self, name: str) -> Table:
        table = self._load(name)
        if table is None:
            raise TypeStopped(
                f"committing to table {name}: the catalog has no such table (any more); restore it, then restart",
                code="table_missing",
            )
        return table

    def _create(self, name: str, schema: Schema, spec: PartitionSpec, properties: Mapping[str, str]) -> Table:
        namespace, _, plain = name.partition(".")
        self._ensure_namespace(namespace)
        sources = [schema.find_column_name(field.source_id) for field in spec.fields]
        # Recovery infers a file's partition from these bounds; beyond 100 columns there are none by default.
        metrics = {f"write.metadata.metrics.column.{source}": "full" for source in sources}
        try:
            return self.catalog.create_table(
                name,
                schema,
                location=f"{self.warehouse}/{namespace}/{plain}",
                partition_spec=spec,
                properties={**_TABLE_PROPERTIES, **metrics, **properties},
            )
        except TableAlreadyExistsError:  # somebody else was faster
            return self.catalog.load_table(name)

    def _ensure_namespace(self, namespace: str) -> None:
        if self.catalog.namespace_exists(namespace):
            return
        try:
            self.catalog.create_namespace(namespace)
        except NamespaceAlreadyExistsError:
            return


def is_local(warehouse: str) -> bool:
    """Whether a warehouse is a folder on this machine."""
    return "://" not in warehouse.removeprefix("file://")


def _sync_commits(connection: Any, _record: Any) -> None:
    """A commit of a SQLite catalog is on disk when it is answered, however SQLite was built."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


@lru_cache(maxsize=16)
def _open(handle: TableHandle) -> tuple[TableMetadata, FileIO]:
    metadata = TableMetadataUtil.parse_raw(handle.metadata_json)
    return metadata, load_file_io(dict(handle.io_properties), metadata.location)


def _check_not_empty(name: str, batch_id: str, files: Sequence[object]) -> None:
    if not files:  # Iceberg would take it, and make a snapshot of nothing
        raise ValueError(f"committing to table {name}: batch {batch_id} has no data files")


def _update(transaction: Transaction, properties: Mapping[str, str]) -> UpdateSnapshot:
    return transaction.update_snapshot(snapshot_properties=dict(properties))


def _commit(
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
    """The description of a Parquet file that a worker wrote, made again from the file itself."""
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


def _evolution(
    name: str,
    table: Table,
    schema: Schema,
    spec: PartitionSpec | None,
    *,
    former: FormerNames | None,
    version: tuple[str, int] | None = None,
) -> Evolution:
    """What brings a table to a schema; TypeStopped when nothing can. Without `spec` its partitioning may be any."""
    change = evolution(
        table.schema(),
        table.spec() if spec is not None else PartitionSpec(),
        table.properties,
        schema,
        PartitionSpec() if spec is None else spec,
        former=former,
        version=version,
    )
    if change.faults:
        raise TypeStopped(
            f"preparing table {name}: {'; '.join(change.faults)}; give the type another table_name, or change it back",
            code="table_mismatch",
        )
    return change


def reading(name: str) -> AbstractContextManager[None]:
    """While a table's files are read in a worker, without a Lake: what goes wrong becomes ours."""
    return _our_faults("reading table", name)


@contextmanager
def _our_faults(operation: str, thing: str, *, committing: bool = False) -> Iterator[None]:
    """The one place where the errors of PyIceberg, its catalog and its file systems become ours.

    With `committing`, whatever else goes wrong leaves the outcome open: nobody can tell how far the commit came.
    """
    what = f"{operation} {thing}"
    try:
        yield
    except LemonadeError:
        raise
    except (CommitFailedException, ValidationException) as error:
        raise BatchFault(f"{what}: other writers kept changing it: {error}", code="commit_conflict") from error
    except CommitStateUnknownException as error:
        raise UnknownOutcome(f"{what}: no answer came: {error}") from error
    except (OperationalError, InterfaceError) as error:
        cure = "check that the catalog is up, not locked and its disk not full"
        code = world_code(error, "catalog_away")
        raise WorldFault(f"{what}: the catalog is away: {error.orig}; {cure}", code=code) from error
    except FileNotFoundError as error:
        cure = "restore the file, or the warehouse if it was moved"
        raise TypeStopped(
            f"{what}: a file that the table needs is gone: {error}; {cure}", code="table_broken"
        ) from error
    except OSError as error:
        if error.errno is None and committing:  # a network library's, which may come after the answer was due
            raise UnknownOutcome(f"{what}: {error}") from error
        cure = "check the disk's space and rights, or the network"
        code = world_code(error, "warehouse_away")
        raise WorldFault(f"{what}: the warehouse is away: {error}; {cure}", code=code) from error
    except SQLAlchemyError as error:
        if committing:
            raise UnknownOutcome(f"{what}: {error}") from error
        raise WorldFault(f"{what}: the catalog failed: {error}", code="catalog_away") from error
    except Exception as error:
        if committing:
            raise UnknownOutcome(f"{what}: {type(error).__name__}: {error}") from error
        raise
