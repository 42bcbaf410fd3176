"""What follows when an attempt at a micro-batch has failed: another one, two halves, or its end. Decisions only.

A fault that one file may have caused (its worker or the JVM died, it hung, decoding it raised) has the batch cut in
two, again and again, until that file is alone and goes to failed/; the others load. Which faults these are, how often a
batch is tried and how long it waits stands in `metadata.retry_policy`. A file is in log2(files of its chunk) + attempts
attempts at most.

Deaths of the whole process are treated the same, see `watcher.work.chunks.by_deaths` and `is_poison`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metadata.errors import BatchFault, UnknownOutcome
from metadata.retry_policy import Destination, Retry

MOST_FAULTS = 500  # of one chunk: when everything fails, halving thousands of files to the last would help nobody
POISON_DEATHS = 3  # of the whole process: a file that was alone in work at the last of them is not tried again
_FAULTS_BEFORE_HALVING = {"spark_lost": 2}  # the JVM dies of other things more often than of a file


@dataclass(frozen=True)
class Again:
    """Another attempt at the same batch, after a wait."""

    seconds: float


@dataclass(frozen=True)
class Halve:
    """The batch is abandoned; its files are planned again as two."""


@dataclass(frozen=True)
class GiveUp:
    """No other attempt; before Prepare, the files go to failed/ with this code."""

    code: str


def after(
    fault: BatchFault | UnknownOutcome,
    retry: Retry,
    *,
    files: int,
    faults: int,
    chunk_faults: int,
    random: Callable[[], float],
) -> Again | Halve | GiveUp:
    """What follows on the `faults`-th fault of a batch of `files` files.

    `chunk_faults` counts those of all batches that the same chunk was cut into, `random` as in `Retry.wait`.
    """
    follows_a_file = retry.destination is Destination.HALVED
    if follows_a_file and files > 1 and chunk_faults < MOST_FAULTS:
        if faults >= _FAULTS_BEFORE_HALVING.get(fault.code, 1):
            return Halve()
    elif retry.is_last(faults):
        if not follows_a_file or files > 1:
            return GiveUp("out_of_attempts")
        return GiveUp("poison" if fault.code == "worker_lost" else fault.code)
    return Again(retry.wait(faults, random))


def is_poison(files: int, deaths: int) -> bool:
    """Whether a batch of `files` files is given up at recovery: `deaths` of the process with its one file in work."""
    return files == 1 and deaths >= POISON_DEATHS
