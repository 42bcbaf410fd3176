"""Replay and discard, as they are asked for: which rejected records are meant, may they go, what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from metadata.errors import BatchFault, TypeStopped, UsageError
from metadata.ledger.life import find_files
from metadata.ledger.values import RecordKey
from metadata.operations.replay import ReplayLedger, ReplayVerb
from metadata.types.file_type import FileType, TypeStatus
from processors.change.chosen_records import Chunk, RecordId, RejectedRecords, Selection
from processors.change.replay import CHUNK_BYTES, CHUNK_RECORDS, Replay, Taken
from watcher.app import App
from watcher.work.work import Work

IN_WORK = "their file's load does not stand: it is being loaded, replaced or undone, or was taken back"


@dataclass
class Outcome:
    """What became of the records that were meant."""

    matched: int = 0
    taken: list[Taken] = field(default_factory=list)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)  #: by type and reason: not even tried


def select(app: App, arguments: dict[str, Any], *, must_choose: bool) -> Selection:
    """The records that a request's arguments mean: `records` (ids), `files` (names, paths or ids), `type`, `code`,
    `field`, `since`, `until`, `all`. What is given narrows what is chosen. (`limit` is for whoever takes them.)

    Raises UsageError for ids that make no sense, files that the ledger does not know, and with `must_choose` when
    nothing is given.
    """
    records = tuple(RecordId.parse(text) for text in arguments.get("records") or ())
    files: list[str] = []
    for text in arguments.get("files") or ():
        found = find_files(app.database, text)
        if not found:
            raise UsageError(f"choosing records of {text!r}: the ledger has no such file; see: lemonade files")
        files += [file.id for file in found]
    names = ("type", "code", "field", "since", "until")
    if must_choose and not (records or files or arguments.get("all") or any(arguments.get(name) for name in names)):
        raise UsageError("choosing records: name them, give --type, --code, --field, --file, --since, --until or --all")
    return Selection(
        file_type=arguments.get("type"),
        code=arguments.get("code"),
        field=arguments.get("field"),
        file_ids=tuple(files) if files else None,
        records=records or None,
        since=_time(arguments.get("since")),
        until=_time(arguments.get("until")),
    )


def replay(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """Put the chosen records through today's schema; those that pass go from the quarantine into their table."""
    return _answer("replay", _take(work, "replay", arguments))


def discard(work: Work, arguments: dict[str, Any]) -> dict[str, Any]:
    """Throw the chosen records away."""
    return _answer("discard", _take(work, "discard", arguments))


