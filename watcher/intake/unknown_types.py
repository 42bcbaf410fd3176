"""Files that no active type takes: why they are held, and how many unknown types may be discovered; moves nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from metadata.files.names import DataFileName
from metadata.logs import Event, Severity, alert
from metadata.registry.registry import Registry, type_name_of
from metadata.types.config import ProcessingConfig
from metadata.types.file_type import FileType, Match, TypeStatus, match_type
from watcher.intake.alerts_once import AlertsOnce


class KnownTypes:
    """The registry's snapshot of one call. A broken row stands in as a switched-off type of its own name."""

    def __init__(self, types: Sequence[FileType], broken: Collection[str]) -> None:
        self.broken = frozenset(broken)
        self.discovered: set[str] = set()  #: unknown prefixes that the registry was told of in this call
        self.types = [*types, *(_stand_in(name) for name in sorted(self.broken))]
        self.names = {kind.name for kind in self.types}
        self.inactive = sum(kind.status is TypeStatus.INACTIVE and kind.definition is None for kind in self.types)
        self.fingerprint = tuple(
            (kind.name, kind.patterns, kind.status, kind.definition is None) for kind in self.types
        )  #: equal when every name is matched alike

    def count_discovery(self, prefix: str) -> None:
        """An inactive type was registered for the prefix since the snapshot, or had been before."""
        name = type_name_of(prefix)
        self.inactive += name not in self.names
        self.names.add(name)

    def match(self, data_file: DataFileName) -> Match:
        """The type that a file belongs to, whatever its status."""
        return match_type(data_file, self.types)


class UnknownTypes:
    """Says why a file is held, and tells: of each unknown type once, of a flood of them once while it lasts."""

    def __init__(self, registry: Registry, max_inactive_types: int, alerts: AlertsOnce) -> None:
        self.registry = registry
        self.max_inactive_types = max_inactive_types
        self.alerts = alerts
        self._is_flooded = False  #: at the last scan

    def why_held(self, prefix: str, matched: Match, known: KnownTypes) -> str:
        """The reason in words; each is an alert once. Ask before the file moves, so a crash does not swallow it."""
        kind = matched.kind
        if matched.tie:
            self.alerts.alert_once(
                Event.TYPE_TIED,
                "types_tied",
                prefix=prefix,
                file_types=list(matched.tie),
                cure="give one of them a pattern that is longer, or equal to the prefix",
            )
            return f"the types {', '.join(matched.tie)} match it equally well"
        if kind is not None and kind.name in known.broken:
            return f"the registry's row of its type {kind.name} is broken"  # whoever read the row told of it
        if kind is not None:
            self.alerts.alert_once(
                Event.FILE_HELD,
                f"type_{kind.status.value}",
                file_type=kind.name,
                cure=f"its files wait in held/; to load them: lemonade types activate {kind.name}",
            )
            return f"its type {kind.name} is {kind.status.value}"
        if self.is_one_too_many(prefix, matched, known):
            return self.too_many(prefix)
        self._discover(prefix, known)
        return f"no type matches its prefix {prefix!r}"

    def _discover(self, prefix: str, known: KnownTypes) -> None:
        """The registry is told of an unknown prefix, once a call."""
        if prefix in known.discovered:
            return
        known.discovered.add(prefix)
        self.alerts.alert_once(
            Event.TYPE_DISCOVERED if self.registry.discover(prefix) else Event.FILE_HELD,
            "type_unknown",
            prefix=prefix,
            cure="its files wait in held/, and a schema is drafted from them; see it: lemonade types show "
            f"{type_name_of(prefix)}; take it: lemonade types activate {type_name_of(prefix)}",
        )
        known.count_discovery(prefix)

    def is_one_too_many(self, prefix: str, matched: Match, known: KnownTypes) -> bool:
        """Whether nobody knows the prefix and discovery may not register one more."""
        if matched.kind is not None or matched.tie or type_name_of(prefix) in known.names:
            return False
        return known.inactive >= self.max_inactive_types

    def too_many(self, prefix: str) -> str:
        """Why a file of one too many unknown types is not held."""
        limit = self.max_inactive_types
        return f"no type matches its prefix {prefix!r}, and MAX_INACTIVE_TYPES ({limit}) are registered already"

    def tell_flood(self, prefixes: Sequence[str]) -> None:
        """One alert for all files of unknown types that stay in incoming/, until none does."""
        if prefixes and not self._is_flooded:
            alert(
                Event.TYPE_FLOODED,
                severity=Severity.ERROR,
                code="too_many_types",
                limit=self.max_inactive_types,
                files=len(prefixes),
                prefixes=list(dict.fromkeys(prefixes))[:10],
                cure="see what drops them; describe the types that are meant with `lemonade types add`, delete the "
                "rows of the others from table_metadata, or raise MAX_INACTIVE_TYPES",
            )
        self._is_flooded = bool(prefixes)


def _stand_in(name: str) -> FileType:
    return FileType(
        name=name,
        table_name=name,
        patterns=(name,),
        status=TypeStatus.DISABLED,
        definition=None,
        schema_version=1,
        config=ProcessingConfig(),
    )
