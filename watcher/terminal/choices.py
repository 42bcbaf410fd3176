"""What options choose from: a text of the command line as the member of an enum that it names."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from metadata.errors import UsageError

Member = TypeVar("Member", bound=StrEnum)


def member(members: type[Member], text: str, what: str) -> Member:
    """The member of that value; UsageError names them all when there is none."""
    try:
        return members(text)
    except ValueError:
        raise UsageError(f"choosing {what} {text!r}: it is one of {', '.join(members)}") from None