def try_replay(app: App, replaying: Replay, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a replay of the chosen records would make of them at this moment; changes nothing."""
    outcome = Outcome()
    for _, kind, _, keys in _parts(app, replaying, "replay", arguments, outcome):
        if kind is not None:
            outcome.taken.append(replaying.try_out(keys, kind))
    return {**_answer("replay", outcome), "dry_run": True}


def _take(work: Work, verb: ReplayVerb, arguments: dict[str, Any]) -> Outcome:
    work.walkers.go_on(work.app.registry)
    outcome, stopped = Outcome(), set()
    for chunk, kind, table_name, keys in _parts(work.app, work.walkers.replay, verb, arguments, outcome):
        if chunk.file_type in stopped:
            outcome.left[chunk.file_type, "an earlier part of them could not go on"] += len(keys)
            continue
        if work.draining():
            outcome.left[chunk.file_type, "the daemon was told to stop"] += len(keys)
            continue
        if verb == "replay" and kind is not None and work.flusher.waits_under_another_version(kind):
            outcome.left[chunk.file_type, "a micro-batch under another version of their schema goes first"] += len(keys)
            continue
        try:
            taken = work.walkers.replay.take(verb, Chunk(chunk.file_type, keys), kind, table_name)
        except (TypeStopped, BatchFault) as error:
            stopped.add(chunk.file_type)
            outcome.left[chunk.file_type, error.message] += len(keys)
            continue
        outcome.taken.append(taken)
        if taken.records < len(keys):
            outcome.left[chunk.file_type, IN_WORK] += len(keys) - taken.records
    return outcome


def _parts(
    app: App, replaying: Replay, verb: ReplayVerb, arguments: dict[str, Any], outcome: Outcome
) -> Iterator[tuple[Chunk, FileType | None, str, list[RecordKey]]]:
    """Chunks of records that may go, each with its type and the one table that their batches loaded into."""
    selection = select(app, arguments, must_choose=True)
    types = {each.name: each for each in app.registry.read().types}
    limit: int | None = arguments.get("limit")
    for whole in replaying.records.chunks(selection, records=CHUNK_RECORDS, size_bytes=CHUNK_BYTES):
        chunk = Chunk(whole.file_type, whole.keys[: None if limit is None else limit - outcome.matched])
        if not chunk.keys:
            return
        outcome.matched += len(chunk.keys)
        kind = types.get(chunk.file_type)
        why_not = _why_not(app, chunk.file_type, kind) if verb == "replay" else None
        if why_not is not None:
            outcome.left[chunk.file_type, why_not] += len(chunk.keys)
            continue
        standing = ReplayLedger(app.database, app.clock).standing({key.file_id for key in chunk.keys})
        by_table: dict[str, list[RecordKey]] = {}
        for key in chunk.keys:
            batch_id, table_name = standing.get(key.file_id, ("", ""))
            if batch_id == key.batch_id:
                by_table.setdefault(table_name, []).append(key)
            else:
                outcome.left[chunk.file_type, IN_WORK] += 1
        for table_name, keys in sorted(by_table.items()):
            yield chunk, kind, table_name, keys


def _why_not(app: App, name: str, kind: FileType | None) -> str | None:
    """Why records of a type cannot be replayed now."""
    if kind is None or kind.definition is None:
        return f"there is no type {name} with a schema; see: lemonade types list"
    if kind.status is not TypeStatus.ACTIVE:
        return f"the type is {kind.status.value}; run: lemonade types activate {name}"
    older = [
        batch.schema_version
        for batch in app.ledger.unsettled_batches()
        if batch.file_type == name and batch.schema_version != kind.schema_version
    ]
    if older:
        return f"a micro-batch under schema version {older[0]} is in work; try again when it is settled"
    return None


def _answer(verb: str, outcome: Outcome) -> dict[str, Any]:
    """A replay or discard as `lemonade quarantine … --json` shows it."""
    codes: Counter[str] = Counter()
    for taken in outcome.taken:
        codes.update(taken.rejected)
    return {
        "verb": verb,
        "dry_run": False,
        "matched": outcome.matched,
        "done": sum(taken.done for taken in outcome.taken),
        "rejected": codes.total(),
        "rejected_by_code": dict(codes.most_common()),
        "samples": [sample for taken in outcome.taken for sample in taken.samples][:10],
        "left": [
            {"file_type": file_type, "records": records, "reason": reason}
            for (file_type, reason), records in sorted(outcome.left.items())
        ],
        "operations": [
            {
                "operation_id": taken.operation_id,
                "file_type": taken.file_type,
                "table": taken.table_name,
                "records": taken.done,
                "snapshot_id": taken.snapshot_id,
                "quarantine_snapshot_id": taken.quarantine_snapshot_id,
                "days": taken.days,
            }
            for taken in outcome.taken
            if taken.operation_id is not None
        ],
        "days": sorted({day for taken in outcome.taken for day in taken.days}),
    }


def count(app: App, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """How many records are chosen, by type, code and field."""
    return RejectedRecords(app.lake()).totals(select(app, arguments, must_choose=True))


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def shown_totals(totals: Sequence[dict[str, Any]]) -> str:
    """`120 wrong_type, 3 missing_field`."""
    codes: Counter[str] = Counter()
    for row in totals:
        codes[row["code"]] += row["records"]
    return ", ".join(f"{number} {code}" for code, number in codes.most_common())
