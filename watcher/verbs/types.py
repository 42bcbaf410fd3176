"""The verbs that change the registry, as the daemon or a command that holds its lock does them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metadata.registry.registry import Registry
from metadata.types.file_type import FileType


def _add(registry: Registry, arguments: dict[str, Any]) -> dict[str, Any]:
    return _answer(registry.add(arguments["raw"]))


def _update(registry: Registry, arguments: dict[str, Any]) -> dict[str, Any]:
    return _answer(registry.update(arguments["file_type"], arguments["raw"], version=arguments.get("version")))


def _activate(registry: Registry, arguments: dict[str, Any]) -> dict[str, Any]:
    return _answer(registry.activate(arguments["file_type"], arguments.get("raw")))


def _disable(registry: Registry, arguments: dict[str, Any]) -> dict[str, Any]:
    registry.disable(arguments["file_type"])
    return {"file_type": arguments["file_type"], "status": "disabled"}


def _import(registry: Registry, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"changed": [each.new.name for each in registry.import_all(arguments["document"]) if each.is_change]}


def _answer(kind: FileType) -> dict[str, Any]:
    return {
        "file_type": kind.name,
        "status": kind.status.value,
        "table_name": kind.table_name,
        "filename_patterns": list(kind.patterns),
        "schema_version": kind.schema_version,
    }


VERBS: dict[str, Callable[[Registry, dict[str, Any]], dict[str, Any]]] = {
    "types.add": _add,  # {"raw": a types file}
    "types.update": _update,  # {"file_type": …, "raw": the keys to change, "version": that it is expected to have}
    "types.activate": _activate,  # {"file_type": …, "raw": a types file, or without it the draft on its record}
    "types.disable": _disable,  # {"file_type": …}
    "types.import": _import,  # {"document": as `types export` writes it}
}
"""Verb → what does it, with a registry and the request's arguments; returns the answer, raises LemonadeError."""
