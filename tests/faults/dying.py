"""Runs `lemonade run --once --json` here and dies by SIGKILL right after the protocol step named as argument.

The test wraps the step from outside; the product has no hook for it. `settle 2` dies after the second batch's step.
With `in-process` behind it, tasks run in this process and not on Spark. After the step `none` it does not die.
"""

from __future__ import annotations

import os
import signal
import sys

from deaths import Only, any_call, ending, not_to_table, of_files, to_table
from inprocess import InProcessRunner

from metadata.ledger.ledger import Ledger
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE as QUARANTINE
from processors.load.decode_step import Decoding
from processors.load.move_step import Settler
from watcher.app import App
from watcher.cli import main

STEPS: dict[str, tuple[type, str, Only]] = {
    "plan": (Ledger, "plan", any_call),
    "decode": (Decoding, "decode", any_call),
    "prepare": (Ledger, "prepare", any_call),
    "quarantine": (Lake, "append", to_table(QUARANTINE)),
    "commit": (Lake, "append", not_to_table(QUARANTINE)),
    "record": (Ledger, "record", any_call),
    "moves": (Settler, "settle_files", of_files),
    "settle": (Ledger, "settle", any_call),
}


def die() -> None:
    """This process is gone before the call returns."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(step: str, times: int) -> None:
    """The `times`-th return of the step is this process's end."""
    owner, name, only = STEPS[step]
    setattr(owner, name, ending(owner, name, die, times, only=only))


def without_spark() -> None:
    """Tasks run here."""
    runner = InProcessRunner()
    App.runner = lambda self: runner  # type: ignore[method-assign] # what this driver is for


if __name__ == "__main__":
    if sys.argv[1] != "none":
        die_after(sys.argv[1], int(sys.argv[2]))
    if sys.argv[3:] == ["in-process"]:
        without_spark()
    main(["run", "--once", "--json"])
