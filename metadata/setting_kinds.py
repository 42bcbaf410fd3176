"""Kinds of settings that are more than a number or a choice: how the text of one is checked and made whole."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
"""How a URL begins, so that what does not is a path."""


def _absolute(path: Path) -> Path:
    try:
        return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - Path.absolute keeps `..`
    except RuntimeError as error:
        raise ValueError("~ names a user that does not exist") from error


def _database_url(text: str) -> str:
    """Check a database URL and make the path of a SQLite one absolute."""
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ValueError("no URL; a password's special characters must be percent-encoded") from error
    if url.get_backend_name() == "postgresql":
        return text
    if url.get_backend_name() != "sqlite":
        raise ValueError(f"{url.get_backend_name()} is not supported")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ValueError("a SQLite database must be a file: sqlite:///path/to/file.db")
    return url.set(database=str(_absolute(Path(url.database)))).render_as_string(hide_password=False)


def _catalog_uri(text: str) -> str:
    return text if text.startswith(("http://", "https://")) else _database_url(text)


def _warehouse(text: str) -> str:
    return text if URL.match(text) else str(_absolute(Path(text)))


def _matching(pattern: str) -> Callable[[str], str]:
    """A validator: the whole text matches `pattern`."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return check


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


IN_LOWER_CASE = BeforeValidator(_lower)
IN_UPPER_CASE = BeforeValidator(_upper)

Folder = Annotated[Path, AfterValidator(_absolute)]
TimeOfDay = Annotated[str, AfterValidator(_matching(r"([01]\d|2[0-3]):[0-5]\d"))]
SparkMaster = Annotated[str, AfterValidator(_matching(r"local(\[(\*|[1-9]\d*)(,[1-9]\d*)?\])?|yarn|(spark|k8s)://\S+"))]
Memory = Annotated[str, IN_LOWER_CASE, AfterValidator(_matching(r"[1-9]\d*[kmgt]"))]
Bucket = Annotated[str, AfterValidator(_matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"))]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
CatalogUri = Annotated[str, AfterValidator(_catalog_uri)]
Warehouse = Annotated[str, AfterValidator(_warehouse)]
