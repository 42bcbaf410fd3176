"""A flush is cut into chunks, each one micro-batch. Decisions only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

_SUSPECT_DEATHS = 2


class Sized(Protocol):
    """Anything with a size: a ledger's row, a `Waiting`."""

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        ...


class Died(Protocol):
    """Anything that counts deaths of the process: a ledger's row."""

    @property
    def deaths(self) -> int:
        """How often the whole process died with it in work."""
        ...


SizedT = TypeVar("SizedT", bound=Sized)
DiedT = TypeVar("DiedT", bound=Died)


def by_deaths(files: Sequence[DiedT]) -> list[list[DiedT]]:
    """Divide files by how often the whole process died with them in work: what is to be cut into chunks apart.

    Files that saw two deaths or more are suspects. They come last; those of two deaths together are divided in two,
    those of three in four, and so on, until the one that ends the process is alone in its chunk.
    """
    groups: dict[int, list[DiedT]] = {}
    for file in files:
        groups.setdefault(file.deaths if file.deaths >= _SUSPECT_DEATHS else 0, []).append(file)
    divided: list[list[DiedT]] = []
    for deaths, group in sorted(groups.items()):
        parts = min(2 ** min(deaths - 1, 16), len(group)) if deaths else 1
        bounds = [len(group) * part // parts for part in range(parts + 1)]
        divided += [group[start:stop] for start, stop in pairwise(bounds)]
    return divided


def cut(files: Sequence[SizedT], max_files: int, max_bytes: int) -> list[list[SizedT]]:
    """Cut a flush into chunks: each one micro-batch. Order is kept; nothing is left out.

    A chunk has at most `max_files` files and `max_bytes` bytes, but at least one file: one that is larger than
    `max_bytes` is a chunk by itself.
    """
    chunks: list[list[SizedT]] = []
    size = 0
    for file in files:
        if not chunks or len(chunks[-1]) >= max_files or size + file.size_bytes > max_bytes:
            chunks.append([])
            size = 0
        chunks[-1].append(file)
        size += file.size_bytes
    return chunks
