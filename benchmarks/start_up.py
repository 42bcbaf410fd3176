"""How long commands and a Spark worker take to start, beside a bare `import pyiceberg, duckdb`, in turn.

Each run is a process of its own. Commands run in a folder that was just initialised, or in one whose two tables have a
row each: what is measured is the start, not the work. With `--against` another checkout's commands take their turns in
the same folders.

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

BARE = "import pyiceberg, duckdb"
WORKER = "a worker's imports"
WORKER_MODULES = "processors.load.load_task, processors.spark.worker_process"
COUNT = "select count(*) from vehicle_events"
VERBS = {
    "lemonade --help": ("new", ["--help"]),
    "lemonade status": ("new", ["status"]),
    "lemonade query 'select 1'": ("new", ["query", "select 1"]),
    "lemonade report": ("new", ["report"]),
    "lemonade query, of a table": ("loaded", ["query", COUNT]),
    "lemonade report, of two tables": ("loaded", ["report"]),
}


@dataclass
class Line:
    """One command and its times."""

    name: str
    folder: str
    command: list[str]
    wall: list[float] = field(default_factory=list)  #: seconds, a run each
    cpu: list[float] = field(default_factory=list)  #: the same, user and system

    def run(self, base: Path, *, counts: bool) -> None:
        """Once, as a process; its answer may be "no" (the report of nothing is one), but no more than that."""
        began = time.perf_counter()
        process = subprocess.Popen(
            self.command, cwd=base / self.folder, env=_environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(self.command)}: exit code {process.returncode}")
        if counts:
            self.wall.append(took)
            self.cpu.append(used.ru_utime + used.ru_stime)

    def shown(self, bare: Line) -> str:
        """Its medians, and how many times those of the bare import they are."""
        wall, cpu = statistics.median(self.wall), statistics.median(self.cpu)
        of_wall, of_cpu = wall / statistics.median(bare.wall), cpu / statistics.median(bare.cpu)
        return f"{wall * 1000:6.0f} ms {of_wall:5.1f} ×{cpu * 1000:7.0f} ms CPU {of_cpu:5.1f} ×"


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    here = _lines(Path(sys.executable).parent, WORKER_MODULES)
    other = _lines(arguments.against.absolute(), arguments.against_worker) if arguments.against else []
    with tempfile.TemporaryDirectory(prefix="lemonade-start-", dir=arguments.folder) as folder:
        base = Path(folder).absolute()
        _prepare(base / "new", with_tables=False)
        _prepare(base / "loaded", with_tables=True)
        for number in range(arguments.repeat + 1):
            for line in _in_turn(here, other):
                line.run(base, counts=number > 0)  # the first run reads files from the disk, and may compile them
    print(f"{arguments.repeat} runs each, in turn: medians, and how many times the bare import that is")
    for position, line in enumerate(here):
        against = f"   against {other[position].shown(other[0])}" if other else ""
        print(f"  {line.name:32} {line.shown(here[0])}{against}")


def _lines(bin_folder: Path, worker_modules: str) -> list[Line]:
    python, lemonade = str(bin_folder / "python"), str(bin_folder / "lemonade")
    return [
        Line(BARE, "new", [python, "-c", BARE]),
        *(Line(name, folder, [lemonade, *arguments]) for name, (folder, arguments) in VERBS.items()),
        Line(WORKER, "new", [python, "-c", f"import {worker_modules}"]),
    ]


def _in_turn(here: list[Line], other: list[Line]) -> list[Line]:
    return [line for pair in zip(here, other, strict=True) for line in pair] if other else here


def _environ() -> dict[str, str]:
    return {name: os.environ[name] for name in ("HOME", "PATH", "LANG", "TMPDIR") if name in os.environ}


def _prepare(folder: Path, *, with_tables: bool) -> None:
    """What `lemonade init` makes, and a table with one row for each of the built-in types."""
    folder.mkdir()
    os.chdir(folder)
    app = App(Settings.load({}, None), environ={})
    app.init()
    for kind in app.registry.read().active if with_tables else ():
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
