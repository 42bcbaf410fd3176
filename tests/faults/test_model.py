"""Drops, rewrites, faults, crashes, retries and undos in any order, against a plain model of what has to come of them.

The model knows each file of the ledger: what was claimed, what lies on the disk now, and its state. A step that ends
well has to end as the model says. After a crash and a restart each file stands before or after the step that was cut
off, and the tables have to agree with whichever it is; every later step is exact again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from books import PLACES, assert_app_books
from command import drop, events_file
from conftest import make_settings
from deaths import Died
from handclock import HandClock
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from inprocess import InProcessRunner
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table.update import AddSnapshotUpdate
from sqlalchemy.exc import OperationalError

from metadata.database.models import SourceFile
from metadata.database.states import FileState, FlushReason
from metadata.errors import BatchFault, LemonadeError, WorldFault
from metadata.ledger.ledger import Ledger
from metadata.operations.replay import ReplayLedger
from metadata.operations.undo import UndoLedger
from metadata.registry.registry import RegistrySnapshot
from metadata.types.file_type import FileType
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.load.decode_step import Decoding
from processors.load.move_step import Settler
from processors.receipts.batches import Receipts
from processors.receipts.operations import OperationReceipts
from processors.rewrite.rewriter import Rewriter
from watcher.app import App
from watcher.deeds.by_name import do
from watcher.work.chunks import by_deaths
from watcher.work.work import Work

TABLE = "raw_data.vehicle_events"
SUMMARY = "summary.daily_summary"
COMMIT = SqlCatalog.commit_table

NAMES = [f"vehicles_events_2026011512000{number}.json" for number in range(3)]
UNKNOWN = "mysteries_20260115120000.json"
BAD_NAME = "notes.json"


@dataclass(frozen=True)
class Content:
    """What a file may hold, and what becomes of a file of vehicle events that holds it."""

    data: bytes
    end: FileState
    vehicles: tuple[tuple[int, str], ...] = ()  #: number of the record and vehicle, of each good one
    rejected: tuple[tuple[int, str], ...] = ()  #: the same of each bad one


def good(records: int, start: int, *bad: int) -> Content:
    """A file that is loaded, but for the records of these numbers, which have no time."""
    document = events_file(records, start=start)
    for number in bad:
        del document["vehicles_events"][number - 1]["event_time"]
    vehicles = [(n, f"v{start + n - 1}") for n in range(1, records + 1)]
    parts = (tuple(each for each in vehicles if (each[0] in bad) is is_bad) for is_bad in (False, True))
    return Content(json.dumps(document).encode(), FileState.LOADED, *parts)


CONTENTS = {
    "a": good(1, 0),
    "b": good(2, 10),
    "c": good(3, 20),
    "one bad": good(3, 30, 2),
    "two bad": good(4, 40, 1, 4),
    "none": Content(b'{"vehicles_events": []}', FileState.LOADED),
    "half": Content(b'{"vehicles_events": [', FileState.FAILED),
    "schema": Content(b'{"vehicles_events": [{"event_time": "2026-01-15T00:00:00Z"}]}', FileState.ERROR),
}
BY_DIGEST = {hashlib.sha256(content.data).hexdigest(): key for key, content in CONTENTS.items()}

# -- the model --------------------------------------------------------------------------------------------------------


@dataclass
class File:
    """One row of the ledger."""

    id: str
    name: str
    claimed: str  #: the content on record
    lying: str  #: the content on the disk
    state: FileState
    deaths: int = 0
    is_lost: bool = False  #: no copy is left of what was read
    is_retried: bool = False  #: in the step that goes on
    taken: dict[int, str] = field(default_factory=dict)  #: rejected records of its load: replayed or discarded

    @property
    def vehicles(self) -> tuple[tuple[int, str], ...]:
        """Its rows in the table."""
        if self.state is not FileState.LOADED:
            return ()
        content = CONTENTS[self.claimed]
        return (*content.vehicles, *(each for each in content.rejected if self.taken.get(each[0]) == "replay"))

    @property
    def rejected(self) -> tuple[int, ...]:
        """Its records in the quarantine."""
        if self.state is not FileState.LOADED:
            return ()
        return tuple(number for number, _ in CONTENTS[self.claimed].rejected if number not in self.taken)

    def take_back(self) -> None:
        """A retry claims what lies there now."""
        self.state, self.claimed, self.deaths, self.is_retried = FileState.CLAIMED, self.lying, 0, True


@dataclass
class Model:
    """What has to be."""

    incoming: dict[str, str] = field(default_factory=dict)  #: name → content, of what nobody has taken yet
    strays: list[tuple[str, str]] = field(default_factory=list)  #: taken from there by a process that died then
    files: dict[str, File] = field(default_factory=dict)  #: by id; those that the ledger is yet to name: by "~<number>"

    def add(self, name: str, content: str, state: FileState) -> None:
        """A file whose id the ledger gives; no earlier file's is greater."""
        key = f"~{len(self.files):06}"
        self.files[key] = File(key, name, content, content, state)

    def scan(self) -> None:
        """Everything is taken."""
        for name, content in [*self.strays, *self.incoming.items()]:
            state = {UNKNOWN: FileState.HELD, BAD_NAME: FileState.FAILED}.get(name, FileState.CLAIMED)
            self.add(name, content, state)
        self.strays, self.incoming = [], {}

    def of(self, *states: FileState) -> list[File]:
        """Files in these states, oldest first."""
        return sorted((file for file in self.files.values() if file.state in states), key=lambda file: file.id)

    def flush(self, culprit: str | None = None) -> None:
        """Everything that is claimed goes through; copies of files in flight after them. `culprit`: it never can."""
        waits = True
        while waits:
            waits = False
            for group in by_deaths(self.of(FileState.CLAIMED)):
                waits |= self._flush_chunk(group, culprit)

    def _flush_chunk(self, files: list[File], culprit: str | None) -> bool:
        loaded = {(file.name, file.claimed) for file in self.of(FileState.LOADED)}
        batch: dict[tuple[str, str], File] = {}
        waits = False
        for file in files:
            delivery = (file.name, file.claimed)
            if delivery in loaded:
                file.state = FileState.DUPLICATE
                if file.lying != file.claimed:
                    file.is_lost = True
                    self.add(file.name, file.lying, FileState.CLAIMED)
            elif delivery in batch:
                waits = True
            else:
                batch[delivery] = file
        for file in batch.values():
            if file.id == culprit:
                file.state = FileState.FAILED
            elif file.lying != file.claimed:
                file.claimed = file.lying
            else:
                file.state, file.taken = CONTENTS[file.claimed].end, {}
        return waits

    def rows(self) -> Counter[tuple[str, int, str]]:
        """(file, record, vehicle) of every row of the table."""
        return Counter((file.id, n, who) for file in self.files.values() for n, who in file.vehicles)

    def rejected(self) -> Counter[tuple[str, int]]:
        """(file, record) of every row of the quarantine."""
        return Counter((file.id, n) for file in self.files.values() for n in file.rejected)


