"""Recovers, claims and loads in this process, without Spark, and dies by SIGKILL in the middle of what is named.

Libraries and product are wrapped from outside; the product has no hook for it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow.parquet
from deaths import Only, any_call, ending, of_snapshot
from inprocess import InProcessRunner
from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy import Engine, event

from metadata.database.states import FlushReason
from metadata.ledger.ledger import Ledger
from metadata.settings import Settings
from processors.lake.durable_io import DurableFileIO
from watcher.app import App
from watcher.work.work import Work


def die(*_: Any, **__: Any) -> None:
    """This process is gone before the call returns."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(owner: Any, name: str, times: int = 1, *, after: bool = False, only: Only = any_call) -> None:
    """The `times`-th call for whose arguments `only` holds does not begin, or with `after` does not return."""
    setattr(owner, name, ending(owner, name, die, times, before=not after, only=only))


def die_in_transaction(owner: Any, name: str, statements: int | None = None, *, only: Only = any_call) -> None:
    """The call's transaction ends after so many statements that write, or without a number right before its COMMIT."""
    original, written, is_inside = getattr(owner, name), 0, False

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal is_inside
        is_inside = only(*args)
        try:
            return original(*args, **kwargs)
        finally:
            is_inside = False

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal written
        if is_inside and statement.startswith(("INSERT", "UPDATE", "DELETE")):
            written += 1
            if written == statements:
                die()

    setattr(owner, name, wrapped)
    event.listen(Engine, "after_cursor_execute", count)
    if statements is None:
        event.listen(Engine, "commit", lambda _connection: die() if is_inside else None)


def _to(folder: str, _source: Any, target: Any, *_: Any) -> bool:
    return f"/{folder}/" in str(target)


def _avro_of(table: str, _io: Any, location: str) -> bool:
    return location.endswith(".avro") and f"/{table}/" in location


def _first_metadata_of(table: str, metadata: Any, *_: Any) -> bool:
    return bool(metadata.location.endswith(f"/{table}") and not metadata.snapshots)


def _metadata_of(table: str, metadata: Any, *_: Any) -> bool:
    return bool(metadata.location.endswith(f"/{table}") and metadata.snapshots)


def _commit_to(table: str, _catalog: Any, loaded: Any, _requirements: Any, updates: Any) -> bool:
    return bool(loaded.name()[-1] == table and of_snapshot(_catalog, loaded, _requirements, updates))


EVENTS, QUARANTINE = "vehicle_events", "rejected_records"


MOMENTS: dict[str, Callable[[], None]] = {
    "second of three claimed": partial(die_at, os, "rename", 2, only=partial(_to, "processing"), after=True),
    "claim: rows half written": partial(die_in_transaction, Ledger, "add_many", 1),
    "plan: rows half written": partial(die_in_transaction, Ledger, "plan", 1),
    "plan: not committed": partial(die_in_transaction, Ledger, "plan"),
    "new table not in the catalog": partial(
        die_at, MetastoreCatalog, "_write_metadata", only=partial(_first_metadata_of, EVENTS), after=True
    ),
    "new quarantine not in the catalog": partial(
        die_at, MetastoreCatalog, "_write_metadata", only=partial(_first_metadata_of, QUARANTINE), after=True
    ),
    "second data file half written": partial(die_at, pyarrow.parquet.ParquetWriter, "close", 2),
    "receipt under its temporary name": partial(die_at, os, "replace", only=partial(_to, "_receipts")),
    "receipt written, not prepared": partial(die_at, Ledger, "prepare"),
    "prepare: rows half written": partial(die_in_transaction, Ledger, "prepare", 2),
    "prepare: not committed": partial(die_in_transaction, Ledger, "prepare"),
    "quarantine: manifest without its list": partial(
        die_at, DurableFileIO, "new_output", 2, only=partial(_avro_of, QUARANTINE)
    ),
    "quarantine: metadata file not in the catalog": partial(
        die_at, MetastoreCatalog, "_write_metadata", only=partial(_metadata_of, QUARANTINE), after=True
    ),
    "quarantine: not committed": partial(
        die_in_transaction, SqlCatalog, "commit_table", only=partial(_commit_to, QUARANTINE)
    ),
    "quarantine: commit without its answer": partial(
        die_at, SqlCatalog, "commit_table", only=partial(_commit_to, QUARANTINE), after=True
    ),
    "manifest without its list": partial(die_at, DurableFileIO, "new_output", 2, only=partial(_avro_of, EVENTS)),
    "metadata file not in the catalog": partial(
        die_at, MetastoreCatalog, "_write_metadata", only=partial(_metadata_of, EVENTS), after=True
    ),
    "catalog: not committed": partial(die_in_transaction, SqlCatalog, "commit_table", only=partial(_commit_to, EVENTS)),
    "commit without its answer": partial(
        die_at, SqlCatalog, "commit_table", only=partial(_commit_to, EVENTS), after=True
    ),
    "record: rows half written": partial(die_in_transaction, Ledger, "record", 2),
    "record: not committed": partial(die_in_transaction, Ledger, "record"),
    "one of two moved": partial(die_at, os, "rename", 2, only=partial(_to, "processed")),
    "failed file without its reason": partial(die_at, os, "replace", only=partial(_to, "failed")),
    "all moved, no path on record": partial(die_at, Ledger, "files_settled"),
    "paths: not committed": partial(die_in_transaction, Ledger, "files_settled"),
    "settle: not committed": partial(die_in_transaction, Ledger, "settle"),
}
"""What has just been done, or is half done, when the process dies."""


if __name__ == "__main__":
    work = Work(App(Settings.load(), runner=InProcessRunner()), pause=lambda _seconds: True, draining=lambda: False)
    MOMENTS[sys.argv[1]]()
    work.recover()
    snapshot, _ = work.gather_until_settled()
    work.flush(snapshot.active, FlushReason.REQUEST)
