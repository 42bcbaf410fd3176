"""Redelivery: what to do with a claimed file, given what is loaded or in flight. Pure; `Ledger.plan` acts on it.

A **delivery** is a file type, the time in the file's name and the bytes. The same delivery is loaded once; identical
bytes with another time are another delivery. The same *name* with other bytes is a redelivery, and the type's policy
decides. Only files that are loaded count, and files in flight, whose fate is waited for: failed, undone and replaced
ones may come again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from metadata.database.states import FileState
from metadata.types.config import DeliveryPolicy, OnRedelivery, OnSameContent


class DeliveryVerdict(StrEnum):
    """What Plan does with one claimed file."""

    LOAD = "load"
    DUPLICATE = "duplicate"
    WAIT = "wait"  #: it stays claimed and is planned again once another file's fate is known
    REFUSE = "refuse"
    REPLACE = "replace"  #: it is a batch of its own, which takes earlier loads out


@dataclass(frozen=True)
class DeliveryDecision:
    """A verdict; `replaces` are the ids of the loaded files whose place the file takes."""

    verdict: DeliveryVerdict
    replaces: tuple[str, ...] = ()


class Delivered(Protocol):
    """What is asked of a file: a row of the ledger has it."""

    @property
    def id(self) -> str:
        """Its id in the ledger."""
        ...

    @property
    def name(self) -> str:
        """Its name in incoming/."""
        ...

    @property
    def filename_time(self) -> datetime | None:
        """The time in its name."""
        ...

    @property
    def digest(self) -> str | None:
        """Of its bytes."""
        ...

    @property
    def state(self) -> str:
        """A FileState's value."""
        ...


def decide(files: Sequence[Delivered], others: Sequence[Delivered], policy: DeliveryPolicy) -> list[DeliveryDecision]:
    """A decision for each of `files`, in their order, which is the order of their arrival.

    `others` are files of the same type that are LOADED or BATCHED, at least those that share a name or a digest with
    one of `files`. A file that replaces is a batch of its own: beside files to load, or another that replaces, it
    waits.
    """
    loaded = {_delivery(other) for other in others if other.state == FileState.LOADED}
    in_flight = {_delivery(other) for other in others if other.state != FileState.LOADED}
    by_name: dict[str, list[Delivered]] = defaultdict(list)
    for other in others:
        by_name[other.name].append(other)
    decisions: list[DeliveryDecision] = []
    for file in files:
        decision = _decide(file, loaded, in_flight, by_name[file.name], policy)
        if decision.verdict is DeliveryVerdict.LOAD:  # the files after it see it in flight
            in_flight.add(_delivery(file))
            by_name[file.name].append(file)
        decisions.append(decision)
    return _one_replacing_alone(decisions)


def _decide(
    file: Delivered,
    loaded: set[tuple[datetime | None, str | None]],
    in_flight: set[tuple[datetime | None, str | None]],
    namesakes: Sequence[Delivered],
    policy: DeliveryPolicy,
) -> DeliveryDecision:
    if policy.on_same_content is OnSameContent.SKIP:
        if _delivery(file) in loaded:
            return DeliveryDecision(DeliveryVerdict.DUPLICATE)
        if _delivery(file) in in_flight:
            return DeliveryDecision(DeliveryVerdict.WAIT)
    if policy.on_redelivery is not OnRedelivery.APPEND:
        earlier = [other for other in namesakes if other.digest != file.digest]
        if any(other.state != FileState.LOADED for other in earlier):
            return DeliveryDecision(DeliveryVerdict.WAIT)
        if earlier and policy.on_redelivery is OnRedelivery.REFUSE:
            return DeliveryDecision(DeliveryVerdict.REFUSE)
        if earlier:
            return DeliveryDecision(DeliveryVerdict.REPLACE, tuple(other.id for other in earlier))
    return DeliveryDecision(DeliveryVerdict.LOAD)


def _one_replacing_alone(decisions: list[DeliveryDecision]) -> list[DeliveryDecision]:
    taken = any(decision.verdict is DeliveryVerdict.LOAD for decision in decisions)
    alone: list[DeliveryDecision] = []
    for decision in decisions:
        if decision.verdict is DeliveryVerdict.REPLACE:
            alone.append(DeliveryDecision(DeliveryVerdict.WAIT) if taken else decision)
            taken = True
        else:
            alone.append(decision)
    return alone


def _delivery(file: Delivered) -> tuple[datetime | None, str | None]:
    return file.filename_time, file.digest
