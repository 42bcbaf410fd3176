"""JSON keys → names of columns. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from metadata.types.definition import DATE_COLUMN, LINEAGE, NAME, RESCUED

_NAME_CHARS = 60
_TAKEN = (DATE_COLUMN, *LINEAGE, RESCUED)


def column_names(keys: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """A legal column name for each key, all different whatever the case; a key that is a legal name keeps it."""
    names: dict[str, str] = {}
    used = {*_TAKEN, *(name.lower() for name in taken)}
    for key in keys:
        if NAME.fullmatch(key) and len(key) <= _NAME_CHARS * 2 and key.lower() not in used:
            names[key] = key
            used.add(key.lower())
    used.update(key.lower() for key in keys)  # a name that is another field's key would confuse people
    for key in keys:
        if key in names:
            continue
        stem = _legal(key)
        if stem.lower() in _TAKEN:
            stem += "_"
        name, number = stem, 1
        while name.lower() in used:
            number += 1
            name = f"{stem}_{number}"
        names[key] = name
        used.add(name.lower())
    return names


def _legal(key: str) -> str:
    plain = "".join(char for char in unicodedata.normalize("NFKD", key) if not unicodedata.combining(char))
    name = re.sub(r"[^A-Za-z0-9_]+", "_", plain)[:_NAME_CHARS]
    if not name.strip("_"):
        return "field"
    if not NAME.fullmatch(key):
        name = name.strip("_").lower()
    return name if NAME.fullmatch(name) else f"f_{name}"
