"""Files that come: taken out of incoming/, held, refused, claimed, tried again, or gone."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select

from metadata.database.id_chunks import id_chunks
from metadata.database.legal_steps import get_file, move_file
from metadata.database.models import SourceFile
from metadata.database.states import FileState
from metadata.database.store import Store
from metadata.ledger.file_history import note, note_many
from metadata.ledger.values import Arrival, HeldClaim, NewFile


class Arrivals(Store):
    """What intake and retry write."""

    def add_many(self, files: Sequence[NewFile]) -> None:
        """Files were taken out of incoming/: all of these rows, or none."""
        if not files:
            return
        now = self.clock.now()
        rows = [
            {
                "id": file.arrival.file_id,
                "name": file.arrival.name,
                "prefix": file.arrival.prefix,
                "file_type": file.file_type,
                "filename_time": file.arrival.filename_time,
                "size_bytes": file.arrival.size_bytes,
                "digest": file.arrival.digest,
                "modified_at": file.arrival.modified_at,
                "state": file.state.value,
                "path": file.path,
                "attempts": 0,
                "noticed_by": file.arrival.noticed_by,
                "noticed_at": file.arrival.noticed_at,
                "claimed_at": now if file.state is FileState.CLAIMED else None,
                "settled_at": now if file.state is FileState.FAILED else None,
                "code": file.code,
                "message": file.message,
            }
            for file in files
        ]
        with self.database.writing() as session:
            session.execute(insert(SourceFile), rows)
            note_many(session, [file.arrival.file_id for file in files], now)

    def claim_held_many(self, claims: Sequence[HeldClaim]) -> None:
        """The type of held files is active now; they were taken into processing/<type>/. All of them, or none."""
        if not claims:
            return
        now = self.clock.now()
        with self.database.writing() as session:
            ids = [claim.file_id for claim in claims]
            rows = {row.id: row for row in session.scalars(select(SourceFile).where(SourceFile.id.in_(ids)))}
            for claim in claims:
                row = rows.get(claim.file_id) or get_file(session, claim.file_id)
                move_file(row, FileState.CLAIMED)
                row.file_type, row.path, row.claimed_at = claim.file_type, claim.path, now
                row.digest, row.size_bytes = claim.digest, claim.size_bytes
            note_many(session, ids, now)

    def retry_many(self, claims: Sequence[HeldClaim]) -> None:
        """Files that ended badly were taken back into processing/<type>/: the same rows. All of them, or none.

        Their attempts stay counted; what was said of the last one is in the history.
        """
        now = self.clock.now()
        with self.database.writing() as session:
            for claim in claims:
                row = get_file(session, claim.file_id)
                move_file(row, FileState.CLAIMED)
                row.file_type, row.path, row.claimed_at, row.settled_at = claim.file_type, claim.path, now, None
                row.digest, row.size_bytes, row.batch_id = claim.digest, claim.size_bytes, None
                row.code = row.message = row.records = row.rows = row.rejected = None
                row.replayed = row.discarded = 0
                row.deaths = 0  # whoever retries it has looked at it
            note_many(session, [claim.file_id for claim in claims], now, "retried")

    def renew(self, file_id: str, path: str, message: str, arrival: Arrival) -> None:
        """A file was rewritten after its bytes were read: what lies at its path is claimed as the file `arrival`.

        The old row keeps its state, digest and counts, which tell what was read, and is settled by the caller. Its
        code says `bytes_changed`, and at its `path` nothing lies: no copy of what was read exists any more.
        """
        with self.database.writing() as session:
            now, row = self.clock.now(), get_file(session, file_id)
            fresh = SourceFile(
                id=arrival.file_id,
                name=arrival.name,
                prefix=arrival.prefix,
                file_type=row.file_type,
                filename_time=arrival.filename_time,
                size_bytes=arrival.size_bytes,
                digest=arrival.digest,
                modified_at=arrival.modified_at,
                state=FileState.CLAIMED.value,
                path=row.path,
                noticed_by=arrival.noticed_by,
                noticed_at=arrival.noticed_at,
                claimed_at=now,
            )
            session.add(fresh)
            row.path, row.code, row.message = path, "bytes_changed", message
            note(session, fresh, now)

    def refuse_claimed(self, file_id: str, path: str, code: str, message: str) -> None:
        """A claimed or held file cannot go on (its bytes are gone or unreadable); it was moved to failed/ at `path`."""
        with self.database.writing() as session:
            row = get_file(session, file_id)
            if row.state == FileState.HELD:
                move_file(row, FileState.CLAIMED)
            move_file(row, FileState.FAILED)
            row.path, row.code, row.message, row.settled_at = path, code, message, self.clock.now()
            note(session, row, self.clock.now())

    def mark_missing(self, file_id: str, message: str) -> None:
        """A person removed the file; legal from every state."""
        with self.database.writing() as session:
            row = get_file(session, file_id)
            if row.state != FileState.LOADED and row.rejected:
                row.rejected = 0  # nothing of it is in a table; of a loaded file the row goes on to tell what is
            row.state, row.message, row.settled_at = FileState.MISSING, message, self.clock.now()
            note(session, row, self.clock.now())

    def known_among(self, paths: Sequence[str]) -> set[str]:
        """Those of `paths` at which the ledger has a file; one that a person removed and put back is not known."""
        known: set[str] = set()
        with self.database.reading() as session:
            for some in id_chunks(paths):
                query = select(SourceFile.path).where(SourceFile.path.in_(some), SourceFile.state != FileState.MISSING)
                known.update(session.scalars(query))
        return known

    def set_path(self, file_id: str, path: str) -> None:
        """A file was moved."""
        with self.database.writing() as session:
            row = get_file(session, file_id)
            row.path = path
            note(session, row, self.clock.now())

    def put_ended(self, files: Sequence[SourceFile]) -> None:
        """Files that were found at their ends, and that the ledger did not know there: rows made or corrected."""
        if not files:
            return
        with self.database.writing() as session:
            for file in files:
                session.merge(file)
            note_many(session, [file.id for file in files], self.clock.now(), "found at its end at start-up")
