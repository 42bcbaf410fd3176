"""Which verbs there are: the files of `watcher/commands/`. Listing them imports none, so `lemonade --help` is fast.

A verb is called as its file; where Python has the word already, the file has a `_` more (`import_.py`). A folder is a
verb with sub-verbs, a file each. The first line of a file is a docstring that says what the verb does in one line:
"`lemonade undo`: take back exactly what one file or one batch has loaded.". A folder's line, in its `__init__.py`,
says behind a semicolon what readers of the code want to know; help leaves that out.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import FileFinder
from pathlib import Path
from types import ModuleType

COMMANDS = "watcher.commands"
"""The package whose files are the verbs."""


@dataclass(frozen=True)
class VerbFile:
    """A verb, as far as its file's name tells."""

    verb: str  #: as it is typed; `quarantine.replay` for a sub-verb
    module: str
    path: Path
    is_group: bool  #: a folder of sub-verbs

    @property
    def name(self) -> str:
        """The verb's own word."""
        return self.verb.rpartition(".")[2]

    @property
    def help_line(self) -> str:
        """What it does in one line, read from the file."""
        with self.path.open(encoding="utf-8") as file:
            line = file.readline().strip().strip('"')
        told = line.partition("`: ")[2]
        if self.is_group:
            told = told.partition(";")[0] + "."
        return told[:1].upper() + told[1:]

    def load(self) -> ModuleType:
        """The file, imported."""
        return import_module(self.module)


def verb_files(group: str = "") -> dict[str, VerbFile]:
    """The verbs by name, in the order of the alphabet; with `group` its sub-verbs."""
    package = f"{COMMANDS}.{group}" if group else COMMANDS
    files = []
    for found in pkgutil.iter_modules(import_module(package).__path__):
        assert isinstance(found.module_finder, FileFinder)  # noqa: S101 - our own package, which lies in a folder
        inside = f"{found.name}/__init__.py" if found.ispkg else f"{found.name}.py"
        files.append(
            VerbFile(
                verb=(f"{group}." if group else "") + found.name.rstrip("_"),
                module=f"{package}.{found.name}",
                path=Path(found.module_finder.path) / inside,
                is_group=found.ispkg,
            )
        )
    return {each.name: each for each in sorted(files, key=lambda each: each.verb)}


def find_verb_file(verb: str) -> VerbFile | None:
    """The file of a verb or, `quarantine.replay`, of a sub-verb; None when there is none."""
    group, _, name = verb.rpartition(".")
    if group and not (group in verb_files() and verb_files()[group].is_group):
        return None
    return verb_files(group).get(name)
