"""Where source files live, and the one function that moves them.

The daemon, under its lock, is the only mover: look, then rename. `os.rename` replaces silently, so a taken name gets a
short file id before its suffix first. What a move between two file systems is, `metadata.files.moves` says.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from metadata.errors import FileRefused
from metadata.files.moves import Moved, make_folder, relocate
from metadata.files.names import parse_name
from metadata.files.suffixes_and_codecs import SUFFIXES
from metadata.ids import short_id

_SUFFIX = re.compile(rf"(?:{SUFFIXES}|\.[^.]*)$", re.IGNORECASE)
_SHORT_ID = re.compile(rf"\.[0-9a-f]{{8}}(?={SUFFIXES}\Z)", re.IGNORECASE)
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

    def undone(self, file_type: str) -> Path:
        """Where files go whose load was taken back."""
        return self.source_data / "undone" / file_type

    def processed(self, file_type: str, day: date) -> Path:
        """Where loaded files go; `day` is the UTC day of the load."""
        return self.processed_base / file_type / day.isoformat()

    def are_there(self) -> bool:
        """Whether the source-data folder is what it was: an empty mount point is not, and nothing in it is missing."""
        return (self.source_data / "processing").is_dir()

    def ends_of_moves(self) -> list[Path]:
        """Folders that files may just have been on their way to: of processed/, the newest days of each type."""
        folders = ("processing", "held", "failed", "error", "duplicate", "undone")
        places = [self.source_data / folder for folder in folders]
        below = [folder for place in places if place.is_dir() for folder in place.iterdir() if folder.is_dir()]
        types = self.processed_base.iterdir() if self.processed_base.is_dir() else []
        days = [day for folder in types if folder.is_dir() for day in sorted(folder.iterdir(), reverse=True)[:7]]
        return [*places, *below, *days]

    def all(self) -> list[Path]:
        """The folders that `init` makes."""
        folders = ("processing", "held", "failed", "error", "duplicate", "undone")
        return [self.incoming, self.processed_base, *(self.source_data / folder for folder in folders)]


def name_with_id(name: str, file_id: str) -> str:
    """`a_20260115120000.json.gz` → `a_20260115120000.1234abcd.json.gz`, cut so that it still fits a folder."""
    match = _SUFFIX.search(name)
    stem, suffix = (name[: match.start()], match.group()) if match and match.start() else (name, "")
    tail = f".{short_id(file_id)}{suffix}"
    room = _NAME_MAX_BYTES - len(os.fsencode(tail))
    return os.fsdecode(os.fsencode(stem)[:room]) + tail


def name_without_id(name: str) -> str:
    """The name that a file had before `move` put a short id into it; other names stay as they are."""
    try:
        parse_name(name)
    except FileRefused:
        return _SHORT_ID.sub("", name)
    return name


def move(source: Path, folder: Path, name: str, file_id: str) -> Path:
    """Put `source` into `folder` as `name`, or with a short file id in it when the name is taken; returns where.

    Makes the folder. A symlink is moved itself, never followed. The caller syncs both folders before the ledger says
    so. Raises OSError (FileNotFoundError when the source is gone).
    """
    return move_or_finish(source, folder, name, file_id).path


def move_or_finish(source: Path, folder: Path, name: str, file_id: str, earlier: Sequence[Path] = ()) -> Moved:
    """`move`, and how it went; `earlier` are further folders in which a cut off move may have left its copy."""
    make_folder(folder)
    names = (name, name_with_id(name, file_id))
    target = folder / names[0]
    if os.path.lexists(target):
        target = folder / names[1]
    return relocate(source, target, finished_at=[each / one for each in (folder, *earlier) for one in names])


def reason_path(moved: Path, file_id: str) -> Path:
    """Where the reason of a file in failed/ or error/ stands: `<name>.error.json`, cut so that it fits a folder."""
    name = moved.name + ".error.json"
    if len(os.fsencode(name)) > _NAME_MAX_BYTES:
        keep = _NAME_MAX_BYTES - len(b".error.json") - 9
        name = os.fsdecode(os.fsencode(moved.name)[:keep]) + f".{short_id(file_id)}.error.json"
    return moved.with_name(name)


def write_reason(moved: Path, reason: dict[str, Any]) -> Path:
    """Put `<name>.error.json` beside a file in failed/ or error/; returns where. Replaces an earlier one whole."""
    target = reason_path(moved, str(reason.get("file_id", "")))
    temporary = moved.with_name(f".{short_id(str(reason.get('file_id', 'reason')))}.error.json.tmp")
    temporary.write_text(json.dumps(reason, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    os.replace(temporary, target)  # noqa: PTH105 - see above
    return target
