"""Vehicle events of which some are rejected, and the change of the schema that lets those pass."""

from __future__ import annotations

from typing import Any

from command import events_file

from watcher.app import App


def records(good: int, bad: int, start: int = 0) -> list[dict[str, Any]]:
    """Good records of vehicle events, then some whose source is a number, which the schema does not take."""
    made: list[dict[str, Any]] = next(iter(events_file(good + bad, start=start).values()))
    for record in made[good:]:
        record["event_source"] = 7
    return made


def mend(app: App, field: str = "event_source") -> None:
    """Let a text field of the schema take numbers too."""
    row = next(each for each in app.registry.describe() if each["file_type"] == "vehicle_events")
    schema = row["schema_definition"]
    for each in schema["fields"]:
        if each["name"] == field:
            each["coerce"] = True
    app.registry.update("vehicle_events", {"schema_definition": schema})
