"""Identifiers: UUIDv7, so that they sort in the order in which they were made (RFC 9562, section 5.7)."""

from __future__ import annotations

import secrets
import threading
import uuid

from metadata.clock import Clock


class IdSequence:
    """Makes ids, each strictly greater than every one that it made before. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0  #: milliseconds and counter of the last one

    def next(self, clock: Clock) -> str:
        """A UUIDv7 as 36 characters.

        The 12 bits after the millisecond count up within one millisecond (RFC 9562, section 6.2, method 1), and carry
        into the milliseconds when they are full or when the clock runs backwards.
        """
        with self._lock:
            stamp = (int(clock.now().timestamp() * 1000) << 12) | secrets.randbelow(1 << 8)
            self._last = stamp = max(stamp, self._last + 1)
        milliseconds, counter = stamp >> 12, stamp & 0xFFF
        value = (milliseconds << 80) | (7 << 76) | (counter << 64) | (2 << 62) | secrets.randbits(62)
        return str(uuid.UUID(int=value))


PROCESS_IDS = IdSequence()
"""Those of this process: one sequence, for the ledger tells by ids which of two things came first."""


def new_id(clock: Clock) -> str:
    """The next id of this process: a UUIDv7 as 36 characters, strictly greater than every one before."""
    return PROCESS_IDS.next(clock)


def short_id(identifier: str) -> str:
    """The last 8 characters of an id: the random part, enough to tell two files of one name apart."""
    return identifier[-8:]
