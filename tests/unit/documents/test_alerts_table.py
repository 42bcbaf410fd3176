"""The table of alerts against the calls that alert."""

from __future__ import annotations

import ast
import re

from documents import ROOT, cells, part

from metadata.logs import Event, Severity

_VALUE = re.compile(r"\bSeverity\.([A-Z]+)\b")


def alerts_in_the_code() -> dict[str, set[str]]:
    """Event → severities, as they stand in calls that alert."""
    found: dict[str, set[str]] = {}
    sources = [path for room in ("metadata", "processors", "watcher") for path in sorted((ROOT / room).rglob("*.py"))]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            severities = {
                Severity[each].value
                for keyword in node.keywords
                if keyword.arg == "severity"
                for each in _VALUE.findall(ast.unparse(keyword.value))
            }
            if name not in ("alert", "alert_once") and not (
                name == "Line" and severities
            ):  # a line without one is none
                continue
            for member in re.findall(r"\bEvent\.([A-Z_]+)\b", ast.unparse(node.args[0])):
                found.setdefault(Event[member].value, set()).update(severities)
    return found


def test_table_of_alerts_is_that_of_the_code() -> None:
    """The table has each event that may alert and no other, with every severity that the code gives it."""
    told = {row[0]: set(re.findall(r"[a-z]+", row[1])) for row in cells(part("alerts"))}
    code = alerts_in_the_code()
    assert set(told) == set(code)
    for event, severities in code.items():
        assert severities <= told[event], event
