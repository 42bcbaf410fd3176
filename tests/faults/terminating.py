"""Runs the daemon without Spark; it sends SIGTERM to itself on its way into the step of the protocol that is named.

With the step `none` it runs until somebody else ends it. Exits as `lemonade run` does.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

from deaths import ending
from dying import STEPS
from inprocess import InProcessRunner

from metadata.errors import Busy
from metadata.logs import configure
from metadata.settings import Settings
from watcher.app import App
from watcher.daemon.service import Service


def terminate_in(step: str) -> None:
    """The first call of the step begins with the signal."""
    owner, name, only = STEPS[step]
    terminate = partial(os.kill, os.getpid(), signal.SIGTERM)
    setattr(owner, name, ending(owner, name, terminate, before=True, only=only))


if __name__ == "__main__":
    if sys.argv[1] != "none":
        terminate_in(sys.argv[1])
    configure("INFO", "json")
    try:
        sys.exit(Service(App(Settings.load(), runner=InProcessRunner())).run())
    except Busy as busy:
        sys.stderr.write(busy.message)
        sys.exit(75)
