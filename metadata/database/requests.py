"""Requests: what a command asks of the running daemon. The row is the truth; a touched wake file is only the hint."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from metadata.database.models import Request
from metadata.database.store import Store
from metadata.ids import new_id


class Requests(Store):
    """The queue of requests in the metadata database."""

    def ask(self, verb: str, arguments: dict[str, Any]) -> str:
        """Write a request; returns its id."""
        request_id = new_id(self.clock)
        with self.database.writing() as session:
            session.add(
                Request(id=request_id, verb=verb, arguments=arguments, state="waiting", asked_at=self.clock.now())
            )
        return request_id

    def take(self) -> list[Request]:
        """The daemon takes every waiting request, oldest first."""
        with self.database.reading() as session:  # most looks find nothing: no write lock for those
            if session.scalar(select(Request.id).where(Request.state == "waiting").limit(1)) is None:
                return []
        with self.database.writing() as session:
            rows = list(session.scalars(select(Request).where(Request.state == "waiting").order_by(Request.id)))
            for row in rows:
                row.state, row.taken_at = "taken", self.clock.now()
            return rows

    def finish(self, request_id: str, result: dict[str, Any]) -> None:
        """The daemon did it."""
        self._end(request_id, "done", result, None)

    def fail(self, request_id: str, error: str) -> None:
        """The daemon could not do it."""
        self._end(request_id, "failed", None, error)

    def drop_stale(self) -> int:
        """At start: requests taken by a daemon that is gone will never be answered; returns how many there were."""
        with self.database.writing() as session:
            rows = list(session.scalars(select(Request).where(Request.state == "taken")))
            for row in rows:
                row.state, row.error, row.done_at = "dropped", "the daemon ended before it was done", self.clock.now()
            return len(rows)

    def get(self, request_id: str) -> Request:
        """The request as it is now."""
        with self.database.reading() as session:
            return session.get_one(Request, request_id)

    def _end(self, request_id: str, state: str, result: dict[str, Any] | None, error: str | None) -> None:
        with self.database.writing() as session:
            row = session.get_one(Request, request_id)
            row.state, row.result, row.error, row.done_at = state, result, error, self.clock.now()
