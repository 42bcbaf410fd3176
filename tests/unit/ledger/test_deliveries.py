"""What Plan does with files that were delivered before, as a pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from metadata.ledger.deliveries import DeliveryDecision, DeliveryVerdict, decide
from metadata.types.config import DeliveryPolicy, OnRedelivery, OnSameContent

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
REPLACE = DeliveryPolicy(on_redelivery=OnRedelivery.REPLACE)
REFUSE = DeliveryPolicy(on_redelivery=OnRedelivery.REFUSE)


@dataclass(frozen=True)
class Given:
    """A file; its id says which of the table's it is."""

    id: str
    name: str = "a"
    digest: str | None = "d1"
    state: str = "claimed"
    filename_time: datetime | None = NOON


LOADED = Given("old", state="loaded")
IN_FLIGHT = Given("old", state="batched")


@pytest.mark.parametrize(
    ("file", "other", "policy", "verdict"),
    [
        (Given("x"), LOADED, DeliveryPolicy(), DeliveryVerdict.DUPLICATE),
        (Given("x"), IN_FLIGHT, DeliveryPolicy(), DeliveryVerdict.WAIT),
        (Given("x", name="b"), LOADED, DeliveryPolicy(), DeliveryVerdict.DUPLICATE),
        (Given("x", filename_time=NOON.replace(hour=13)), LOADED, DeliveryPolicy(), DeliveryVerdict.LOAD),
        (Given("x"), LOADED, DeliveryPolicy(on_same_content=OnSameContent.LOAD), DeliveryVerdict.LOAD),
        (Given("x"), IN_FLIGHT, DeliveryPolicy(on_same_content=OnSameContent.LOAD), DeliveryVerdict.LOAD),
        (Given("x", digest="d2"), LOADED, DeliveryPolicy(), DeliveryVerdict.LOAD),
        (Given("x", digest="d2"), IN_FLIGHT, DeliveryPolicy(), DeliveryVerdict.LOAD),
        (Given("x", digest="d2"), LOADED, REFUSE, DeliveryVerdict.REFUSE),
        (Given("x", digest="d2"), IN_FLIGHT, REFUSE, DeliveryVerdict.WAIT),
        (Given("x"), LOADED, REFUSE, DeliveryVerdict.DUPLICATE),
        (Given("x", digest="d2"), LOADED, REPLACE, DeliveryVerdict.REPLACE),
        (Given("x", digest="d2"), IN_FLIGHT, REPLACE, DeliveryVerdict.WAIT),
        (Given("x"), LOADED, REPLACE, DeliveryVerdict.DUPLICATE),
        (Given("x", name="b", digest="d2"), LOADED, REPLACE, DeliveryVerdict.LOAD),
        (Given("x"), LOADED, DeliveryPolicy(OnSameContent.LOAD, OnRedelivery.REPLACE), DeliveryVerdict.LOAD),
    ],
)
def test_one_file_beside_another(file: Given, other: Given, policy: DeliveryPolicy, verdict: DeliveryVerdict) -> None:
    """Name, time and bytes against a loaded file or one in flight, under each policy."""
    assert [decision.verdict for decision in decide([file], [other], policy)] == [verdict]


def test_a_replacing_file_is_alone() -> None:
    """Beside files to load it waits; of several, the first goes; each names all the loads whose place it takes."""
    old, older, other = LOADED, Given("older", digest="d0", state="loaded"), Given("o", name="b", state="loaded")
    new, newer, other_new = Given("n1", digest="d2"), Given("n2", digest="d3"), Given("n3", name="b", digest="d4")
    wait, replace = DeliveryDecision(DeliveryVerdict.WAIT), DeliveryDecision(DeliveryVerdict.REPLACE, ("old", "older"))
    assert decide([new, newer, other_new], [old, older, other], REPLACE) == [replace, wait, wait]
    fresh = Given("f", name="c", digest="d9")
    assert decide([new, fresh], [old, older], REPLACE) == [wait, DeliveryDecision(DeliveryVerdict.LOAD)]


def test_copies_in_one_chunk() -> None:
    """The first of a delivery, or of a name that may come once, is loaded; the others wait for its fate."""
    one, same, rewritten = Given("1"), Given("2"), Given("3", digest="d2")
    load, wait = DeliveryDecision(DeliveryVerdict.LOAD), DeliveryDecision(DeliveryVerdict.WAIT)
    assert decide([one, same, rewritten], [], DeliveryPolicy()) == [load, wait, load]
    assert decide([one, same, rewritten], [], REFUSE) == [load, wait, wait]
    assert decide([one, same, rewritten], [], REPLACE) == [load, wait, wait]
