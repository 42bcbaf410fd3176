"""The moments at which an undo, a replay or a discard may die; run by itself, it does one and dies by SIGKILL there.

The steps are wrapped from outside; the product has no hook for it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import NoReturn

from deaths import Only, any_call, ending, of_snapshot
from inprocess import InProcessRunner
from pyiceberg.catalog.sql import SqlCatalog

from metadata.operations.replay import ReplayLedger
from metadata.operations.undo import UndoLedger
from metadata.settings import Settings
from processors.lake.lake import Lake
from processors.load.move_step import Settler
from processors.receipts.operations import OperationReceipts
from processors.rewrite.rewriter import Rewriter
from watcher.app import App
from watcher.deeds.by_name import do
from watcher.work.work import Work

Moment = tuple[type, str, int, bool]
"""What is called, which call of it is the last, and whether even that does not begin."""

BEFORE_PREPARE: dict[str, Moment] = {
    "plan": (ReplayLedger, "plan", 1, False),
    "write": (Rewriter, "write", 1, False),
}
AFTER_PREPARE: dict[str, Moment] = {
    "prepare": (ReplayLedger, "prepare", 1, False),
    "receipt": (OperationReceipts, "write", 1, False),
    "middle of the table's commit": (SqlCatalog, "commit_table", 1, True),
    "table": (Lake, "overwrite", 1, False),
    "middle of the quarantine's commit": (SqlCatalog, "commit_table", 2, True),
    "quarantine": (Lake, "overwrite", 2, False),
    "record": (ReplayLedger, "record", 1, False),
    "receipt of its end": (OperationReceipts, "write", 2, False),
    "settle": (ReplayLedger, "settle", 1, False),
}
WITHOUT_ANSWER: dict[str, Moment] = {
    "table's commit without its answer": (SqlCatalog, "commit_table", 1, False),
    "quarantine's commit without its answer": (SqlCatalog, "commit_table", 2, False),
}
UNDO_BEFORE: dict[str, Moment] = {
    "plan": (UndoLedger, "plan", 1, False),
    "write of the table": (Rewriter, "write", 1, False),
    "write of the quarantine": (Rewriter, "write", 2, False),
}
UNDO_AFTER: dict[str, Moment] = {
    **{name: moment for name, moment in AFTER_PREPARE.items() if moment[0] is not ReplayLedger},
    "prepare": (UndoLedger, "prepare", 1, False),
    "record": (UndoLedger, "record", 1, False),
    "moves": (Settler, "settle_files", 1, False),
    "settle": (UndoLedger, "settle", 1, False),
}


def meant(name: str) -> Only:
    """Which calls count: of the catalog's commits those that add a snapshot."""
    return of_snapshot if name == "commit_table" else any_call


def _kill() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


if __name__ == "__main__":
    verb, step, arguments = sys.argv[1:]
    moment = ((UNDO_AFTER if verb == "undo" else AFTER_PREPARE) | WITHOUT_ANSWER)[step]
    work = Work(App(Settings.load(), runner=InProcessRunner()), pause=lambda _seconds: True, draining=lambda: False)
    owner, name, times, before = moment
    setattr(owner, name, ending(owner, name, _kill, times, before=before, only=meant(name)))
    do(work, verb, json.loads(arguments))
