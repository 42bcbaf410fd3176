"""The product's own source, as tests of its order read it: modules, classes, functions, imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOPS = ("metadata", "processors", "watcher")


@cache
def modules() -> dict[str, Path]:
    """Dotted name → file, packages included; migrations are records of what was, and are left out."""
    found = {}
    for top in TOPS:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "migrations" not in parts:
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class of the product, with its module."""
    for name, path in modules().items():
        yield from ((name, node) for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef))


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of the product, with its module."""
    for name, path in modules().items():
        yield from (
            (name, node) for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )


def imports() -> dict[str, set[str]]:
    """Module → modules of ours that it imports anywhere: at its top, inside functions, for type checking alone."""
    known = modules()
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                graph[name] |= {each.name for each in node.names if each.name in known}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for each in node.names:
                    inner = f"{node.module}.{each.name}"
                    graph[name] |= {inner} if inner in known else {node.module} & known.keys()
    return graph
