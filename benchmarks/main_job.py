"""The main job against plain Spark, on the same files, in the same process and Spark session.

- baseline: `spark.read.json(multiLine)` + `explode` → Parquet, what most pipelines do;
- Lemonade: claimed files → micro-batch through the whole commit protocol (ledger on SQLite, worker tasks on Spark, one
  Iceberg commit, files moved to processed/). The claim before it (rename, SHA-256, ledger row) is told apart.

    python benchmarks/main_job.py                    100 files of 10,000 records
    python benchmarks/main_job.py --small            and 5,000 files of 10 records
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from random import Random

from pyspark.sql.functions import explode

from metadata.database.states import FlushReason
from metadata.logs import configure
from metadata.settings import Settings
from processors.spark.spark_runner import SparkRunner
from watcher.app import App
from watcher.deeds.made_up_files import KINDS, document, records
from watcher.work.work import Work

EVENTS = KINDS[0]
START = datetime(2026, 1, 15, tzinfo=UTC)


@dataclass(frozen=True)
class Shape:
    """What is loaded: so many files of so many records."""

    name: str
    files: int
    records: int

    @property
    def rows(self) -> int:
        """In all files together."""
        return self.files * self.records


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    shapes = [Shape("A", arguments.files, arguments.records)]
    if arguments.small:
        shapes.append(Shape("B", 5000, 10))
    configure("ERROR", "console")
    with tempfile.TemporaryDirectory(prefix="lemonade-bench-", dir=arguments.folder) as folder:
        settings = settings_in(Path(folder))
        app = App(settings)
        app.init()
        runner = app.runner()
        assert isinstance(runner, SparkRunner)
        try:
            print(machine(settings))
            begin = time.perf_counter()
            runner.warm()
            print(f"Spark started and warm after {time.perf_counter() - begin:.1f} s; not counted below", flush=True)
            bench = Bench(app, runner, Path(folder))
            bench.rehearse()
            for shape in shapes:
                bench.compare(shape, arguments.repeat)
        finally:
            runner.stop()


class Bench:
    """Both ways over the same files, in turn."""

    def __init__(self, app: App, runner: SparkRunner, folder: Path) -> None:
        self.app = app
        self.runner = runner
        self.folder = folder
        self.work = Work(app, pause=lambda seconds: True, draining=lambda: False)
        self._rounds = 0

    def rehearse(self) -> None:
        """Both ways once on a few small files, so that neither pays for a first time."""
        shape = Shape("rehearsal", 8, 2000)
        files = self._generate(shape)
        self._baseline(files)
        self.load(files, shape.rows)

    def compare(self, shape: Shape, repeat: int) -> None:
        """Measure one shape and print its figures."""
        begin = time.perf_counter()
        files = self._generate(shape)
        size = sum(path.stat().st_size for path in files)
        print(
            f"\n{shape.name}: {shape.files:,} files × {shape.records:,} records, {size / 1e6:.0f} MB "
            f"(generated in {time.perf_counter() - begin:.0f} s), {repeat} times each, medians",
            flush=True,
        )
        baseline, claims, loads = [], [], []
        for _ in range(repeat):
            baseline.append(self._baseline(files))
            claim, load = self.load(files, shape.rows)
            claims.append(claim)
            loads.append(load)
        plain = _report("spark.read.json(multiLine) + explode → Parquet", baseline, shape, size)
        load = _report("Lemonade: claimed → committed and settled", loads, shape, size)
        claim = _report("Lemonade: incoming/ → claimed, before it", claims, shape, size)
        print(f"  ratio {plain / load:.1f} × (with the claim {plain / (load + claim):.1f} ×)", flush=True)

    def _generate(self, shape: Shape) -> list[Path]:
        folder = self.folder / "generated" / shape.name
        folder.mkdir(parents=True)
        rng = Random(shape.files)
        paths = []
        for number in range(shape.files):
            path = folder / f"{number:06}.json"
            path.write_bytes(document(EVENTS, records(rng, EVENTS, shape.records, START + timedelta(hours=12))))
            paths.append(path)
        return paths

    def _baseline(self, files: list[Path]) -> float:
        out = self.folder / "baseline"
        session = self.runner.session

        def run() -> None:
            rows = session.read.option("multiLine", True).json([str(path) for path in files])
            rows.select(explode(EVENTS.prefix).alias("r")).select("r.*").write.mode("overwrite").parquet(str(out))

        return _seconds(run)

    def load(self, files: list[Path], rows: int) -> tuple[float, float]:
        """Seconds of claiming and of loading `files`; each round's are deliveries of their own second."""
        self._rounds += 1
        stamp = f"{START + timedelta(seconds=self._rounds):%Y%m%d%H%M%S}"
        for path in files:
            os.link(path, self.app.settings.incoming_folder / f"{EVENTS.prefix}_{stamp}_{path.name}")
        snapshot = self.work.read_registry()
        claim = _seconds(lambda: self.work.gather_until_settled())
        wanted = [kind for kind in snapshot.active if kind.name == EVENTS.file_type]
        loaded = []
        load = _seconds(lambda: loaded.append(self.work.flush(wanted, FlushReason.REQUEST)))
        counted = sum(batch.rows for batch in loaded[0].batches)
        if counted != rows:
            raise SystemExit(f"loaded {counted} rows of {rows}: nothing was measured")
        shutil.rmtree(self.app.settings.processed_folder / EVENTS.file_type)
        return claim, load


def _report(what: str, seconds: list[float], shape: Shape, size: int) -> float:
    median = statistics.median(seconds)
    print(
        f"  {what:<48} {median:7.2f} s  ({min(seconds):.2f}-{max(seconds):.2f})"
        f"  {shape.files / median:9,.0f} files/s  {size / 1e6 / median:7.1f} MB/s"
        f"  {shape.rows / median:11,.0f} records/s",
        flush=True,
    )
    return median


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def settings_in(folder: Path) -> Settings:
    """An installation of its own below `folder`."""
    data = folder / "data"
    return Settings.load(
        {
            "DATABASE_URL": f"sqlite:///{data}/metadata.db",
            "INCOMING_FOLDER": f"{data}/incoming",
            "SOURCE_DATA_BASE": f"{data}/source_data",
            "PROCESSED_FOLDER": f"{data}/processed",
            "DATALAKE_BASE": f"{data}/datalake",
            "LOG_FOLDER": f"{data}/logs",
            "SETTLE_SECONDS": "0",
        },
        None,
    )


def machine(settings: Settings) -> str:
    """What figures depend on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("pyspark", "pyiceberg", "pyarrow", "msgspec"))
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    return f"{machine}, {versions}, {settings.spark_master}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The main job against plain Spark, on the same files.")
    parser.add_argument("--files", type=int, default=100, help="files of shape A (default: 100)")
    parser.add_argument("--records", type=int, default=10_000, help="records in each of them (default: 10000)")
    parser.add_argument("--small", action="store_true", help="also shape B: 5,000 files of 10 records")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; medians are printed (default: 3)")
    parser.add_argument("--folder", type=Path, help="where to put the data, removed afterwards (default: temporary)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
