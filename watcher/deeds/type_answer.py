"""What became of a type, as the verbs of `lemonade types` answer."""

from __future__ import annotations

from typing import Any

from metadata.types.file_type import FileType


def type_answer(kind: FileType) -> dict[str, Any]:
    """A type that was registered or changed, as plain JSON."""
    return {
        "file_type": kind.name,
        "status": kind.status.value,
        "table_name": kind.table_name,
        "filename_patterns": list(kind.patterns),
        "schema_version": kind.schema_version,
    }
