"""The tests' own order: they follow the rooms, and leave the product's private parts alone."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from source import ROOT, TOPS, tree

TESTS = sorted((ROOT / "tests").rglob("*.py"))
FOREIGN = ("_gateway", "_asdict", "_replace", "_fields")  # of libraries: PySpark's process, named tuples


PATCHING = ("setattr", "getattr", "delattr", "object", "patch", "death", "ending")  # the last two: tests/deaths.py


def private_texts(nodes: list[ast.expr]) -> list[str]:
    """Texts among these that end with a private name."""
    texts = [str(node.value) for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text for text in texts if text.rsplit(".", 1)[-1].startswith("_") and not text.startswith("__")]


def private_of_others(path: Path) -> list[str]:
    """Private names of other objects that a test sets, patches by name or reaches into."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in PATCHING:
                found += private_texts(node.args)
        elif isinstance(node, ast.Tuple) and node.elts and isinstance(node.elts[0], ast.Name):
            found += private_texts(node.elts[1:2])  # (Owner, "name"), as tables of steps have it
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = node.value
            if isinstance(owner, ast.Name) and owner.id in ("self", "cls", "os", "sys"):
                continue
            if isinstance(owner, ast.Call) and getattr(owner.func, "id", "") == "super":
                continue
            found.append(node.attr)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in TOPS:
            found += [each.name for each in node.names if each.name.startswith("_")]
    return [name for name in found if name not in FOREIGN]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_nothing_private_of_the_product_is_touched(path: Path) -> None:
    """Tests patch and reach nothing private, so that the inside of a room can change without them."""
    assert private_of_others(path) == []


def test_unit_tests_follow_the_rooms() -> None:
    """A folder of unit tests is called as the room that it tests; those of single modules lie beside the folders."""
    rooms = {path.name for top in TOPS for path in (ROOT / top).iterdir() if path.is_dir()}
    folders = {path.name for path in (ROOT / "tests/unit").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - rooms <= {"documents", "house"}


def test_no_two_test_files_or_stand_ins_share_a_name() -> None:
    """Test files are imported by their bare names; a helper class has one home."""
    names = Counter(path.name for path in TESTS if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []
    classes = Counter(node.name for path in TESTS for node in tree(path).body if isinstance(node, ast.ClassDef))
    assert [name for name, count in classes.items() if count > 1] == []
