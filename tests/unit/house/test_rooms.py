"""The house: what lies in which room, and which way the rooms know each other."""

from __future__ import annotations

import ast

import pytest
from source import ROOT, imports, modules, tree

MOST_FILES = 15
A_FILE_A_VERB = {"watcher/commands"}  # grows with the verbs, and each is found by its name
SAYS_MORE = {
    "metadata.registry": "re-exports get_or_create_table_metadata, the name that other programs were promised",
}


def packages() -> list[str]:
    """Dotted names of the packages."""
    return [name for name, path in modules().items() if path.name == "__init__.py"]


@pytest.mark.parametrize("name", packages())
def test_a_room_has_few_files(name: str) -> None:
    """No folder of code has more files than a reader takes in at a look."""
    folder = modules()[name].parent
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MOST_FILES or str(folder.relative_to(ROOT)) in A_FILE_A_VERB


@pytest.mark.parametrize("name", packages())
def test_a_room_says_what_belongs_there(name: str) -> None:
    """Each `__init__.py` is one sentence: what belongs there, and below the top also what does not."""
    body = tree(modules()[name]).body
    said = ast.get_docstring(tree(modules()[name]))
    assert said is not None
    assert said.endswith(".")
    assert said.count(". ") == 0, "more than one sentence"
    assert "." not in name or " not " in said or " nor " in said or "nothing" in said
    assert len(body) == 1 or name in SAYS_MORE


def test_no_import_circle() -> None:
    """No module imports itself through others, imports inside functions and for type checking included."""
    graph = imports()
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> None:
        if name in path:
            raise AssertionError(" → ".join([*path[path.index(name) :], name]))
        if name in done:
            return
        path.append(name)
        for other in sorted(graph[name]):
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)
