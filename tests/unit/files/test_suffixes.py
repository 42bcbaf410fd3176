"""The table of suffixes and codecs: what it says of names, and what the manual says of it."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest
from source import modules, tree

from metadata.files.folders import name_with_id, name_without_id
from metadata.files.names import parse_name
from metadata.files.suffixes_and_codecs import CODECS, FORMS, SUFFIXES, Codec, Form, read_suffixes
from metadata.ledger.fingerprint import normalised

PAGE = Path(__file__).resolve().parents[3] / "docs/files.md"
ROWS = pytest.mark.parametrize(
    ("form", "codec"),
    [(form, codec) for form in FORMS for codec in (None, *CODECS)],
    ids=lambda row: row.suffix if row else "plain",
)


@ROWS
def test_every_row_is_known_wherever_names_are_read(form: Form, codec: Codec | None) -> None:
    """Parsed in any case, moved to a name with an id and back, left out of messages."""
    suffix = f".{form.suffix}" + (f".{codec.suffix}" if codec else "")
    for end in (suffix, suffix.upper()):
        name = f"a_20260115120000{end}"
        assert (parse_name(name).lines, parse_name(name).codec) == read_suffixes(name) == (form.lines, codec)
        moved = name_with_id(name, "0190b6a2-7f5e-7c3e-9b1a-2f6d3c4b5a69")
        assert moved == f"a_20260115120000.3c4b5a69{end}"
        assert name_without_id(moved) == name
        assert normalised(f"reading {name}: it is empty") == "it is empty"
    assert normalised(f"see a_20260115120000{suffix} there") == "see <file> there"


@pytest.mark.parametrize(
    ("name", "lines", "codec"),
    [
        ("x", False, None),
        ("jsonl", False, None),
        ("x.txt", False, None),
        ("x.gz", False, "gz"),
        (".jsonl", True, None),
        ("x.jsonl.gz.txt", False, None),
        ("x.jsonl.gz.gz", False, "gz"),
        ("x.GZ.ndJSON", True, None),
    ],
)
def test_suffixes_are_read_off_any_name(name: str, lines: bool, codec: str | None) -> None:
    """Also of files that are called like no data file, as people try them."""
    found = read_suffixes(name)
    assert (found[0], found[1] and found[1].suffix) == (lines, codec)


def test_the_pattern_stands_in_verbose_ones() -> None:
    """It holds nothing that `re.VERBOSE` would skip."""
    assert not re.search(r"[\s#]", SUFFIXES)


def test_no_other_module_knows_a_suffix() -> None:
    """What a row stands for is said in the table alone: a codec more is a row more."""
    suffixes = {row.suffix for row in (*FORMS, *CODECS)} - {"json"}
    knowing = []
    for name, path in modules().items():
        nodes = list(ast.walk(tree(path)))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        texts = [node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
        knowing += [(name, text) for text in texts if suffixes & set(re.findall(r"\w+", str(text)))]
    assert {name for name, _ in knowing} == {"metadata.files.suffixes_and_codecs"}, knowing


def test_rows_travel_to_workers() -> None:
    """A task's source files carry theirs, so they are pickled."""
    assert pickle.loads(pickle.dumps((FORMS, CODECS))) == (FORMS, CODECS)


def test_the_manual_names_every_row() -> None:
    """The page of names lists the table, in its order."""
    line = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("`{prefix}_"))
    assert re.findall(r"`\.(\w+)`", line) == [row.suffix for row in (*FORMS, *CODECS)]
