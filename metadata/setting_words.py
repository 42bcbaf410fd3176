"""Settings in words: what one may be, how it is shown without its secrets, and the documents that are made of all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import NamedTuple, get_args

from pydantic.fields import FieldInfo

_USER_PASSWORD = re.compile(r"(://[^:/@]*):.*@")
_SECRET_PARAMETER = re.compile(r"([?&;][^=&;]*(?:password|passwd|secret|token|key|credential)[^=&;]*)=[^&;]*", re.I)


class ShownSetting(NamedTuple):
    """One setting as a person may see it: passwords are masked."""

    name: str  #: of the variable
    value: str  #: empty: unset
    is_default: bool
    description: str


def mask(text: str) -> str:
    """`text` with the password of a URL and secret-looking parameters replaced by `***`."""
    return _SECRET_PARAMETER.sub(r"\1=***", _USER_PASSWORD.sub(r"\1:***@", text))


def allowed_words(field: FieldInfo) -> str:
    """What a setting may be, in words."""
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["allowed"])
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType] or [field.annotation]
    if isinstance(kinds[0], str):
        return ", ".join(kinds)
    if kinds[0] is Path:
        return "folder"
    if kinds[0] is bool:
        return "true, false"
    words = "whole number" if kinds[0] is int else "number"
    for constraint, phrase in (("ge", "from"), ("gt", "above"), ("le", "up to")):
        for rule in field.metadata:
            if (bound := getattr(rule, constraint, None)) is not None:
                words += f" {phrase} {bound}"
    return words


def text_of(value: object) -> str:
    """A value as it stands in `.env`; a relative path shows that it is one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path) and not value.is_absolute():
        return f"./{value}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def settings_table(fields: Mapping[str, FieldInfo]) -> str:
    """The manual's table of settings, in Markdown."""
    rows = ["| variable | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for name, field in fields.items():
        default = text_of(field.default)
        shown = f"`{default}`" if default else ""
        rows.append(f"| `{name.upper()}` | {shown} | {allowed_words(field)} | {field.description} |")
    return "\n".join(rows) + "\n"


def env_example(fields: Mapping[str, FieldInfo]) -> str:
    """The text of `.env.example`: every setting, commented out, with what it means and its default."""
    parts = [
        "# Settings of Lemonade. Copy to .env and uncomment what you change: none is needed on one machine.\n"
        "# The environment wins over this file. Relative paths start at the working directory.\n"
    ]
    for name, field in fields.items():
        description = (field.description or "").replace("`", "")
        parts.append(f"# {description}\n# allowed: {allowed_words(field)}\n# {name.upper()}={text_of(field.default)}\n")
    return "\n".join(parts)
