"""What to do about a file that was not loaded, by the code of its error: the one place that says it.

`<name>.error.json`, alerts and `lemonade explain` all take their cure from here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

CURES = {
    "bad_name": "give it a data file's name (PREFIX_YYYYMMDDHHMMSS.json) and drop it into incoming/ again",
    "not_a_regular_file": "drop the file itself into incoming/",
    "too_large": "split it and drop the parts into incoming/, or raise MAX_FILE_BYTES and run: lemonade retry",
    "empty": "see why its producer wrote nothing; then drop it into incoming/ again",
    "unreadable": "let the daemon's user read it, or mend it if it was cut off; then run: lemonade retry",
    "malformed": "mend its JSON where it lies and run: lemonade retry; or drop a whole one into incoming/",
    "wrong_shape": "put its records where its type looks for them, in the file where it lies; then run: lemonade retry",
    "schema_mismatch": "mend the records, or the schema with: lemonade types update; then run: lemonade retry",
    "out_of_attempts": "mend what its message names, then run: lemonade retry",
    "spark_lost": "it ends the process that reads it: see its size and its nesting, split it, then drop the parts",
    "poison": "it ends the process that reads it: see its size and its nesting, split it, then drop the parts",
    "task_failed": "reading it raised an error that nobody foresaw: report it; lemonade retry tries again",
    "timed_out": "see why it takes so long, or raise BATCH_TIMEOUT_SECONDS; then run: lemonade retry",
    "redelivered": "if it is the right one, take the loaded one out first: lemonade undo FILE; then: lemonade retry",
    "duplicate": "nothing to do: the same delivery is loaded",
    "bytes_changed": "nothing to do if it was meant; its producer should write beside and rename in",
    "missing": "somebody removed it; to load it, drop it into incoming/ again",
}
OTHERWISE = "mend what its message names, then run: lemonade retry; or drop it into incoming/ again"


def cure_for(code: str | None) -> str:
    """What to do about a file that has this code."""
    return CURES.get(code or "", OTHERWISE)


def error_json(
    *,
    code: str | None,
    message: str | None,
    file_id: str,
    name: str,
    file_type: str | None,
    attempts: int,
    noticed_at: datetime,
    claimed_at: datetime | None,
    settled_at: datetime,
) -> dict[str, Any]:
    """What stands in `<name>.error.json` beside a file in failed/ or error/."""
    return {
        "code": code,
        "message": message,
        "cure": cure_for(code),
        "file_id": file_id,
        "file": name,
        "file_type": file_type,
        "attempts": attempts,
        "noticed_at": noticed_at.isoformat(),
        "claimed_at": None if claimed_at is None else claimed_at.isoformat(),
        "settled_at": settled_at.isoformat(),
    }
