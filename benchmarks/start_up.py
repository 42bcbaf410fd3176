"""How long commands and a Spark worker take to start, beside a bare `import pyiceberg, duckdb`, in turn.

Each line is a process of its own, in an initialised folder whose two tables have a row each: what is measured is the
start, not the work. With `--against` another checkout's commands take their turns in the same folder.

    python benchmarks/start_up.py                                   this checkout
    python benchmarks/start_up.py --against OTHER/.venv/bin         and another, line by line
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from metadata.settings import Settings
from processors.decode.schema import arrow_schema
from watcher.app import App

BARE = "python -c 'import pyiceberg, duckdb'"
WORKER = "a worker's imports"
WORKER_MODULES = "processors.load.load_task, processors.spark.worker_process"
VERBS = {
    "lemonade --help": ["--help"],
    "lemonade status": ["status"],
    "lemonade query 'select 1'": ["query", "select 1"],
    "lemonade query, of a table": ["query", "select count(*) from vehicle_events"],
    "lemonade report": ["report"],
}


@dataclass
class Line:
    """One command and its times."""

    name: str
    command: list[str]
    wall: list[float] = field(default_factory=list)  #: seconds, a run each
    cpu: list[float] = field(default_factory=list)  #: the same, user and system

    def run(self, folder: Path) -> None:
        """Once, as a process in `folder`; not more than a "no" may be its answer (a report of nothing is one)."""
        began = time.perf_counter()
        process = subprocess.Popen(self.command, cwd=folder, stdout=subprocess.DEVNULL, env=_environ())
        _, status, used = os.wait4(process.pid, 0)
        self.wall.append(time.perf_counter() - began)
        self.cpu.append(used.ru_utime + used.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(self.command)}: exit code {process.returncode}")


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    here = _lines(Path(sys.executable).parent, WORKER_MODULES)
    other = _lines(arguments.against, arguments.against_worker) if arguments.against else []
    with tempfile.TemporaryDirectory(prefix="lemonade-start-", dir=arguments.folder) as folder:
        _prepare(Path(folder))
        for number in range(arguments.repeat + 1):
            for line in _in_turn(here, other):
                line.run(Path(folder))
                if number == 0:  # a first run reads files from the disk, and may compile them
                    line.wall.clear()
                    line.cpu.clear()
    print(
        f"{arguments.repeat} runs each, in turn, after one that does not count; medians, as the clock and the CPU say"
    )
    bare = statistics.median(here[0].wall)
    for position, line in enumerate(here):
        before = f"   before {_times(other[position])}" if other else ""
        print(f"  {line.name:38} {_times(line)} {statistics.median(line.wall) / bare:6.1f} × the bare import{before}")


def _lines(bin_folder: Path, worker_modules: str) -> list[Line]:
    python, lemonade = str(bin_folder / "python"), str(bin_folder / "lemonade")
    return [
        Line(BARE, [python, "-c", "import pyiceberg, duckdb"]),
        *(Line(name, [lemonade, *arguments]) for name, arguments in VERBS.items()),
        Line(WORKER, [python, "-c", f"import {worker_modules}"]),
    ]


def _in_turn(here: list[Line], other: list[Line]) -> list[Line]:
    return [line for pair in zip(here, other, strict=True) for line in pair] if other else here


def _times(line: Line) -> str:
    return f"{statistics.median(line.wall) * 1000:6.0f} ms  {statistics.median(line.cpu) * 1000:6.0f} ms CPU"


def _environ() -> dict[str, str]:
    return {name: os.environ[name] for name in ("HOME", "PATH", "LANG", "TMPDIR") if name in os.environ}


def _prepare(folder: Path) -> None:
    """What `lemonade init` makes, and a table with one row for each of the built-in types."""
    os.chdir(folder)
    app = App(Settings.load({}, None), environ={})
    app.init()
    for kind in app.registry.read().active:
        assert kind.definition is not None
        schema = arrow_schema(kind.definition)
        row = dict.fromkeys(schema.names) | {"date": datetime.now(UTC).date()}
        app.lake().ensure_type_table(kind).append(pa.Table.from_pylist([row], schema=schema))
    app.database.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeat", type=int, default=7, help="counted runs of each line (7)")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    parser.add_argument("--against", type=Path, metavar="BIN", help="the folder of another checkout's commands")
    parser.add_argument(
        "--against-worker", default=WORKER_MODULES, metavar="MODULES", help="what a worker of that checkout imports"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
