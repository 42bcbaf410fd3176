"""What bad records cost: the same load of clean files, of files with some bad records each, and of a few bad files.

    python benchmarks/dirty_data.py                  100 files of 10,000 records, in three forms

In turn, in one process and Spark session; the ratios are of medians of one run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from main_job import EVENTS, Bench, Shape, machine, settings_in

from metadata.logs import configure
from processors.spark.spark_runner import SparkRunner
from watcher.app import App
from watcher.deeds.made_up_files import document, records, spoil

START = datetime(2026, 1, 15, tzinfo=UTC)


@dataclass(frozen=True)
class Dirt:
    """How much is bad: in which share of the files, and there which share of the records."""

    name: str
    files: float
    records: float


FORMS = (
    Dirt("clean", 0, 0),
    Dirt("1 % bad records in every file", 1, 0.01),
    Dirt("1 % bad records in 1 % of the files", 0.01, 0.01),
)


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    configure("CRITICAL", "console")
    with tempfile.TemporaryDirectory(prefix="lemonade-bench-", dir=arguments.folder) as folder:
        settings = settings_in(Path(folder))
        app = App(settings)
        app.init()
        runner = app.runner()
        assert isinstance(runner, SparkRunner)
        try:
            print(machine(settings))
            runner.warm()
            bench = Bench(app, runner, Path(folder))
            bench.rehearse()
            made = {dirt: _generate(dirt, Path(folder), arguments) for dirt in FORMS}
            rows = {dirt: arguments.files * arguments.records - bad for dirt, (_, bad) in made.items()}
            seconds: dict[Dirt, list[float]] = {dirt: [] for dirt in FORMS}
            for _ in range(arguments.repeat):
                for dirt, (paths, _bad) in made.items():
                    seconds[dirt].append(bench.load(paths, rows[dirt])[1])
        finally:
            runner.stop()
    clean = statistics.median(seconds[FORMS[0]])
    shape = Shape("", arguments.files, arguments.records)
    print(f"{shape.files:,} files × {shape.records:,} records, {arguments.repeat} times each in turn, medians")
    for dirt, each in seconds.items():
        median = statistics.median(each)
        print(
            f"  {dirt.name:<40} {median:6.2f} s  ({min(each):.2f}-{max(each):.2f})  {made[dirt][1]:>7,} rejected"
            f"  {shape.rows / median:11,.0f} records/s  {clean / median:5.0%} of the clean speed"
        )


def _generate(dirt: Dirt, folder: Path, arguments: argparse.Namespace) -> tuple[list[Path], int]:
    """The files, and how many records of them are bad."""
    target = folder / "generated" / str(FORMS.index(dirt))
    target.mkdir(parents=True)
    rng = Random(7)
    bad_files = round(dirt.files * arguments.files)
    paths, bad = [], 0
    for number in range(arguments.files):
        made = records(rng, EVENTS, arguments.records, START + timedelta(hours=12))
        if number < bad_files:
            bad += spoil(rng, EVENTS, made, dirt.records)
        path = target / f"{number:06}.json"
        path.write_bytes(document(EVENTS, made))
        paths.append(path)
    return paths, bad


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What bad records cost.")
    parser.add_argument("--files", type=int, default=100, help="files of each form (default: 100)")
    parser.add_argument("--records", type=int, default=10_000, help="records in each of them (default: 10000)")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; medians are printed (default: 5)")
    parser.add_argument("--folder", type=Path, help="where to put the data, removed afterwards (default: temporary)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
