"""Ids in parts that one statement takes: it has room for 32,766 values in SQLite, for 65,535 in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

MOST_IDS = 5000


def id_chunks(ids: Sequence[T]) -> Iterator[Sequence[T]]:
    """The ids in their order, at most MOST_IDS at once; nothing for none."""
    return (ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS))
