"""Injected time: nothing in Lemonade asks the operating system for the date but the clocks in this file."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from; tests pass one that they move by hand."""

    def now(self) -> datetime:
        """The wall clock as an aware UTC datetime; it may jump, also backwards."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never runs backwards."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """The wall clock as an aware UTC datetime."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since boot or so; never runs backwards."""
        return time.monotonic()
