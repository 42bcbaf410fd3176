"""The one place where the errors of PyIceberg, its catalog and its file systems become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, ValidationException

from metadata.errors import BatchFault, LemonadeError, TypeStopped, UnknownOutcome, WorldFault
from metadata.files.os_errors import world_code


def reading(name: str) -> AbstractContextManager[None]:
    """While a table's files are read, with a Lake or in a worker without one: what goes wrong becomes ours."""
    return our_faults("reading table", name)


@contextmanager
def our_faults(operation: str, thing: str, *, committing: bool = False) -> Iterator[None]:
    """What goes wrong inside becomes ours; what is none of the lake's passes as it is.

    With `committing`, whatever else goes wrong leaves the outcome open: nobody can tell how far the commit came.
    """
    try:
        yield
    except LemonadeError:
        raise
    except Exception as error:
        fault = _fault(f"{operation} {thing}", error, committing)
        if fault is None:
            raise
        raise fault from error


def _fault(what: str, error: Exception, committing: bool) -> LemonadeError | None:
    if isinstance(error, CommitFailedException | ValidationException):
        return BatchFault(f"{what}: other writers kept changing it: {error}", code="commit_conflict")
    if isinstance(error, CommitStateUnknownException):
        return UnknownOutcome(f"{what}: no answer came: {error}")
    if isinstance(error, FileNotFoundError):
        cure = "restore the file, or the warehouse if it was moved"
        return TypeStopped(f"{what}: a file that the table needs is gone: {error}; {cure}", code="table_broken")
    if isinstance(error, OSError):
        if error.errno is None and committing:  # a network library's, which may come after the answer was due
            return UnknownOutcome(f"{what}: {error}")
        cure = "check the disk's space and rights, or the network"
        code = world_code(error, "warehouse_away")
        return WorldFault(f"{what}: the warehouse is away: {error}; {cure}", code=code)
    return _catalog_fault(what, error, committing) or (
        UnknownOutcome(f"{what}: {type(error).__name__}: {error}") if committing else None
    )


def _catalog_fault(what: str, error: Exception, committing: bool) -> UnknownOutcome | WorldFault | None:
    """What an error of the catalog's database becomes."""
    from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError  # here: workers have no catalog

    if isinstance(error, OperationalError | InterfaceError):
        cure = "check that the catalog is up, not locked and its disk not full"
        code = world_code(error, "catalog_away")
        return WorldFault(f"{what}: the catalog is away: {error.orig}; {cure}", code=code)
    if isinstance(error, SQLAlchemyError):
        if committing:
            return UnknownOutcome(f"{what}: {error}")
        return WorldFault(f"{what}: the catalog failed: {error}", code="catalog_away")
    return None
