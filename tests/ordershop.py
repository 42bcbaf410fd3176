"""A workshop with a type whose schema changes: orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deaths import death
from workshop import Workshop

from metadata.errors import BatchFault
from metadata.settings import Settings
from metadata.types.file_type import FileType
from processors.read.query import QueryEngine
from watcher.deeds.by_name import do

TABLE = "raw_data.orders"
ID: dict[str, Any] = {"name": "id", "type": "long", "nullable": False}
COUNT: dict[str, Any] = {"name": "count", "type": "int"}
PRICE: dict[str, Any] = {"name": "price", "type": "decimal(6,2)"}
NOTE: dict[str, Any] = {"name": "note", "type": "string"}


class Orders(Workshop):
    """A workshop with one type more: orders."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.files = 0
        self.app.registry.add({"file_type": "orders", "schema_definition": {"fields": [ID, COUNT, PRICE, NOTE]}})

    def evolve(self, *fields: dict[str, Any], **rest: Any) -> FileType:
        """The type with these fields from now on."""
        return self.app.registry.update("orders", {"schema_definition": {"fields": list(fields)}, **rest})

    def bring(self, *records: dict[str, Any]) -> str:
        """A file of orders, dropped and claimed."""
        self.files += 1
        name = f"orders_202601151200{self.files:02}.json"
        self.drop(name, list(records))
        self.claim()
        return name

    def take(self, *records: dict[str, Any]) -> None:
        """A file of orders, loaded."""
        name = self.bring(*records)
        self.flush()
        assert [file.state for file in self.rows(name)] == ["loaded"], self.rows(name)[0].message

    def undo(self, name: str) -> None:
        """`lemonade undo`, by name."""
        assert do(self.work, "undo", {"target": name})["undone"]

    def die_in(
        self,
        owner: type,
        step: str,
        *,
        after: bool = False,
        doing: Callable[[], object] | None = None,
    ) -> None:
        """Flush (or do something else), and end instead of the step, or right behind it; then a new process begins."""
        with death(owner, step, before=not after):
            (doing or self.flush)()
        self.begin()

    def columns(self) -> list[str]:
        """The table's columns that are the type's."""
        table = self.app.lake().table(TABLE)
        assert table is not None
        names = [field.name for field in table.schema().fields]
        return names[: names.index("date")]

    def read(self, *columns: str) -> list[tuple[Any, ...]]:
        """These columns of every row, in order of their ids: DuckDB and PyIceberg see the same."""
        chosen = ", ".join(f'"{column}"' for column in columns)
        rows = QueryEngine(self.app.lake()).run(f"SELECT {chosen} FROM orders ORDER BY id").rows()
        there = sorted(self.records(TABLE), key=lambda row: row["id"])
        assert [tuple(row[column] for column in columns) for row in there] == rows
        return rows


def fault() -> None:
    """What a dead worker becomes."""
    raise BatchFault("a worker died", code="worker_died")
