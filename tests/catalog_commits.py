"""The catalog's commits of snapshots, with something in between: a lost answer, two processes at one moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from deaths import of_snapshot
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitStateUnknownException

from metadata.settings import Settings
from processors.lake.lake import Lake

COMMIT = SqlCatalog.commit_table
Commit = Callable[..., Any]


@contextmanager
def commits(instead: Commit, name: str | None = None) -> Iterator[None]:
    """Commits of snapshots (of that table) go through `instead(catalog, table, requirements, updates)` meanwhile."""

    def commit_table(catalog: SqlCatalog, table: Any, requirements: Any, updates: Any) -> Any:
        mine = of_snapshot(catalog, table, requirements, updates) and name in (None, ".".join(table.name()))
        return (instead if mine else COMMIT)(catalog, table, requirements, updates)

    with mock.patch.object(SqlCatalog, "commit_table", commit_table):
        yield


def lost(*, landed: bool = False, calls: list[bool] | None = None, error: Exception | None = None) -> Commit:
    """A commit whose first answer is lost, whether it landed or not; with `calls` later ones come through."""

    def instead(*arguments: Any) -> Any:
        if calls is not None:
            calls.append(True)
            if len(calls) > 1:
                return COMMIT(*arguments)
        if landed:
            COMMIT(*arguments)
        raise error or CommitStateUnknownException("no answer")

    return instead


def append_twice_at_once(settings: Settings, name: str, batch_id: str, paths: Sequence[str]) -> list[bool]:
    """Two processes that both found the batch absent send it at the same moment: had it landed before, for each."""
    both = threading.Barrier(2, timeout=30)
    seen: set[str] = set()
    results: list[bool] = []

    def together(*arguments: Any) -> Any:
        if (me := threading.current_thread().name) not in seen:
            seen.add(me)
            both.wait()
        return COMMIT(*arguments)

    def append() -> None:
        results.append(Lake(settings).append_paths(name, batch_id, paths, {}).landed_before)

    with commits(together, name):
        threads = [threading.Thread(target=append) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    return sorted(results)
