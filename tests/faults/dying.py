"""Runs `lemonade run --once --json` here and dies by SIGKILL right after the protocol step named as argument.

The test wraps the step from outside; the product has no hook for it. `settle 2` dies after the second batch's step.
With `in-process` behind it, tasks run in this process and not on Spark. After the step `none` it does not die.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from metadata.ledger.ledger import Ledger
from processors.lake.lake import Lake
from processors.lake.quarantine_table import TABLE
from processors.load.decode_step import Decoding
from processors.load.move_step import Settler
from watcher.app import App
from watcher.cli import main

STEPS: dict[str, tuple[type, str]] = {
    "plan": (Ledger, "plan"),
    "decode": (Decoding, "decode"),
    "prepare": (Ledger, "prepare"),
    "quarantine": (Lake, "append"),
    "commit": (Lake, "append"),
    "record": (Ledger, "record"),
    "moves": (Settler, "settle_files"),
    "settle": (Ledger, "settle"),
}


def is_it(step: str, args: tuple[Any, ...]) -> bool:
    """Whether a call is the step that is meant: two of them share their method with others."""
    if step in ("quarantine", "commit"):
        return (args[0] == TABLE) == (step == "quarantine")
    return step != "moves" or bool(args[0])  # Plan settles its duplicates, an empty list


def die_after(step: str, times: int) -> None:
    """The `times`-th return of the step is this process's end."""
    owner, name = STEPS[step]
    original = getattr(owner, name)
    left = times

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        result = original(self, *args, **kwargs)
        left -= is_it(step, args)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


def without_spark() -> None:
    """Tasks run here."""
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from inprocess import InProcessRunner

    runner = InProcessRunner()
    App.runner = lambda self: runner  # type: ignore[method-assign] # what this driver is for


if __name__ == "__main__":
    if sys.argv[1] != "none":
        die_after(sys.argv[1], int(sys.argv[2]))
    if sys.argv[3:] == ["in-process"]:
        without_spark()
    main(["run", "--once", "--json"])
