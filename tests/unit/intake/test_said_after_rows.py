"""A round: folders, then rows, then what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
from handclock import HandClock

from metadata.database.states import FileState
from metadata.errors import WorldFault
from metadata.ids import new_id
from metadata.ledger.values import Arrival, NewFile
from metadata.logs import Event
from watcher.intake import round as rounds
from watcher.intake.round import Line, Round


class Rows:
    """A ledger that keeps what it is given, or is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.added: list[int] = []
        self.database = None

    def add_many(self, rows: list[NewFile]) -> None:
        """Keep how many."""
        if self.is_away:
            raise WorldFault("writing rows: away; wait", code="ledger_away")
        self.added.append(len(rows))

    def claim_held_many(self, claims: list[Any]) -> None:
        """None in these tests."""
        assert claims == []


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Rows:
    """The rows; nothing comes back from other folders."""
    monkeypatch.setattr(rounds, "mark_returned", lambda ledger, rows: None)
    return Rows()


def arrived(clock: HandClock) -> NewFile:
    """A claimed file."""
    arrival = Arrival(new_id(clock), "a.json", "a", None, 2, clock.now(), "scan", clock.now())
    return NewFile(arrival, FileState.CLAIMED, "/p/a.json", "a")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Events of our lines."""
    return [str(record.msg["event"]) for record in caplog.records if isinstance(record.msg, dict)]


def test_lines_are_said_once_their_rows_are_written(
    ledger: Rows, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is said before; a full group is written at once, the rest at the end."""
    caplog.set_level("INFO", logger="lemonade")
    made = Round(ledger)  # type: ignore[arg-type] # a stand-in
    for number in range(1, rounds.GROUP_FILES + 3):
        made.add(arrived(clock), Line(Event.FILE_CLAIMED, {"number": number}))
        assert len(said(caplog)) == (rounds.GROUP_FILES if number >= rounds.GROUP_FILES else 0)
    made.write()
    assert ledger.added == [rounds.GROUP_FILES, 2]
    assert said(caplog) == ["file.claimed"] * (rounds.GROUP_FILES + 2)


def test_nothing_is_said_of_rows_that_were_not_written(
    ledger: Rows, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor later: the files are adopted, and told of then."""
    caplog.set_level("INFO", logger="lemonade")
    made = Round(ledger)  # type: ignore[arg-type] # a stand-in
    made.add(arrived(clock), Line(Event.FILE_CLAIMED, {}))
    ledger.is_away = True
    with pytest.raises(WorldFault):
        made.write()
    ledger.is_away = False
    made.write()
    assert (ledger.added, said(caplog)) == ([0], [])
