"""Made-up source files of the two built-in types: for trying things out, for tests and for benchmarks.

The same random numbers and the same moment give the same files, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec

_RECENT = timedelta(hours=3)
_LATE_SHARE = 0.05
_MISSING_SHARE = 0.04
_FLEET = 40
_SOURCES = ("gps", "can_bus", "driver_app", "depot_gate")
_EVENTS = (
    "ignition_on",
    "ignition_off",
    "position",
    "speed",
    "fuel_level",
    "door_opened",
    "harsh_braking",
    "refuelled",
)
_STATUSES = ("driving", "idle", "parked", "charging", "in_workshop", "offline")
_DOORS = ("front_left", "front_right", "rear", "cargo")


@dataclass(frozen=True)
class MadeUpType:
    """A built-in type as producers name it: in the files' names and as the key above the records."""

    file_type: str
    prefix: str


KINDS = (MadeUpType("vehicle_events", "vehicles_events"), MadeUpType("vehicle_status", "vehicles_status"))


@dataclass(frozen=True)
class Generated:
    """A file that was put into a folder."""

    path: Path
    file_type: str
    records: int
    bad: int  #: of them, those that break the schema


def records(rng: Random, kind: MadeUpType, count: int, around: datetime) -> list[dict[str, Any]]:
    """`count` records of one type. Their times lie in the hours before `around`, a few on the day before.

    Fields that may be null sometimes are, or are missing. No two have the same vehicle and time.
    """
    make = _event if kind.file_type == "vehicle_events" else _status
    seen: set[tuple[str, str]] = set()
    made: list[dict[str, Any]] = []
    while len(made) < count:
        record = make(rng, around)
        key = (record["vehicle_id"], record.get("event_time") or record["report_time"])
        if key not in seen:
            seen.add(key)
            made.append(record)
    return made


def spoil(rng: Random, kind: MadeUpType, rows: list[dict[str, Any]], share: float) -> int:
    """Break `share` of the records as producers do (at least one, unless it is 0); returns how many."""
    if not share:
        return 0
    time, text = ("event_time", "event_type") if kind.file_type == "vehicle_events" else ("report_time", "status")
    chosen = rng.sample(range(len(rows)), min(len(rows), max(1, round(share * len(rows)))))
    for at in chosen:
        match rng.randrange(3):
            case 0:
                del rows[at]["vehicle_id"]
            case 1:
                rows[at][time] = "yesterday"
            case _:
                rows[at][text] = 17
    return len(chosen)


def document(kind: MadeUpType, rows: list[dict[str, Any]]) -> bytes:
    """The JSON of a source file: one object whose only key names the type."""
    return msgspec.json.encode({kind.prefix: rows})


def file_name(kind: MadeUpType, moment: datetime) -> str:
    """`vehicles_events_20260115120000.json`."""
    return f"{kind.prefix}_{moment.astimezone(UTC):%Y%m%d%H%M%S}.json"


def write_file(folder: Path, name: str, data: bytes) -> Path:
    """Write a file as a careful producer does: whole, under a temporary name, then renamed into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.tmp"
    try:
        temporary.write_bytes(data)
        os.rename(temporary, target := folder / name)  # noqa: PTH104 - Path.rename is the same call
    finally:
        temporary.unlink(missing_ok=True)
    return target


class Generator:
    """Makes files with names of their own: of the last second, and where that name is `taken`, of one before it."""

    def __init__(self, rng: Random, folder: Path, taken: Callable[[str], bool]) -> None:
        self.rng = rng
        self.folder = folder
        self.taken = taken
        self._used: set[str] = set()

    def make(self, num_files: int, count: int, now: datetime, bad_share: float = 0.0) -> list[Generated]:
        """Put `num_files` files of each type, of `count` records each, into the folder; returns them in order.

        `bad_share` of each file's records break the schema.
        """
        made = []
        moment = now
        for _ in range(num_files):
            while any(self._is_taken(file_name(kind, moment)) for kind in KINDS):
                moment -= timedelta(seconds=1)
            for kind in KINDS:
                name = file_name(kind, moment)
                self._used.add(name)
                rows = records(self.rng, kind, count, moment)
                bad = spoil(self.rng, kind, rows, bad_share)
                made.append(Generated(write_file(self.folder, name, document(kind, rows)), kind.file_type, count, bad))
        return made

    def _is_taken(self, name: str) -> bool:
        return name in self._used or os.path.lexists(self.folder / name) or self.taken(name)


def _event(rng: Random, around: datetime) -> dict[str, Any]:
    event_type = rng.choice(_EVENTS)
    return _with_gaps(
        rng,
        {"vehicle_id": _vehicle(rng), "event_time": _time(rng, around)},
        {
            "event_source": rng.choice(_SOURCES),
            "event_type": event_type,
            "event_value": _event_value(rng, event_type),
            "event_extra_data": {
                "latitude": round(rng.uniform(47.3, 54.9), 5),
                "longitude": round(rng.uniform(6.1, 14.9), 5),
                "firmware": f"{rng.randint(1, 4)}.{rng.randint(0, 9)}",
                **({"driver": f"D-{rng.randint(1, 25):03}"} if rng.random() < 0.5 else {}),
            },
        },
    )


def _event_value(rng: Random, event_type: str) -> str | int | float:
    if event_type == "speed":
        return round(rng.uniform(0, 130), 1)
    if event_type == "fuel_level":
        return rng.randint(0, 100)
    if event_type == "door_opened":
        return rng.choice(_DOORS)
    if event_type == "refuelled":
        return f"{rng.uniform(10, 80):.2f} l"
    return "ok" if rng.random() < 0.5 else rng.randint(0, 3)


def _status(rng: Random, around: datetime) -> dict[str, Any]:
    return _with_gaps(
        rng,
        {"vehicle_id": _vehicle(rng), "report_time": _time(rng, around)},
        {"status_source": rng.choice(_SOURCES), "status": rng.choice(_STATUSES)},
    )


def _with_gaps(rng: Random, required: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    """Some of the optional fields become null, some are left out."""
    record = dict(required)
    for name, value in optional.items():
        drawn = rng.random()
        if drawn >= _MISSING_SHARE:
            record[name] = value
        elif drawn >= _MISSING_SHARE / 4:
            record[name] = None
    return record


def _vehicle(rng: Random) -> str:
    return f"V-{rng.randint(1, _FLEET):04}"


def _time(rng: Random, around: datetime) -> str:
    """Recent, or late: from the UTC day before."""
    moment = around.astimezone(UTC)
    if rng.random() < _LATE_SHARE:
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        moment = day + timedelta(seconds=rng.uniform(0, 86_399))
    else:
        moment -= timedelta(seconds=rng.uniform(0, _RECENT.total_seconds()))
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
