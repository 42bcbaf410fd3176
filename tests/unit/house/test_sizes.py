"""Sizes: what fits on a screen is read; what does not has its reason here."""

from __future__ import annotations

import ast

from source import classes, functions, modules

MOST_LINES = 50
MOST_FILE_LINES = 400
MOST_ARGUMENTS = 8
MOST_ATTRIBUTES = 10

LONG_FUNCTIONS: dict[str, str] = {}
MANY_ATTRIBUTES = {
    "metadata.database.models.TableMetadata": "a table of the database: an attribute a column",
    "metadata.database.models.SourceFile": "a table of the database: an attribute a column",
    "metadata.database.models.Batch": "a table of the database: an attribute a column",
    "metadata.database.models.Operation": "a table of the database: an attribute a column",
    "watcher.report.values.ErrorGroup": "an error as `report --json` tells it: an attribute a key",
    "watcher.report.values.Report": "the document of `report --json`: an attribute a key",
    "watcher.deeds.check.Checked": "a file as `check --json` tells it: an attribute a key",
    "metadata.types.field_types.PlainType": "the faces of a plain type: one row of the one table",
    "metadata.types.definition.Field": "the keys of a field as a definition gives them",
    "metadata.types.config.ProcessingConfig": "the keys of a processing config as a types file gives them",
    "metadata.ledger.books.FileRow": "a row of the ledger as the audit compares it: an attribute a column",
    "metadata.ledger.report_facts.Slice": "a row of a query of the report: what it is grouped by, and its sums",
    "metadata.ledger.report_facts.Fingerprint": "one error of the report: what it is, how often it was, samples of it",
    "metadata.ledger.values.FileOutcome": "a row of batch_files, with what a changed or rejected file tells beside",
    "processors.change.replay.Taken": "what a replay tells of itself: a field of its answer each",
    "processors.change.undo.UndoResult": "what an undo tells of itself: a field of its answer each",
    "processors.load.commit_protocol.BatchResult": "an entry of the answer of a flush: a field a key",
    "metadata.settings.Settings": "a field a setting: the page of settings is made from it",
}


def test_functions_fit_on_a_screen() -> None:
    """No function is longer than a screen without a reason."""
    long = {
        f"{module}.{node.name}": size
        for module, node in functions()
        if (size := (node.end_lineno or 0) - node.lineno + 1) > MOST_LINES
    }
    assert {name: size for name, size in long.items() if name not in LONG_FUNCTIONS} == {}
    assert LONG_FUNCTIONS.keys() <= long.keys(), "a reason for a function that is short by now"


def test_files_are_short() -> None:
    """No file has more lines than a reader keeps in mind."""
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: size for name, size in sizes.items() if size > MOST_FILE_LINES} == {}


def test_constructors_take_few_arguments() -> None:
    """What needs more than eight things is two things."""
    many = {
        f"{module}:{node.lineno}": count
        for module, node in functions()
        if node.name == "__init__" and (count := len(node.args.args) + len(node.args.kwonlyargs) - 1) > MOST_ARGUMENTS
    }
    assert many == {}


def attributes(node: ast.ClassDef) -> set[str]:
    """What instances carry: annotated fields, and what the constructor sets."""
    found = {
        each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    for function in node.body:
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            found |= {
                each.attr
                for each in ast.walk(function)
                if isinstance(each, ast.Attribute)
                and isinstance(each.ctx, ast.Store)
                and isinstance(each.value, ast.Name)
                and each.value.id == "self"
            }
    return found


def test_classes_carry_few_attributes() -> None:
    """No class has more than ten attributes that could be two ideas; those that are one have their reason."""
    many = {
        f"{module}.{node.name}": size for module, node in classes() if (size := len(attributes(node))) > MOST_ATTRIBUTES
    }
    assert {name: size for name, size in many.items() if name not in MANY_ATTRIBUTES} == {}
    assert MANY_ATTRIBUTES.keys() <= many.keys(), "a reason for a class that is small by now"
