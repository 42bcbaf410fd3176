"""A file type as the registry knows it, and which type takes a file of a given name. Pure values and functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from metadata.errors import ConfigurationError, TypeStopped
from metadata.files.names import DataFileName
from metadata.types.config import RAW_NAMESPACE, ProcessingConfig
from metadata.types.definition import TYPE_NAME, Definition
from metadata.types.fault_list import show

_BOUNDARIES = "_-"
_GLOB = re.compile(r"[*?[]")
_WILDCARDS = re.compile(r"\[[^]]+]|[*?[]")


class TypeStatus(StrEnum):
    """Whether files of a type are taken."""

    INACTIVE = "inactive"  #: known by name only, or not switched on yet; its files are held
    ACTIVE = "active"  #: its files are claimed and loaded
    DISABLED = "disabled"  #: an admin switched it off; its files are held


@dataclass(frozen=True)
class FileType:
    """A row of the registry, checked; `definition` is None for a type that discovery made."""

    name: str
    table_name: str  #: namespace.table
    patterns: tuple[str, ...]
    status: TypeStatus
    definition: Definition | None
    schema_version: int
    config: ProcessingConfig
    description: str | None = None

    @property
    def time_field(self) -> str | None:
        """The field whose UTC days are summarised."""
        return self.config.summary.time if self.config.summary else None

    @property
    def summary_table(self) -> str | None:
        """The table of its daily summary, `namespace.table`."""
        return self.config.summary.table_name if self.config.summary else None

    def schema_or_stop(self, operation: str) -> Definition:
        """The definition. Without one TypeStopped with code `no_schema`; `operation`, as "loading files", begins it."""
        if self.definition is None:
            raise TypeStopped(
                f"{operation} of {self.name}: it has no schema; run: lemonade types update", code="no_schema"
            )
        return self.definition


@dataclass(frozen=True)
class Match:
    """The type that a name belongs to; None when there is none, or when several fit equally well (`tie`)."""

    kind: FileType | None
    tie: tuple[str, ...] = ()


def file_type_name(text: object) -> str:
    """The name of a file type; raises ConfigurationError when it cannot be one."""
    if isinstance(text, str) and TYPE_NAME.fullmatch(text):
        return text
    raise ConfigurationError(
        "reading a file type",
        [f"file_type {show(text)} must be 1 to 63 of a-z, 0-9 and _, and begin with a letter"],
    )


def table_identifier(text: object) -> str:
    """`x` and `raw_data.x` both name the table `raw_data.x`; raises ConfigurationError for anything else."""
    if isinstance(text, str):
        name = text.removeprefix(f"{RAW_NAMESPACE}.")
        if TYPE_NAME.fullmatch(name):
            return f"{RAW_NAMESPACE}.{name}"
    raise ConfigurationError(
        "reading a file type",
        [
            f"table_name {show(text)} must be 1 to 63 of a-z, 0-9 and _, beginning with a letter; "
            f"its namespace is always {RAW_NAMESPACE}"
        ],
    )


def match_type(name: DataFileName, types: Sequence[FileType]) -> Match:
    """The type that takes a file of this name, whatever its status: a type that is switched off keeps its files.

    A pattern equal to the prefix wins; else the longest of the patterns that stand in the prefix between `_`/`-`
    boundaries and of the globs that match the whole name (a glob is as long as its characters that are no wildcards).
    Of equally good types an active one wins; several active ones, or none, are a tie. Records that discovery made have
    no schema and never compete, so that a type that comes later gets what waits under them.
    """
    ranked = [(score, kind) for kind in types if (score := _score(name, kind)) is not None and not _is_discovered(kind)]
    if not ranked:
        return Match(None)
    top = max(score for score, _ in ranked)
    best = [kind for score, kind in ranked if score == top]
    best = [kind for kind in best if kind.status is TypeStatus.ACTIVE] or best
    return Match(best[0]) if len(best) == 1 else Match(None, tuple(sorted(kind.name for kind in best)))


def _is_discovered(kind: FileType) -> bool:
    return kind.status is TypeStatus.INACTIVE and kind.definition is None


def _score(name: DataFileName, kind: FileType) -> tuple[bool, int] | None:
    """How well the best of a type's patterns fits: (equal to the prefix, length); None when none does."""
    return max(_scores(name, kind), default=None)


def _scores(name: DataFileName, kind: FileType) -> Iterator[tuple[bool, int]]:
    for pattern in kind.patterns:
        if _GLOB.search(pattern):
            if fnmatchcase(name.name, pattern):
                yield False, len(_WILDCARDS.sub("", pattern))
        elif pattern == name.prefix:
            yield True, len(pattern)
        elif _stands_in(pattern, name.prefix):
            yield False, len(pattern)


def _stands_in(pattern: str, prefix: str) -> bool:
    start = prefix.find(pattern) if pattern else -1
    while start >= 0:
        end = start + len(pattern)
        if (start == 0 or prefix[start - 1] in _BOUNDARIES) and (end == len(prefix) or prefix[end] in _BOUNDARIES):
            return True
        start = prefix.find(pattern, start + 1)
    return False