# -- faults -----------------------------------------------------------------------------------------------------------


STEPS: dict[str, tuple[type, str]] = {
    "claim": (Ledger, "add_many"),
    "plan": (Ledger, "plan"),
    "decode": (Decoding, "decode"),
    "receipt": (Receipts, "write"),
    "prepare": (Ledger, "prepare"),
    "append": (Lake, "append"),
    "append again": (Lake, "append_paths"),
    "overwrite": (Lake, "overwrite"),
    "record": (Ledger, "record"),
    "moves": (Settler, "settle_files"),
    "paths": (Ledger, "files_settled"),
    "renew": (Ledger, "renew"),
    "settle": (Ledger, "settle"),
    "abandon": (Ledger, "abandon"),
    "undo: plan": (UndoLedger, "plan"),
    "undo: write": (Rewriter, "write"),
    "undo: prepare": (UndoLedger, "prepare"),
    "undo: record": (UndoLedger, "record"),
    "undo: settle": (UndoLedger, "settle"),
    "day built": (Ledger, "day_built"),
    "take: plan": (ReplayLedger, "plan"),
    "take: write": (Rewriter, "write"),
    "take: prepare": (ReplayLedger, "prepare"),
    "take: receipt": (OperationReceipts, "write"),
    "take: record": (ReplayLedger, "record"),
    "take: settle": (ReplayLedger, "settle"),
}
LOST = {
    "no answer": CommitStateUnknownException("504 Gateway Timeout"),
    "connection": ConnectionError("Connection reset by peer"),
    "database": OperationalError("UPDATE iceberg_tables", {}, sqlite3.OperationalError("disk I/O error")),
    "conflict": CommitFailedException("somebody else was faster"),
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong in one step of the machine, if its turn comes."""

    kind: str  #: none, lost (a commit's answer), task (fails) or crash
    where: str = ""  #: of LOST, of STEPS
    late: bool = False  #: after it was done: the commit has landed, the step is over
    skip: int = 0  #: so many times all goes well before


CLAIMING = ("claim",)
LOADING = tuple(list(STEPS)[1:14])
UNDOING = ("overwrite", "moves", "paths", *(step for step in STEPS if step.startswith("undo:")))
BUILDING = ("overwrite", "day built")
TAKING = ("overwrite", *(step for step in STEPS if step.startswith("take:")))


def faults(*steps: str) -> st.SearchStrategy[Fault]:
    """None, or one that may strike in these steps."""
    late, skip = st.booleans(), st.integers(0, 1)
    return st.one_of(
        st.just(Fault("none")),
        st.builds(Fault, st.just("lost"), st.sampled_from(list(LOST)), late, skip),
        st.builds(Fault, st.just("task"), late=late, skip=skip),
        st.builds(Fault, st.just("crash"), st.sampled_from(steps), late, skip),
    )


@contextmanager
def injected(fault: Fault) -> Iterator[None]:
    """The fault happens once within."""
    left = [fault.skip]

    def strikes() -> bool:
        left[0] -= 1
        return left[0] == -1

    def struck(original: Callable[..., Any], error: Callable[[], BaseException]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            if not strikes():
                return original(*arguments, **more)
            if fault.late:
                original(*arguments, **more)
            raise error()

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        if fault.kind == "crash":
            owner, name = STEPS[fault.where]
            patch.setattr(owner, name, struck(getattr(owner, name), Died))
        elif fault.kind == "task":
            broken = struck(InProcessRunner.run, lambda: BatchFault("a task failed", code="task_failed"))
            patch.setattr(InProcessRunner, "run", broken)
        elif fault.kind == "lost":
            lost = struck(COMMIT, lambda: LOST[fault.where])

            def commit_table(catalog: SqlCatalog, table: Any, requirements: Any, updates: Any) -> Any:
                is_snapshot = any(isinstance(update, AddSnapshotUpdate) for update in updates)
                return (lost if is_snapshot else COMMIT)(catalog, table, requirements, updates)

            patch.setattr(SqlCatalog, "commit_table", commit_table)
        yield


class Runner(InProcessRunner):
    """Every task that reads the culprit fails."""

    culprit: str | None = None

    def run(self, function: Any, tasks: Any, label: str) -> Any:
        """The results."""
        if self.culprit and any(self.culprit in self.read_by(task) for task in tasks):
            raise BatchFault("the worker cannot read it", code="task_failed")
        return super().run(function, tasks, label)

    @staticmethod
    def read_by(task: Any) -> set[str]:
        """Ids of the files that a task decodes."""
        return {each.file_id for each in getattr(task, "inputs", ())}


def counts(taken: dict[int, str]) -> tuple[int, int]:
    """How many records were replayed and discarded."""
    found = Counter(taken.values())
    return found["replay"], found["discard"]


def with_default_time(types: RegistrySnapshot) -> RegistrySnapshot:
    """The types as they are, but an event without a time gets one."""

    def mended(kind: FileType) -> FileType:
        if kind.name != "vehicle_events" or kind.definition is None:
            return kind
        fields = tuple(
            each.model_copy(update={"default": "2026-01-15T12:00:00Z"}) if each.name == "event_time" else each
            for each in kind.definition.fields
        )
        return replace(kind, definition=kind.definition.model_copy(update={"fields": fields}))

    return replace(types, types=tuple(mended(kind) for kind in types.types))


# -- the machine ------------------------------------------------------------------------------------------------------


class Machine(RuleBasedStateMachine):
    """One Lemonade, its processes one after another, and the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lemonade-model-"))
        self.settings = make_settings(self.folder, SETTLE_SECONDS="0")
        self.clock = HandClock()
        self.model = Model()
        self.after: list[Model] = []  #: the process has died: how the steps that it cut off would have ended
        self.runner = Runner()
        self.app = self.new_app()
        self.app.init()
        self.work = self.new_work()

    def new_app(self) -> App:
        """What a new process has."""
        return App(self.settings, clock=self.clock, runner=self.runner)

    def new_work(self) -> Work:
        """Its work, which is patient."""
        return Work(self.app, pause=self.pause, draining=lambda: False)

    def pause(self, seconds: float) -> bool:
        """Time passes."""
        self.clock.forward(seconds + 0.001)
        return True

    # -- rules --------------------------------------------------------------------------------------------------------

    @initialize(pairs=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(list(CONTENTS))), max_size=3))
    def begin(self, pairs: list[tuple[str, str]]) -> None:
        """Some files are there."""
        for name, content in pairs:
            self.drop(name, content)

    @rule(name=st.sampled_from([*NAMES, *NAMES, UNKNOWN, BAD_NAME]), content=st.sampled_from(list(CONTENTS)))
    def drop(self, name: str, content: str) -> None:
        """A producer drops a file: new, the same delivery, other bytes, bad, of no type. Also while nobody runs."""
        earlier = self.model.incoming.get(name)
        if earlier is not None and not (self.settings.incoming_folder / name).exists():
            self.model.strays.append((name, earlier))  # the process that died had taken it
        drop(self.settings.incoming_folder, name, CONTENTS[content].data)
        self.model.incoming[name] = content

    @precondition(lambda self: not self.after and self.model.incoming)
    @rule(fault=faults(*CLAIMING))
    def claim(self, fault: Fault) -> None:
        """One scan."""
        self.step(fault, self.look, Model.scan)

    @precondition(lambda self: not self.after and self.model.of(FileState.CLAIMED))
    @rule(data=st.data(), content=st.sampled_from(list(CONTENTS)))
    def rewrite(self, data: st.DataObject, content: str) -> None:
        """Somebody writes to a claimed file."""
        file = data.draw(st.sampled_from(self.model.of(FileState.CLAIMED)))
        Path(self.rows()[file.id].path).write_bytes(CONTENTS[content].data)
        file.lying = content

    @precondition(lambda self: not self.after and self.model.of(FileState.CLAIMED))
    @rule(fault=faults(*LOADING))
    def flush(self, fault: Fault) -> None:
        """Everything that is claimed is loaded."""
        self.step(fault, self.load, Model.flush)

    @precondition(lambda self: not self.after and self.model.of(FileState.CLAIMED))
    @rule(data=st.data())
    def flush_with_culprit(self, data: st.DataObject) -> None:
        """One of the files ends every attempt."""
        culprit = data.draw(st.sampled_from(self.model.of(FileState.CLAIMED))).id
        self.runner.culprit = culprit
        try:
            self.step(Fault("none"), self.load, lambda model: model.flush(culprit))
        finally:
            self.runner.culprit = None

    @precondition(lambda self: not self.after and self.model.of(FileState.FAILED, FileState.ERROR))
    @rule(fault=faults(*LOADING))
    def retry_all(self, fault: Fault) -> None:
        """What ended badly goes through again."""

        def retried(model: Model) -> None:
            taken = [file for file in model.of(FileState.FAILED, FileState.ERROR) if file.name in NAMES]
            for file in taken:
                file.take_back()
            if taken:
                model.flush()

        self.step(fault, lambda: do(self.work, "retry", {"all": True}), retried)

    @precondition(lambda self: not self.after and self.model.of(FileState.UNDONE))
    @rule(data=st.data(), fault=faults(*LOADING))
    def retry_undone(self, data: st.DataObject, fault: Fault) -> None:
        """A person wants it back."""
        target = data.draw(st.sampled_from(self.model.of(FileState.UNDONE))).id

        def retried(model: Model) -> None:
            if not model.files[target].is_lost:
                model.files[target].take_back()
                model.flush()

        self.step(fault, lambda: do(self.work, "retry", {"files": [target]}), retried)

    @precondition(lambda self: not self.after and self.model.of(FileState.LOADED))
    @rule(data=st.data(), whole=st.booleans(), fault=faults(*UNDOING))
    def undo(self, data: st.DataObject, whole: bool, fault: Fault) -> None:
        """A file's load, or its whole batch's, is taken back."""
        file = data.draw(st.sampled_from(self.model.of(FileState.LOADED)))
        rows = self.rows()
        batch = rows[file.id].batch_id
        assert batch is not None
        ids = [key for key, row in rows.items() if row.batch_id == batch] if whole else [file.id]

        def undone(model: Model) -> None:
            for each in ids:
                if model.files[each].state is FileState.LOADED:
                    model.files[each].state = FileState.UNDONE

        def ask() -> object:
            return do(self.work, "undo", {"target": batch if whole else file.id})

        def ask_again_if_the_world_was_away() -> None:
            try:
                ask()
            except WorldFault:
                assert fault.kind == "lost"
                ask()

        self.step(fault, ask_again_if_the_world_was_away, undone)

    @precondition(lambda self: not self.after and self.model.rejected())
    @rule(data=st.data(), kind=st.sampled_from(["replay", "discard"]), fault=faults(*TAKING))
    def take_rejected(self, data: st.DataObject, kind: str, fault: Fault) -> None:
        """A rejected record is replayed, through a schema that takes it now, or thrown away."""
        file = data.draw(st.sampled_from([each for each in self.model.of(FileState.LOADED) if each.rejected]))
        number = data.draw(st.sampled_from(file.rejected))

        def taken(model: Model) -> None:
            model.files[file.id].taken[number] = kind

        def ask() -> None:
            told = do(self.work, f"quarantine.{kind}", {"records": [f"{file.id}:{number}"]})
            assert told["done"] == 1, told

        read = self.app.registry.read
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.app.registry, "read", lambda: with_default_time(read()))
            self.step(fault, ask, taken)

    @precondition(lambda self: not self.after and self.model.of(FileState.UNDONE))
    @rule(data=st.data())
    def redeliver_undone(self, data: st.DataObject) -> None:
        """The producer sends again what was undone."""
        file = data.draw(st.sampled_from(self.model.of(FileState.UNDONE)))
        self.drop(file.name, file.claimed)

    @precondition(lambda self: not self.after and self.model.of(FileState.LOADED, FileState.UNDONE))
    @rule(fault=faults(*BUILDING))
    def summarize(self, fault: Fault) -> None:
        """The dirty days are built; a lost answer ends the verb, which is then asked again."""
        with injected(fault):
            try:
                self.attempt(lambda: self.work.summarize(), lambda _model: None)
            except LemonadeError:
                assert fault.kind in ("lost", "task")
        if not self.after:
            self.work.summarize()
            assert self.app.ledger.dirty_days(SUMMARY) == []
            self.assert_summary()

    @precondition(lambda self: self.after)
    @rule(fault=faults(*CLAIMING, *LOADING, *UNDOING, *TAKING))
    def restart(self, fault: Fault) -> None:
        """A new process, which may die too."""
        self.runner.culprit = None
        self.app.unchecked_database.close()
        self.app = self.new_app()
        self.work = self.new_work()

        def recover() -> None:
            self.work.recover()
            self.look()

        with injected(fault):
            try:
                recover()
            except Died:
                return
        self.adopt()

    # -- steps --------------------------------------------------------------------------------------------------------

    def step(self, fault: Fault, action: Callable[[], object], change: Callable[[Model], None]) -> None:
        """Do it with the fault in its way: it ends as the model says, or the process has died."""
        with injected(fault):
            self.attempt(action, change)

    def attempt(self, action: Callable[[], object], change: Callable[[Model], None]) -> None:
        """The same, with whatever is in its way."""
        self.clock.forward(1)
        after = copy.deepcopy(self.model)
        change(after)
        try:
            action()
        except Died:
            self.after = [after]
            return
        self.model = after
        for file in after.files.values():
            file.is_retried = False
        self.name_files()

    def look(self) -> None:
        """Take everything."""
        self.work.gather(self.work.read_registry())

    def load(self) -> None:
        """Flush."""
        report = self.work.flush(self.work.read_registry().active, FlushReason.REQUEST)
        assert report.error is None and not report.drained

    def rows(self) -> dict[str, SourceFile]:
        """The ledger's files by id."""
        return {row.id: row for row in self.app.ledger.files()}

    def name_files(self) -> None:
        """Give the model's new files the ids of the ledger's."""
        rows = self.rows()
        new = [file for key, file in sorted(self.model.files.items()) if key.startswith("~")]
        for row in (row for key, row in sorted(rows.items()) if key not in self.model.files):
            found = [file for file in new if (file.name, file.claimed) == (row.name, content_of(row))]
            assert found, f"the ledger has a file that nobody knows: {row.name}, {row.state}, {row.message}"
            new.remove(found[0])
            del self.model.files[found[0].id]
            found[0].id = row.id
            self.model.files[row.id] = found[0]
        assert not new, f"the ledger does not know {new}"

    def adopt(self) -> None:
        """After a restart: each file is as it was or as it would have been, or back in its buffer; none is missing."""
        [after], before = self.after, self.model
        rows = self.rows()
        arrived = Counter([*before.strays, *before.incoming.items()])
        adopted = Model()
        for key, row in sorted(rows.items()):
            was, end = before.files.get(key), after.files.get(key)
            content = content_of(row)
            state, is_lost = FileState(row.state), row.code == "bytes_changed"
            if state is FileState.MISSING and was is not None and self.has_twin(was):
                # Its twin's batch was rebuilt from the receipt with this copy; the twin's own one arrives anew.
                arrived[row.name, content] += 1
                adopted.files[key] = File(key, row.name, content, was.lying, state, is_lost=True)
                continue
            lying = content if is_lost else BY_DIGEST[hashlib.sha256(Path(row.path).read_bytes()).hexdigest()]
            if was is None:
                arrived[row.name, content] -= 1
                expected = {UNKNOWN: FileState.HELD, BAD_NAME: FileState.FAILED}.get(row.name, FileState.CLAIMED)
                assert state is expected, f"{row.name} is {state}"
            else:
                assert end is not None
                may_be = {was.state, end.state}
                if end.is_retried or was.state is not end.state:
                    may_be.add(FileState.CLAIMED)
                is_poison = row.code == "poison" and row.deaths >= 3
                assert state in may_be or is_poison, f"{row.name} is {state}, not one of {may_be}: {row.message}"
                assert content in (was.claimed, end.claimed)
                if is_lost and not was.is_lost:
                    arrived[row.name, was.lying] += 1
                elif not is_lost:
                    assert lying == was.lying
            adopted.files[key] = File(key, row.name, content, lying, state, row.deaths, is_lost)
            if state is FileState.LOADED and was is not None and end is not None:
                taken = (row.replayed, row.discarded)
                [adopted.files[key].taken] = [
                    each for each in (was.taken, end.taken)[was.taken == end.taken :] if taken == counts(each)
                ]
        assert not +arrived and not -arrived, f"files came or went: {arrived}"
        assert set(before.files) <= set(rows)
        assert {batch.state for batch in self.app.ledger.batches()} <= {"settled", "abandoned"}
        assert not self.work.walkers.unsettled()
        assert not self.work.flusher.stopped
        self.model, self.after = adopted, []

    def has_twin(self, file: File) -> bool:
        """Whether another file of the same name and bytes has come."""
        twins = [each for each in self.model.files.values() if (each.name, each.claimed) == (file.name, file.claimed)]
        return file.state in (FileState.FAILED, FileState.ERROR, FileState.UNDONE) and len(twins) > 1

    # -- invariants ---------------------------------------------------------------------------------------------------

    @invariant()
    def every_record_is_there_once(self) -> None:
        """The rows of the table and of the quarantine are the model's."""
        if not self.after:
            found = self.table(TABLE, "_file_id", "_record_no", "vehicle_id")
            there = Counter((row["_file_id"], row["_record_no"], row["vehicle_id"]) for row in found)
            assert there == self.model.rows()
            found = self.table(QUARANTINE, "_file_id", "_record_no")
            assert Counter((row["_file_id"], row["_record_no"]) for row in found) == self.model.rejected()

    @invariant()
    def every_file_is_in_its_place(self) -> None:
        """The ledger's states are the model's; each file lies where its state says, with the bytes that it has."""
        if self.after:
            return
        rows = self.rows()
        assert {key: row.state for key, row in rows.items()} == {
            key: file.state.value for key, file in self.model.files.items()
        }
        lying: dict[Path, str] = {}
        for key, file in self.model.files.items():
            if not file.is_lost:
                path = Path(rows[key].path)
                assert path.is_relative_to(self.folder / "data" / PLACES[file.state]), path
                assert path not in lying
                lying[path] = file.lying
        lying |= {self.settings.incoming_folder / name: content for name, content in self.model.incoming.items()}
        data = self.folder / "data"
        found = {
            path: BY_DIGEST[hashlib.sha256(path.read_bytes()).hexdigest()]
            for folder in (data / "incoming", data / "source_data", data / "processed")
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".") and not path.name.endswith(".error.json")
        }
        assert found == lying

    def assert_summary(self) -> None:
        """Every vehicle of the table is in the summary once."""
        found = [row["vehicle_id"] for row in self.table(SUMMARY, "vehicle_id")]
        assert sorted(found) == sorted({vehicle for _, _, vehicle in self.model.rows()})

    def table(self, name: str, *columns: str) -> list[dict[str, Any]]:
        """Rows of a table as another program sees them."""
        table = Lake(self.settings).table(name)
        if table is None or table.current_snapshot() is None:
            return []
        return list(table.scan(selected_fields=columns).to_arrow().to_pylist())

    def teardown(self) -> None:
        """Without faults everything comes to its end, and the books balance."""
        try:
            if self.after:
                self.restart(Fault("none"))
            self.step(Fault("none"), self.look, Model.scan)
            for _ in range(2):  # files that somebody wrote to take a second flush
                self.step(Fault("none"), self.load, Model.flush)
            self.every_record_is_there_once()
            self.every_file_is_in_its_place()
            assert not self.model.of(FileState.CLAIMED)
            assert_app_books(self.app, self.model.rows().total(), rejected=self.model.rejected().total())
        finally:
            self.app.unchecked_database.close()
            shutil.rmtree(self.folder, ignore_errors=True)


def content_of(row: SourceFile) -> str:
    """Which of the contents the ledger has on record; for one that was not digested, which one lies there."""
    return BY_DIGEST[row.digest or hashlib.sha256(Path(row.path).read_bytes()).hexdigest()]


def run(examples: int, steps: int, *, same_each_time: bool) -> None:
    """Let the machine run."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=same_each_time,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_order_of_steps_and_faults() -> None:
    """Whatever happens in whatever order, records are there once and files are where the model says."""
    run(15, 12, same_each_time=True)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_any_order_of_steps_and_faults_at_length() -> None:
    """The same, longer and another way each time."""
    run(200, 40, same_each_time=False)
