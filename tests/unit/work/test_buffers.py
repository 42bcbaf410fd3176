"""Buffers: when they are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from metadata.database.states import FlushReason
from metadata.settings import Settings
from metadata.types.config import ProcessingConfig
from metadata.types.file_type import FileType, TypeStatus
from watcher.work.buffers import Buffer, Buffers, due

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
LIMITS = Settings.load({"FLUSH_MAX_FILES": "10", "FLUSH_MAX_BYTES": "1000"}, None)
WITH_AGE = Settings.load({"FLUSH_MAX_FILES": "10", "FLUSH_MAX_BYTES": "1000", "FLUSH_MAX_AGE_SECONDS": "60"}, None)


def kind(**config: int) -> FileType:
    """An active type with these thresholds of its own."""
    return FileType("a", "raw_data.a", ("a",), TypeStatus.ACTIVE, None, 1, ProcessingConfig.model_validate(config))


def buffer(files: int, size: int, oldest: datetime = NOON) -> Buffer:
    """A buffer of the type `a`."""
    return Buffer("a", files, size, oldest)


@pytest.mark.parametrize(
    ("files", "size", "reason"),
    [
        (0, 0, None),
        (9, 999, None),
        (10, 0, FlushReason.SIZE),
        (1, 1000, FlushReason.SIZE),
        (11, 5000, FlushReason.SIZE),
    ],
)
def test_size_and_bytes(files: int, size: int, reason: FlushReason | None) -> None:
    """Either threshold is enough, and reaching it is enough; an empty buffer is never due."""
    assert due(kind(), buffer(files, size), LIMITS, NOON) is reason


def test_age_counts_only_when_it_is_set() -> None:
    """Without FLUSH_MAX_AGE_SECONDS the hour decides; a clock that was set back makes nothing due."""
    later = NOON + timedelta(seconds=60)
    assert due(kind(), buffer(1, 1), LIMITS, later) is None
    assert due(kind(), buffer(1, 1), WITH_AGE, later) is FlushReason.AGE
    assert due(kind(), buffer(1, 1), WITH_AGE, later - timedelta(seconds=1)) is None
    assert due(kind(), buffer(1, 1), WITH_AGE, NOON - timedelta(days=1)) is None


def test_a_types_own_thresholds_win() -> None:
    """Smaller and larger ones alike."""
    assert due(kind(flush_max_files=2), buffer(2, 1), LIMITS, NOON) is FlushReason.SIZE
    assert due(kind(flush_max_files=99), buffer(20, 1), LIMITS, NOON) is None
    assert due(kind(flush_max_bytes=5), buffer(1, 5), LIMITS, NOON) is FlushReason.SIZE
    assert due(kind(flush_max_age_seconds=1), buffer(1, 1), LIMITS, NOON + timedelta(seconds=1)) is FlushReason.AGE
    assert due(kind(flush_max_age_seconds=999), buffer(1, 1), WITH_AGE, NOON + timedelta(seconds=99)) is None


def test_an_unknown_buffer_is_empty() -> None:
    """A type of which nothing waits is never due."""
    assert Buffers().due(kind(flush_max_files=1), LIMITS, NOON) is None
