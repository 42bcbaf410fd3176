"""One task of a load in this process, with no ledger: a lake, a folder of claimed files, a definition of their type."""

from __future__ import annotations

import hashlib
import json
import pickle
import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from metadata.files.suffixes_and_codecs import read_suffixes
from metadata.settings import Settings
from metadata.types.config import ProcessingConfig
from metadata.types.definition import Definition
from metadata.types.parse_config import parse_config
from metadata.types.parse_definition import parse_definition
from processors.decode.schema import iceberg_schema, partition_spec
from processors.lake import quarantine_table as quarantine
from processors.lake.data_files import TaskName
from processors.lake.lake import Lake
from processors.load.load_task import Quarantine, TaskResult, WriteJob, load_files
from processors.load.read_source import SourceInput

DAY = date(2026, 1, 15)
NOW = datetime(2026, 1, 16, 9, tzinfo=UTC)
MIB = 1024 * 1024


class Workbench:
    """Files of `file_type` and their table `raw_data.<file_type>`; what is not said here of a task is in `facts`."""

    def __init__(self, folder: Path, file_type: str, definition: dict[str, Any], **config: Any) -> None:
        self.lake = lake_in(folder)
        self.file_type, self.table_name = file_type, f"raw_data.{file_type}"
        self.folder = folder / "processing"
        self.folder.mkdir()
        self.facts: dict[str, Any] = {"time_field": None, "max_decoded_bytes": 64 * MIB}
        self.use(definition, **config)

    def use(self, definition: dict[str, Any], **config: Any) -> None:
        """Take this definition from here on."""
        self.definition: Definition = parse_definition(definition)
        self.config: ProcessingConfig = parse_config(config, None, self.definition)

    def drop(self, content: bytes | object, name: str | None = None, day: date = DAY) -> SourceInput:
        """Put a source file in place and claim it; what is no bytes is written as JSON."""
        number = len(list(self.folder.iterdir()))
        name = name or f"{self.file_type}_{day:%Y%m%d}120000_{number}.json"
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path = self.folder / name
        path.write_bytes(data)
        lines, codec = read_suffixes(name)
        return SourceInput(
            file_id=f"file-{number:04}",
            path=str(path),
            name=name,
            digest=hashlib.sha256(data).hexdigest(),
            day=day,
            size_bytes=len(data),
            lines=lines,
            codec=codec,
        )

    def job(
        self, *inputs: SourceInput, batch_id: str | None = None, attempt: int = 1, task: int = 0, **changes: Any
    ) -> WriteJob:
        """The task that loads these files."""
        spec = partition_spec(self.definition, self.config)
        table = self.lake.ensure_table(self.table_name, iceberg_schema(self.definition), spec)
        rejects = self.lake.ensure_table(quarantine.TABLE, quarantine.iceberg_schema(), quarantine.partition_spec())
        facts: dict[str, Any] = {
            "name": TaskName(batch_id or str(uuid.uuid4()), attempt, task),
            "handle": self.lake.handle(table),
            "quarantine": Quarantine(self.lake.handle(rejects), self.file_type, 3, NOW, raw_max_bytes=1000),
            "definition": self.definition,
            "config": self.config,
            "keys": (self.file_type,),
            "inputs": inputs,
            **self.facts,
            **changes,
        }
        return WriteJob(**facts)

    def run(self, *inputs: SourceInput, **changes: Any) -> TaskResult:
        """Run the task as a worker does, job and result pickled; nothing is committed."""
        return self._run(self.job(*inputs, **changes))

    def load(self, *inputs: SourceInput, **changes: Any) -> TaskResult:
        """Run the task and commit what it wrote."""
        job = self.job(*inputs, **changes)
        result = self._run(job)
        for name, data_files in ((quarantine.TABLE, result.quarantined), (self.table_name, result.data_files)):
            if data_files:
                self.lake.append(name, job.name.batch_id, data_files, {})
        return result

    def rows(self, name: str | None = None) -> list[dict[str, Any]]:
        """A table's rows (the type's, unless another is named), by file and record."""
        table = self.lake.table(name or self.table_name)
        assert table is not None
        rows = table.scan().to_arrow().to_pylist()
        return sorted(rows, key=lambda row: (row["_file_id"], row["_record_no"]))

    @staticmethod
    def _run(job: WriteJob) -> TaskResult:
        sent: WriteJob = pickle.loads(pickle.dumps(job))
        result: TaskResult = pickle.loads(pickle.dumps(load_files(sent)))
        return result


def lake_in(folder: Path) -> Lake:
    """An initialised lake in a folder, with a catalog of its own."""
    environ = {
        "DATALAKE_BASE": str(folder / "lake"),
        "ICEBERG_CATALOG_URI": f"sqlite:///{folder}/catalog.db",
        "DATABASE_URL": f"sqlite:///{folder}/metadata.db",
    }
    lake = Lake(Settings.load(environ, env_file=None))
    lake.init()
    return lake
