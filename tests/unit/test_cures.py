"""The cures: one for every code that a file which was not loaded can have."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metadata.cures import CURES, OTHERWISE, cure_for, error_json
from metadata.retry_policy import Destination, policies
from metadata.settings import Settings
from watcher.deeds.command_files import verb_files

ROOT = Path(__file__).resolve().parents[2]


def codes_of_refusals() -> set[str]:
    """Every code that a FileRefused is made with."""
    found: set[str] = set()
    for room in ("metadata", "processors", "watcher"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "FileRefused":
                    found |= {
                        str(each.value.value)
                        for each in node.keywords
                        if each.arg == "code" and isinstance(each.value, ast.Constant)
                    }
    return found


def test_every_refusal_has_its_cure() -> None:
    """Codes of refusals, and of faults that end with one file in failed/, are in the table."""
    refusals = codes_of_refusals()
    assert {"bad_name", "malformed", "wrong_shape"} <= refusals
    halved = {row.code for row in policies(Settings.load({}, None)) if row.destination is Destination.HALVED}
    others = {"out_of_attempts", "poison", "redelivered", "duplicate", "missing", "bytes_changed", "schema_mismatch"}
    assert (refusals | halved | others) - set(CURES) <= {"worker_lost"}, "worker_lost becomes poison"


@pytest.mark.parametrize("code", ["never_heard_of", None])
def test_an_unknown_code_has_a_cure_too(code: str | None) -> None:
    """A code from a newer release, or none, gets the general cure."""
    assert cure_for(code) == OTHERWISE


def test_cures_name_verbs_that_there_are() -> None:
    """Each `lemonade VERB` of a cure can be typed."""
    for cure in (*CURES.values(), OTHERWISE):
        for told in cure.split("lemonade ")[1:]:
            assert told.split()[0].rstrip(";,:") in verb_files(), cure


def test_the_reason_beside_a_file_has_what_a_person_asks() -> None:
    """Code, message, cure, file id, attempts and times, whether it was claimed or not."""
    noon = datetime(2026, 1, 15, 12, tzinfo=UTC)
    told = error_json(
        code="malformed",
        message="it is no JSON",
        file_id="x",
        name="a.json",
        file_type=None,
        attempts=2,
        noticed_at=noon,
        claimed_at=None,
        settled_at=noon,
    )
    assert (told["code"], told["message"], told["file_id"], told["attempts"]) == ("malformed", "it is no JSON", "x", 2)
    assert told["cure"] == CURES["malformed"]
    assert (told["noticed_at"], told["claimed_at"], told["settled_at"]) == (noon.isoformat(), None, noon.isoformat())
