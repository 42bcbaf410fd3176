"""What a flush and a summary did, as `--json` shows it: by the daemon and by commands alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metadata.database.models import SourceFile
from metadata.database.states import FileState
from metadata.files.names import parse_name
from metadata.types.file_type import FileType, match_type
from processors.read.summary import SummaryResult
from watcher.app import App
from watcher.intake.scan_result import ScanResult
from watcher.work.flush_report import FlushReport


def flush_answer(app: App, report: FlushReport, scan: ScanResult, types: Sequence[FileType] = ()) -> dict[str, Any]:
    """A flush as `lemonade flush --json` shows it; `types` of every status tell why a file is held."""
    batches = [
        {
            "batch_id": batch.batch_id,
            "file_type": batch.file_type,
            "table": batch.table_name,
            "files": batch.files,
            "outcomes": dict(batch.counts),
            "rows": batch.rows,
            "rejected": batch.rejected,
            "snapshot_id": batch.snapshot_id,
            "quarantine_snapshot_id": batch.quarantine_snapshot_id,
            "state": batch.state,
        }
        for batch in report.batches
        if batch.batch_id is not None
    ]
    files = [
        {
            "name": file.name,
            "file_type": file.file_type,
            "state": file.state,
            "batch_id": file.batch_id,
            "rows": file.rows,
            "rejected": file.rejected,
            "code": file.code,
            "message": file.message,
        }
        for batch in report.batches
        for file in (*batch.refused, *(app.ledger.batch_files(batch.batch_id) if batch.batch_id else ()))
    ]
    not_taken = [{"name": name, "reason": "still being written"} for name in scan.settling]
    not_taken += [{"name": file.name, "reason": f"refused: {file.message}"} for file in scan.refused]
    not_taken += [{"name": each.name, "reason": f"left alone: {each.reason}"} for each in scan.ignored[:1000]]
    not_taken += [
        {"name": file.name, "reason": f"held: {_why_held(file, types)}"}
        for file in app.ledger.files(state=FileState.HELD, limit=1000)
    ]
    return {
        "flush_id": report.flush_id,
        "batches": batches,
        "files": files,
        "duplicates": report.count("duplicate"),
        "refused": len(scan.refused),
        "not_taken": not_taken,
        "drained": report.drained,
    }


def _why_held(file: SourceFile, types: Sequence[FileType]) -> str:
    tie = match_type(parse_name(file.name), types).tie
    if len(tie) > 1:
        return f"{' and '.join(tie)} fit {file.prefix!r} equally well; change the patterns of one"
    return f"no active type takes {file.prefix!r}"


def summary_answer(results: Sequence[SummaryResult]) -> dict[str, Any]:
    """Summaries as `lemonade summarize --json` shows them."""
    return {
        "tables": [
            {
                "table": result.table,
                "days": {str(day): rows for day, rows in result.days.items()},
                "snapshot_id": result.snapshot_id,
                "operation_id": result.operation_id,
            }
            for result in results
        ]
    }
