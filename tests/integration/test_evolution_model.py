"""Random histories of a schema against a model that knows which value belongs to which column."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from ordershop import ID, TABLE, Orders

from metadata.settings import Settings
from processors.read.query import QueryEngine


@dataclass(frozen=True)
class Column:
    """A column for good, whatever it is called."""

    number: int
    name: str
    type: str
    former: str | None = None  #: the name under which the last update knew it


@dataclass
class Columns:
    """What the schema and the rows should be."""

    random: Random
    columns: list[Column] = field(default_factory=list)
    dropped: list[Column] = field(default_factory=list)
    rows: dict[int, dict[int, Any]] = field(default_factory=dict)  #: id → column → value
    names: int = 0

    def change(self) -> None:
        """One random change."""
        kinds = ["add", "add", "rename", "rename", "back", "widen", "drop", "again", "order"]
        match self.random.choice(kinds):
            case "add":
                self.names += 1
                self._insert(Column(self.names, f"c{self.names}", self.random.choice(["int", "long", "string"])))
            case "rename" if self.columns:
                self.names += 1
                self._swap(lambda column: replace(column, name=f"c{self.names}", former=column.name))
            case "back" if self.columns:
                self._swap(lambda column: replace(column, name=f"c{column.number}", former=column.name))
            case "widen" if self.columns:
                self._swap(lambda column: replace(column, type="long" if column.type == "int" else column.type))
            case "drop" if self.columns:
                self.dropped.append(self.columns.pop(self.random.randrange(len(self.columns))))
            case "again" if self.dropped:
                self._insert(self.dropped.pop(self.random.randrange(len(self.dropped))))
            case _:
                self.random.shuffle(self.columns)

    def _insert(self, column: Column) -> None:
        self.columns.insert(self.random.randint(0, len(self.columns)), column)

    def _swap(self, change: Any) -> None:
        at = self.random.randrange(len(self.columns))
        self.columns[at] = change(self.columns[at])

    def fields(self) -> list[dict[str, Any]]:
        """The schema."""
        fields = [ID]
        for column in self.columns:
            renamed = {} if column.former in (None, column.name) else {"renamed_from": column.former}
            fields.append({"name": column.name, "type": column.type, **renamed})
        self.columns = [replace(column, former=None) for column in self.columns]
        return fields

    def record(self) -> dict[str, Any]:
        """A new row."""
        number = len(self.rows) + 1
        values: dict[int, Any] = {}
        for column in self.columns:
            limit = 2**31 if column.type == "int" else 2**60
            value = self.random.randrange(limit)
            values[column.number] = f"t{value}" if column.type == "string" else value
        self.rows[number] = values
        return {"id": number} | {column.name: values[column.number] for column in self.columns}

    def expected(self) -> list[tuple[Any, ...]]:
        """The rows under today's names, in their order."""
        return [(number, *(row.get(each.number) for each in self.columns)) for number, row in self.rows.items()]


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 40))])
def test_any_history_of_a_schema_keeps_every_value_in_its_column(settings: Settings, seed: int) -> None:
    """Changes, several at once or with no batch between them, and batches: rows of every version read right."""
    random = Random(seed)
    model, orders = Columns(random), Orders(settings)
    orders.evolve(ID)
    for _ in range(6):
        for _ in range(random.randint(1, 3)):
            model.change()
            orders.evolve(*model.fields())
        orders.take(*(model.record() for _ in range(random.randint(1, 3))))
        names = ["id", *(column.name for column in model.columns)]
        assert orders.columns()[: len(names)] == names
        there = sorted(orders.records(TABLE), key=lambda row: row["id"])
        assert [tuple(row[name] for name in names) for row in there] == model.expected()
    chosen = ", ".join(f'"{name}"' for name in names)
    assert QueryEngine(orders.app.lake()).run(f"SELECT {chosen} FROM orders ORDER BY id").rows() == model.expected()
    orders.assert_books(len(model.rows), TABLE)
    orders.close()
