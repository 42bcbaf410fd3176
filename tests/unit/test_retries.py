"""The retry policy: one table of values, its waits, and a type's own numbers."""

from __future__ import annotations

import pytest

from metadata import errors
from metadata.errors import BatchFault, ConfigurationError, Fatal, FileRefused, UnknownOutcome, WorldFault
from metadata.logs import Severity
from metadata.retry_policy import Destination, policies, policy_for
from metadata.settings import Settings
from metadata.types.config import ProcessingConfig, RetryConfig
from metadata.types.file_type import FileType, TypeStatus
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition

SETTINGS = Settings.load({}, None)


def a_type(retry: RetryConfig | None) -> FileType:
    """A type with its own numbers."""
    return FileType("a", "raw_data.a", ("a",), TypeStatus.ACTIVE, None, 1, ProcessingConfig(retry=retry))


def test_waits_double_up_to_the_longest() -> None:
    """Without jitter the waits are first, twice, four times … and never more than the longest, however late."""
    retry = policy_for(BatchFault("it failed"), None, SETTINGS)
    waits = [retry.wait(attempt, lambda: 0.5) for attempt in (1, 2, 3, 4, 5, 6, 10_000)]
    assert waits == [5, 10, 20, 40, 60, 60, 60]


def test_jitter_stays_within_its_part() -> None:
    """The smallest and the largest chance make the wait a fifth shorter and a fifth longer."""
    retry = policy_for(BatchFault("it failed"), None, SETTINGS)
    assert retry.wait(1, lambda: 0.0) == pytest.approx(4)
    assert retry.wait(1, lambda: 1.0) == pytest.approx(6)


def test_the_settings_are_the_defaults_of_the_batch() -> None:
    """BATCH_MAX_ATTEMPTS and BATCH_RETRY_SECONDS are the batch rows' numbers; the last attempt is told."""
    retry = policy_for(
        BatchFault("x"), None, Settings.load({"BATCH_MAX_ATTEMPTS": "3", "BATCH_RETRY_SECONDS": "90"}, None)
    )
    assert (retry.attempts, retry.wait(1, lambda: 0.5), retry.wait(9, lambda: 0.5)) == (3, 90, 90)
    assert [retry.is_last(attempt) for attempt in (1, 2, 3, 4)] == [False, False, True, True]


def test_a_fault_of_the_world_has_no_last_attempt() -> None:
    """It waits without end, and a type's numbers do not change that."""
    retry = policy_for(WorldFault("away", code="disk_full"), a_type(RetryConfig(attempts=1)), SETTINGS)
    assert retry.attempts is None
    assert not retry.is_last(10_000)
    assert (retry.destination, retry.longest_wait_seconds) == (Destination.WAIT, 30)


@pytest.mark.parametrize(
    ("error", "destination"),
    [
        (BatchFault("x", code="batch"), Destination.FAILED),
        (BatchFault("x", code="task_failed"), Destination.HALVED),
        (BatchFault("x", code="worker_lost"), Destination.HALVED),
        (BatchFault("x", code="commit_conflict"), Destination.TYPE_STOPPED),
        (UnknownOutcome("x"), Destination.TYPE_STOPPED),
        (FileRefused("x", code="malformed"), Destination.FAILED),
        (FileRefused("x", code="schema_mismatch"), Destination.ERROR),
        (Fatal("x"), Destination.DAEMON_STOPPED),
        (ZeroDivisionError("a bug"), Destination.DAEMON_STOPPED),
    ],
)
def test_the_code_chooses_the_row_before_its_class(error: Exception, destination: Destination) -> None:
    """A row with the error's own code wins over its class's; what is none of ours stops the daemon."""
    assert policy_for(error, None, SETTINGS).destination is destination


def test_a_type_overrides_only_the_numbers_it_names() -> None:
    """`retry` of a processing config changes attempts and waits of that type; the rest follows the table."""
    own = a_type(RetryConfig(attempts=2, first_wait_seconds=0.5))
    retry = policy_for(BatchFault("x"), own, SETTINGS)
    assert (retry.attempts, retry.first_wait_seconds, retry.longest_wait_seconds) == (2, 0.5, 60)
    assert retry.destination is Destination.FAILED
    assert policy_for(BatchFault("x"), a_type(None), SETTINGS).attempts == 5
    assert policy_for(FileRefused("x"), own, SETTINGS).attempts == 1


def test_retry_is_read_from_a_processing_config() -> None:
    """A registered `retry` becomes values; numbers and keys that make no sense are all said at once."""
    definition = parse_definition({"fields": [{"name": "n", "type": "long"}]})
    config = parse_config({"retry": {"attempts": 3, "first_wait_seconds": 5}}, None, definition)
    assert config.retry == RetryConfig(attempts=3, first_wait_seconds=5)
    with pytest.raises(ConfigurationError) as refused:
        parse_config({"retry": {"attempts": 0, "first_wait_seconds": "5", "often": True}}, None, definition)
    assert len(refused.value.faults) == 3
    with pytest.raises(ConfigurationError, match="JSON object"):
        parse_config({"retry": 3}, None, definition)


def test_every_row_is_of_an_error_of_ours() -> None:
    """The classes that the table names are in the error tree, each with one row for its other codes."""
    rows = policies(SETTINGS)
    for row in rows:
        assert issubclass(getattr(errors, row.error), errors.LemonadeError)
        assert sum(each.error == row.error and each.code == row.code for each in rows) == 1
    assert {row.error for row in rows if row.code is None} == {row.error for row in rows}
    assert {row.severity for row in rows if row.destination is Destination.HALVED} == {Severity.CRITICAL}
