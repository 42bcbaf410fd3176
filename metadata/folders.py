"""Where source files live, and the one function that moves them.

The daemon, under its lock, is the only mover: look, then rename. `os.rename` replaces silently, so a taken name gets a
short file id before its suffix first.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from metadata.ids import short_id

_SUFFIX = re.compile(r"(\.(json|jsonl|ndjson)(\.(gz|zst))?|\.[^.]*)$", re.IGNORECASE)
_NAME_MAX_BYTES = 255


@dataclass(frozen=True)
class Folders:
    """The folders of §"the way of a file": all absolute."""

    incoming: Path
    source_data: Path
    processed_base: Path

    def processing(self, file_type: str) -> Path:
        """Where claimed files of a type wait."""
        return self.source_data / "processing" / file_type

    def held(self, prefix: str) -> Path:
        """Where files wait that no active type takes."""
        return self.source_data / "held" / prefix

    def failed(self, file_type: str | None) -> Path:
        """Where files go that could not be read; without a type, the folder itself."""
        return self.source_data / "failed" / (file_type or "")

    def error(self, file_type: str) -> Path:
        """Where files go whose records break the schema."""
        return self.source_data / "error" / file_type

    def duplicate(self, file_type: str) -> Path:
        """Where deliveries go that are loaded already."""
        return self.source_data / "duplicate" / file_type

    def processed(self, file_type: str, day: date) -> Path:
        """Where loaded files go; `day` is the UTC day of the load."""
        return self.processed_base / file_type / day.isoformat()

    def all(self) -> list[Path]:
        """The folders that `init` makes."""
        kinds = ("processing", "held", "failed", "error", "duplicate", "undone")
        return [self.incoming, self.processed_base, *(self.source_data / kind for kind in kinds)]


def name_with_id(name: str, file_id: str) -> str:
    """`a_20260115120000.json.gz` → `a_20260115120000.1234abcd.json.gz`, cut so that it still fits a folder."""
    match = _SUFFIX.search(name)
    stem, suffix = (name[: match.start()], match.group()) if match and match.start() else (name, "")
    tail = f".{short_id(file_id)}{suffix}"
    room = _NAME_MAX_BYTES - len(os.fsencode(tail))
    return os.fsdecode(os.fsencode(stem)[:room]) + tail


def move(source: Path, folder: Path, name: str, file_id: str) -> Path:
    """Rename `source` into `folder` as `name`, or with a short file id in it when the name is taken; returns where.

    Makes the folder. A symlink is moved itself, never followed. Raises OSError (FileNotFoundError when the source is
    gone, EXDEV when the folders are on different file systems).
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    if os.path.lexists(target):
        target = folder / name_with_id(name, file_id)
    os.rename(source, target)  # noqa: PTH104 - Path.rename is the same call; os.rename says what is meant
    return target


def write_reason(moved: Path, reason: dict[str, Any]) -> Path:
    """Put `<name>.error.json` beside a file in failed/ or error/; returns where. Replaces an earlier one whole."""
    name = moved.name + ".error.json"
    if len(os.fsencode(name)) > _NAME_MAX_BYTES:
        keep = _NAME_MAX_BYTES - len(b".error.json") - 9
        name = os.fsdecode(os.fsencode(moved.name)[:keep]) + f".{short_id(str(reason.get('file_id', '')))}.error.json"
    target = moved.with_name(name)
    temporary = moved.with_name(f".{short_id(str(reason.get('file_id', 'reason')))}.error.json.tmp")
    temporary.write_text(json.dumps(reason, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    os.replace(temporary, target)  # noqa: PTH105 - see above
    return target
