"""Names: no two that a reader takes for each other, one word a meaning."""

from __future__ import annotations

import ast
from collections import defaultdict
from itertools import combinations

from source import classes, functions, modules

LONGEST_ENDING = 4
UNLIKE = {("states", "status")}
"""Two words, though they begin alike: the second is a verb that people type."""


def differ_only_by_an_ending(one: str, other: str) -> bool:
    """Whether one name is the other with another ending: settle/settling, receipt/receipts, decode/decoder."""
    short, long = sorted((one, other), key=len)
    root = short.rstrip("es") if len(short) > 4 else short
    ending = long.removeprefix(root)
    return len(root) > 2 and long.startswith(root) and len(ending) <= LONGEST_ENDING and "_" not in ending


def test_names_that_trap_are_told() -> None:
    """The measure itself: the families of names that once trapped readers are known, plain neighbours are not."""
    for one, other in (("settle", "settling"), ("receipt", "receipts"), ("decode", "decoder"), ("undo", "undoing")):
        assert differ_only_by_an_ending(one, other)
    for one, other in (("lake", "landing"), ("file_type", "file_rejects"), ("undo", "unknown_ends"), ("cli", "clock")):
        assert not differ_only_by_an_ending(one, other)


def test_no_two_modules_differ_only_by_an_ending() -> None:
    """One word is one file's name, in whatever room; a package may hold the module that its name says."""
    paths: dict[str, set[str]] = defaultdict(set)
    for name in modules():
        paths[name.rsplit(".", 1)[-1]].add(name)
    traps = [
        (one, other)
        for one, other in combinations(sorted(paths), 2)
        if (one, other) not in UNLIKE
        and differ_only_by_an_ending(one, other)
        and not all(
            long.rsplit(".", 1)[0] in paths[short_name]
            for short_name, long_name in [sorted((one, other), key=len)]
            for long in paths[long_name]
        )
    ]
    assert traps == []


def test_no_two_classes_of_one_name() -> None:
    """A class's name says which one it is, wherever it is met."""
    places = defaultdict(list)
    for module, node in classes():
        places[node.name].append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_file_type_is_text_and_kind_is_a_file_type() -> None:
    """`file_type` is a type's name as text, and a FileType is called `kind`, in every signature and field."""
    said: list[tuple[str, str, str]] = []
    for module, function in functions():
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        said += [(module, each.arg, ast.unparse(each.annotation)) for each in arguments if each.annotation]
    for module, node in classes():
        said += [
            (module, each.target.id, ast.unparse(each.annotation))
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        ]
    wrong = [
        (module, name, type_)
        for module, name, type_ in said
        if (name == "file_type" and type_.removesuffix(" | None") not in ("str", "Mapped[str]", "Mapped[str | None]"))
        or (name == "kind" and type_ == "str" and module.startswith("watcher."))
        or (type_.removesuffix(" | None") == "FileType" and name not in ("kind", "old", "new", "given"))
    ]
    assert wrong == []
