"""What follows on a failed attempt at a batch."""

from __future__ import annotations

import pytest

from metadata.errors import BatchFault, UnknownOutcome
from metadata.retry_policy import policy_for
from metadata.settings import Settings
from processors.load.next_attempt import MOST_FAULTS, Again, GiveUp, Halve, after, is_poison

SETTINGS = Settings.load({"BATCH_MAX_ATTEMPTS": "4", "BATCH_RETRY_SECONDS": "10"}, None)


def follows(code: str, *, files: int, faults: int, chunk_faults: int = 1) -> Again | Halve | GiveUp:
    """After a BatchFault of this code; without jitter."""
    fault = BatchFault("it broke", code=code)
    retry = policy_for(fault, None, SETTINGS)
    return after(fault, retry, files=files, faults=faults, chunk_faults=chunk_faults, random=lambda: 0.5)


@pytest.mark.parametrize("code", ["worker_lost", "task_failed", "timed_out"])
def test_a_fault_that_a_file_may_have_caused_halves_at_once(code: str) -> None:
    """Of many files, the batch is cut in two after its first fault."""
    assert follows(code, files=2, faults=1) == Halve()


def test_a_dead_jvm_is_tried_once_more() -> None:
    """The JVM's first death is followed by the same batch, its second by two halves."""
    assert follows("spark_lost", files=2, faults=1) == Again(10)
    assert follows("spark_lost", files=2, faults=2) == Halve()


@pytest.mark.parametrize(
    ("code", "becomes"),
    [("worker_lost", "poison"), ("task_failed", "task_failed"), ("timed_out",) * 2, ("spark_lost",) * 2],
)
def test_a_file_alone_is_given_up_under_its_code(code: str, becomes: str) -> None:
    """It has a second attempt, then its code says what it did."""
    assert follows(code, files=1, faults=1) == Again(10)
    assert follows(code, files=1, faults=2) == GiveUp(becomes)


def test_other_faults_wait_longer_each_time_and_halve_nothing() -> None:
    """A batch of many files keeps them all until it is out of attempts."""
    assert [follows("batch", files=9, faults=number) for number in (1, 2, 3, 4)] == [
        Again(10),
        Again(20),
        Again(40),
        GiveUp("out_of_attempts"),
    ]


def test_halving_has_an_end() -> None:
    """When a chunk has failed very often, what is left of it is given up whole."""
    assert follows("worker_lost", files=9, faults=1, chunk_faults=MOST_FAULTS) == Again(10)
    assert follows("worker_lost", files=9, faults=2, chunk_faults=MOST_FAULTS + 1) == GiveUp("out_of_attempts")


def test_an_unknown_outcome_is_asked_for_again() -> None:
    """A lost answer waits as any fault does; nothing is halved behind Prepare."""
    fault = UnknownOutcome("no answer")
    retry = policy_for(fault, None, SETTINGS)
    verdicts = [
        after(fault, retry, files=1, faults=number, chunk_faults=number, random=lambda: 0.5) for number in (1, 4)
    ]
    assert verdicts == [Again(10), GiveUp("out_of_attempts")]


def test_poison_is_alone() -> None:
    """Only the one file of a batch is blamed for the deaths of processes, and not before the third."""
    assert [is_poison(files, deaths) for files, deaths in [(1, 2), (1, 3), (2, 9)]] == [False, True, False]
