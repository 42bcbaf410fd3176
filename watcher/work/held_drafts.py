"""When the daemon drafts a schema: for a type without one, with its first held files and whenever they have doubled.

Drafting reads a bounded sample and never stops anything else: what goes wrong is logged, and the next doubling tries
again. The same functions draft for `lemonade types infer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metadata.errors import FileRefused, LemonadeError
from metadata.files.names import parse_name
from metadata.logs import Event, get_logger
from metadata.registry.drafts import Drafts, HeldFile, HeldPrefix
from metadata.registry.registry import Registry, RegistrySnapshot
from metadata.types.file_type import FileType, TypeStatus, match_type
from processors.drafts.sample import Bounds, Sample, Source, gather, keys_of
from processors.drafts.schema_draft import Draft, draft

log = get_logger()

QUICK = Bounds(files=20, records=20_000, bytes=8 * 1024 * 1024)
"""What the daemon reads for one draft: a second or two of work, on a thread that claims nothing."""


@dataclass(frozen=True)
class Wanted:
    """A type without a schema, and the held files that it would take if it were active."""

    kind: FileType
    prefixes: tuple[str, ...]
    files: int


class Drafting:
    """Drafts schemas of unknown types. `due` is cheap; `make` may run on another thread."""

    def __init__(self, drafts: Drafts, registry: Registry) -> None:
        self.drafts = drafts
        self.registry = registry
        self._tried: dict[str, int] = {}  #: type → files held for it when a draft was last begun in this process

    def due(self, snapshot: RegistrySnapshot) -> list[Wanted]:
        """The types whose draft is missing, or was made from half as many held files or fewer."""
        if all(kind.definition is not None for kind in snapshot.types):
            return []
        held_for = wanted(snapshot.types, self.drafts.held())
        if not held_for:
            return []
        before = self.drafts.held_when_drafted()
        due = []
        for each in held_for:
            last = max(before.get(each.kind.name, 0), self._tried.get(each.kind.name, 0))
            if each.files >= max(1, 2 * last):
                self._tried[each.kind.name] = each.files
                due.append(each)
        return due

    def make(self, each: Wanted) -> None:
        """Draft one type and keep it; faults are logged."""
        name = each.kind.name
        try:
            made = draft_held(self.drafts, each, QUICK)
            kept = self.drafts.keep(name, made.raw, made.facts)
        except Exception as error:  # a draft is a convenience: whatever is wrong with it, loading goes on
            message = error.message if isinstance(error, LemonadeError) else repr(error)
            log.warning(Event.DRAFT_FAILED, file_type=name, held=each.files, error=message)
            return
        if kept:
            fields = len(made.facts["fields"])
            log.info(Event.DRAFT_MADE, file_type=name, held=each.files, records=made.facts["records"], fields=fields)

    def run(self, snapshot: RegistrySnapshot) -> None:
        """Make what is due, now."""
        for each in self.due(snapshot):
            self.make(each)


def wanted(types: Sequence[FileType], held: Sequence[HeldPrefix]) -> list[Wanted]:
    """Each type without a schema that would take held files if it were active."""
    drafts = []
    for kind in types:
        if kind.definition is not None:
            continue
        active = replace(kind, status=TypeStatus.ACTIVE)
        others = [active if other is kind else other for other in types]
        taken = [each for each in held if _takes(each.name, active, others)]
        if taken:
            prefixes = tuple(sorted(each.prefix for each in taken))
            drafts.append(Wanted(kind, prefixes, sum(each.files for each in taken)))
    return drafts


def draft_held(drafts: Drafts, each: Wanted, bounds: Bounds, root: str | None = None) -> Draft:
    """A draft from files that are held for the type; its facts say how many were."""
    kind = each.kind
    sources = sources_of(drafts.held_files(each.prefixes, bounds.files))
    sample = gather(sources, keys_of(kind.name, kind.table_name, kind.patterns), bounds, root)
    made = draft_for(kind, sample)
    return replace(made, facts={"held": each.files, **made.facts})


def draft_for(kind: FileType, sample: Sample) -> Draft:
    """A draft that keeps what the type has already: its table and its patterns."""
    patterns: Any = None if kind.patterns == (kind.name,) else kind.patterns
    return draft(sample, kind.name, table_name=kind.table_name.split(".")[-1], patterns=patterns)


def sources_of(files: Sequence[HeldFile]) -> list[Source]:
    """Files as the sampler reads them; their names say what is in them."""
    sources = []
    for file in files:
        name = parse_name(file.name)
        sources.append(Source(file.name, Path(file.path), name.lines, name.codec))
    return sources


def _takes(name: str, kind: FileType, types: Sequence[FileType]) -> bool:
    try:
        data_file = parse_name(name)
    except FileRefused:
        return False
    # The first question is cheap and nearly always answers it.
    return match_type(data_file, [kind]).kind is kind and match_type(data_file, types).kind is kind
