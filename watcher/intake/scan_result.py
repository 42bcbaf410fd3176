"""What one look at incoming/ did, as values: files claimed, held, refused, left where they are."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Claimed:
    """A file that now waits in its type's buffer."""

    file_id: str
    name: str
    file_type: str
    size_bytes: int


@dataclass(frozen=True)
class Held:
    """A file that no active type takes."""

    file_id: str
    name: str
    prefix: str
    reason: str


@dataclass(frozen=True)
class Refused:
    """A file that went to failed/."""

    file_id: str
    name: str
    code: str
    message: str


@dataclass(frozen=True)
class Ignored:
    """What stays in incoming/: a folder, or a file that may not be moved."""

    name: str
    reason: str


@dataclass
class ScanResult:
    """What one look did. Names are in their safe form."""

    claimed: list[Claimed] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)
    settling: dict[str, float] = field(default_factory=dict)  #: files that may still be written: seconds to wait

    @property
    def next_look_seconds(self) -> float | None:
        """When the first of the settling files could be whole; None when none is settling."""
        return min(self.settling.values(), default=None)
