"""The lake: catalog, namespaces and tables, through PyIceberg; whoever touches a table comes through here.

What a commit does is in `processors.lake.commits`, how data files are written in `processors.lake.parquet_properties`,
what PyIceberg's errors become in `processors.lake.our_faults`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io import PY_IO_IMPL, FileIO, load_file_io
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from sqlalchemy import Engine, event, make_url, text

from metadata.errors import TypeStopped, WorldFault
from metadata.files.os_errors import waited_out
from metadata.settings import Settings
from metadata.types.file_type import FileType
from processors.decode.schema import iceberg_schema, partition_spec
from processors.lake import commits
from processors.lake.commits import Commit
from processors.lake.durable_io import IMPLEMENTATION
from processors.lake.handle import TableHandle
from processors.lake.landing import Landing, LandingState, find_landing
from processors.lake.our_faults import our_faults, reading
from processors.lake.parquet_properties import PARQUET_PROPERTIES, partition_bounds
from processors.lake.table_evolution import Evolution, FormerNames, apply, evolution, former_names, version_property
from processors.lake.table_versions import CATALOG_NAME, NAMESPACES

BUSY_TIMEOUT_SECONDS = 10  # of a catalog in SQLite

_DAY_MS = 24 * 60 * 60 * 1000
TABLE_PROPERTIES = {
    "format-version": "2",
    # Never 0 retries: a conflict reported for a commit that did land would delete that commit's manifests.
    "commit.retry.num-retries": "3",
    "commit.retry.min-wait-ms": "100",
    "commit.retry.max-wait-ms": "2000",
    "commit.retry.total-timeout-ms": "30000",
    # Every commit writes a metadata file; the log of old ones stays bounded from the first day.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
    # What expiry keeps when it runs.
    "history.expire.max-snapshot-age-ms": str(7 * _DAY_MS),
    "history.expire.min-snapshots-to-keep": "100",
    **PARQUET_PROPERTIES,
}
"""What every table is made with."""


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
                url = url.update_query_dict({"timeout": str(BUSY_TIMEOUT_SECONDS)})
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
        with our_faults("preparing the catalog", self.warehouse):
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
        with our_faults("opening table", name):
            return self._load(name)

    def table_names(self) -> list[str]:
        """`namespace.table` of every table, sorted."""
        with our_faults("listing tables of", self.warehouse):
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
        with our_faults("preparing table", name):
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
        with our_faults("reading table", name):
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
        return TableHandle.of(table)

    def files_of(self, table: Table, row_filter: BooleanExpression | str) -> list[FileScanTask]:
        """The data files of a loaded table that may hold matching rows."""
        with our_faults("planning a scan of", ".".join(table.name())):
            return list(table.scan(row_filter=row_filter).plan_files())

    def scan_tasks(
        self, name: str, row_filter: BooleanExpression | str | None = None, snapshot_id: int | None = None
    ) -> list[FileScanTask]:
        """The data files that may hold matching rows; none when there is no such table."""
        with our_faults("planning a scan of", name):
            table = self._load(name)
            if table is None:
                return []
            scan = table.scan(row_filter=AlwaysTrue() if row_filter is None else row_filter, snapshot_id=snapshot_id)
            return list(scan.plan_files())

    def reading(self, name: str) -> AbstractContextManager[None]:
        """While a loaded table's files are read: what goes wrong becomes ours, as in every method here."""
        return reading(name)

    # -- commits ------------------------------------------------------------------------------------------------------

    def append(self, name: str, batch_id: str, data_files: Sequence[DataFile], properties: Mapping[str, str]) -> Commit:
        """Add a batch's data files in one snapshot, once: a batch that landed already is left as it is.

        Raises BatchFault (`commit_conflict`) when others kept winning, UnknownOutcome when no answer came (ask
        `landed`), TypeStopped when the table is gone or the batch's snapshot was rolled back.
        """
        _check_not_empty(name, batch_id, data_files)
        with our_faults("committing to table", name, committing=True):
            return commits.append(self._existing(name), name, batch_id, data_files, properties)

    def append_paths(self, name: str, batch_id: str, paths: Sequence[str], properties: Mapping[str, str]) -> Commit:
        """Like `append`, from Parquet files that an earlier process wrote; for recovery.

        Also raises TypeStopped when one of the files is gone, or in the table already by another commit.
        """
        _check_not_empty(name, batch_id, paths)
        with our_faults("committing to table", name, committing=True):
            return commits.append_paths(self._existing(name), name, batch_id, paths, properties)

    def landed(self, name: str, batch_id: str, paths: Sequence[str]) -> Landing:
        """Whether a batch is in a table; `paths` are its data files as the ledger has them.

        A table that is gone counts as cut history: its batches were prepared against a table that existed.
        """
        with our_faults("looking for a batch in table", name):
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
        with our_faults("rewriting table", name, committing=True):
            table = self._existing(name)
            return commits.overwrite(table, name, (operation, operation_id), delete, append, properties or {})

    def operation_landed(self, name: str, operation_id: str) -> int | None:
        """The snapshot of an operation that is part of the table's history as far as it is kept, else None.

        Raises TypeStopped when it was rolled back, or the table is gone.
        """
        with our_faults("looking for an operation in table", name):
            landed = commits.landed_before(self._existing(name), name, operation_id)
            return None if landed is None else landed.snapshot_id

    def discard(self, name: str, batch_id: str) -> int:
        """Remove data files of a batch that is not prepared, so that nobody knows of them; returns how many.

        Only in a warehouse on this machine; elsewhere, and after a crash, they are left to the care of orphans.
        """
        if not is_local(self.warehouse):
            return 0
        folder = Path(self.warehouse.removeprefix("file://"), *name.split("."), "data")
        cure = "check the disk and its rights"
        with waited_out(f"removing data files of table {name}", cure, code="warehouse_away"):
            written = list(folder.rglob(f"*-{batch_id}.parquet"))
            for path in written:
                path.unlink(missing_ok=True)
        return len(written)

    def described(self, name: str, paths: Sequence[str]) -> list[DataFile]:
        """The descriptions of Parquet files that an earlier process wrote; TypeStopped when one is gone."""
        with our_faults("reading data files of table", name):
            return commits.described(self._existing(name), name, paths)

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
        try:
            return self.catalog.create_table(
                name,
                schema,
                location=f"{self.warehouse}/{namespace}/{plain}",
                partition_spec=spec,
                properties={**TABLE_PROPERTIES, **partition_bounds(schema, spec), **properties},
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


def _check_not_empty(name: str, batch_id: str, files: Sequence[object]) -> None:
    if not files:  # Iceberg would take it, and make a snapshot of nothing
        raise ValueError(f"committing to table {name}: batch {batch_id} has no data files")


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
