"""Where a process ends: right behind a step, or instead of it.

Steps are wrapped from outside; the product has no hook for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest import mock

from pyiceberg.table.update import AddSnapshotUpdate

Only = Callable[..., bool]
"""Whether a call, by its arguments, is the one that is meant."""


class Died(BaseException):
    """The process of the test ends here."""


def any_call(*_: Any) -> bool:
    """Every call."""
    return True


def to_table(name: str) -> Only:
    """A commit to that table."""
    return lambda _lake, table, *_: bool(table == name)


def of_files(_settler: Any, files: Any, *_: Any) -> bool:
    """Moves of files: those of Plan's duplicates may be of none."""
    return bool(list(files))


def not_to_table(name: str) -> Only:
    """A commit to any other."""
    return lambda _lake, table, *_: bool(table != name)


def of_snapshot(_catalog: Any, _table: Any, _requirements: Any, updates: Any) -> bool:
    """A commit to the catalog that adds a snapshot, and does not only change a table's schema."""
    return any(isinstance(update, AddSnapshotUpdate) for update in updates)


def ending(
    owner: Any, name: str, end: Callable[[], object], times: int = 1, *, before: bool = False, only: Only = any_call
) -> Callable[..., Any]:
    """What to put into the place of `owner.name`.

    `end` comes right behind the `times`-th call for which `only` holds, or with `before` in its place.
    """
    original, left = getattr(owner, name), times

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        mine = only(*args, *kwargs.values())
        left -= mine
        if mine and left == 0 and before:
            end()
        result = original(*args, **kwargs)
        if mine and left == 0 and not before:
            end()
        return result

    is_static = isinstance(vars(owner).get(name), staticmethod) if isinstance(owner, type) else False
    return staticmethod(wrapped) if is_static else wrapped


@contextmanager
def death(owner: Any, name: str, times: int = 1, *, before: bool = False, only: Only = any_call) -> Iterator[None]:
    """What is done inside ends at this moment, as its process would; AssertionError when it does not come to that."""

    def die() -> NoReturn:
        raise Died

    with mock.patch.object(owner, name, ending(owner, name, die, times, before=before, only=only)):
        try:
            yield
        except Died:
            return
    raise AssertionError(f"{owner}.{name} was not reached")
