"""The dry run: what would become of files if they were dropped now. Reads, and writes nothing at all.

Files are judged, matched and decoded by the very functions that the daemon uses, and so are deliveries. What only the
daemon knows is not asked: whether a file is still being written, and which keys its table holds (`"dedupe"`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metadata.database.models import SourceFile
from metadata.database.states import FileState
from metadata.errors import FileRefused, UsageError
from metadata.files.digest import digest_of
from metadata.files.folders import name_with_id, name_without_id
from metadata.files.names import DataFileName, is_temporary, safe_name
from metadata.files.suffixes_and_codecs import read_suffixes
from metadata.ledger.deliveries import DeliveryVerdict, decide
from metadata.ledger.ledger import Ledger
from metadata.registry.proposals import inside
from metadata.registry.registry import RegistrySnapshot, type_name_of
from metadata.settings import Settings
from metadata.types.config import ProcessingConfig
from metadata.types.file_type import FileType, TypeStatus, match_type
from processors.decode.decoder import Decoder
from processors.decode.decompress import decompress
from processors.decode.file_rejects import RejectLimits
from processors.decode.results import FileResult
from processors.drafts.sample import Bounds, Source, gather, keys_of, type_keys
from processors.drafts.schema_draft import Draft, draft, propose
from watcher.intake.stillness import Noticed, Sight, Verdict, judge
from watcher.work.held_drafts import draft_for

_SHOWN_NUMBERS = 5


@dataclass(frozen=True)
class Reason:
    """Why records of a file would be rejected: a code and a field, with the first of them."""

    code: str
    field: str | None
    records: int
    record_nos: tuple[int, ...]  #: of the first few
    message: str


@dataclass(frozen=True)
class CheckedKey:
    """A key that the schema has not, and the field that would take it; `field` is None for a key inside a struct."""

    key: str
    records: int
    sample: str
    field: dict[str, Any] | None


@dataclass
class Checked:
    """What would become of one file.

    `verdict`: `loads`; `rejects` (its good records load, the others go to the quarantine); `error` (too many are bad:
    nothing loads); `refused`; `duplicate`; `held` (no active type takes it); `left` (the daemon would not touch it).
    """

    path: str
    name: str
    verdict: str
    file_type: str | None = None
    records: int = 0
    rows: int = 0
    rejected: int = 0
    code: str | None = None
    message: str | None = None
    reasons: list[Reason] = field(default_factory=list)
    unknown: list[CheckedKey] = field(default_factory=list)

    @property
    def is_bad(self) -> bool:
        """Whether anything of it would be rejected or refused."""
        return self.verdict in ("rejects", "error", "refused", "duplicate")


@dataclass
class CheckReport:
    """The files in the order given, and a draft for each type without a schema, by its name."""

    files: list[Checked] = field(default_factory=list)
    drafts: dict[str, Draft] = field(default_factory=dict)


class Checker:
    """Checks files against the registry as it is now."""

    def __init__(self, settings: Settings, ledger: Ledger, snapshot: RegistrySnapshot) -> None:
        self.settings = settings
        self.ledger = ledger
        self.snapshot = snapshot
        self._broken = {broken.file_type for broken in snapshot.broken}
        self._decoders: dict[str, Decoder] = {}
        self._earlier: dict[str, list[SourceFile]] = defaultdict(list)  #: files of a type that were checked before
        self._undescribed: dict[str, list[Path]] = defaultdict(list)

    def check(self, paths: Sequence[Path], file_type: str | None = None) -> CheckReport:
        """Check files, and the data files in folders, with `file_type` whatever they are called.

        Raises UsageError for a path that is not there, and for a type that is not.
        """
        given = None if file_type is None else self._type(file_type)
        report = CheckReport()
        for path in _files(paths):
            report.files.append(self._check(path, given))
        for name, files in self._undescribed.items():
            report.drafts[name] = self._draft(name, files)
        return report

    def _check(self, path: Path, given: FileType | None) -> Checked:
        name = safe_name(path.name)
        checked = Checked(str(path), name, "loads")
        try:
            kind, data_file = self._kind(path, given, checked)
            if checked.verdict == "left":
                return checked
            if kind is None or kind.definition is None:
                if checked.file_type is not None and checked.file_type not in self._broken:
                    self._undescribed[checked.file_type].append(path)
                return checked
            data = self._read(path)
            self._judge_delivery(checked, kind, data_file, data)
            if checked.verdict != "duplicate":
                self._decode(checked, kind, path, data)
        except FileRefused as refused:
            checked.verdict, checked.code, checked.message = "refused", refused.code, refused.message
        return checked

    # -- whose file is it -----------------------------------------------------------------------------------------

    def _kind(
        self, path: Path, given: FileType | None, checked: Checked
    ) -> tuple[FileType | None, DataFileName | None]:
        """The type of a file, None when no type with a schema takes it; says in `checked` what would hold it."""
        try:
            sight = Sight.of(self._name_of(path), path.lstat())
        except OSError as error:
            raise FileRefused(f"it cannot be looked at: {error.strerror}", code="unreadable") from error
        if given is not None:
            sight = replace(sight, name="x_20000101000000.json")  # of the name, only its suffix counts then
        seen = Noticed(sight, 0.0, "scan", sight.modified_at)
        decision = judge(seen, 0.0, closed=True, settle_seconds=0, max_file_bytes=self.settings.max_file_bytes)
        if decision.refusal is not None:
            raise decision.refusal
        if decision.verdict is not Verdict.TAKE or decision.data_file is None:
            checked.verdict, checked.message = "left", "a temporary name: the daemon waits until it is renamed"
            return None, None
        if given is not None:
            checked.file_type = given.name
            self._say_status(checked, given)
            return given, None
        return self._match(decision.data_file, checked), decision.data_file

    def _name_of(self, path: Path) -> str:
        """The name of a file that lies in one of our folders, where a move had put a short id into it."""
        before = name_without_id(path.name)
        if before != path.name and any(
            name_with_id(before, row.id) == path.name for row in self.ledger.files(name=before)
        ):
            return before
        return path.name

    def _match(self, data_file: DataFileName, checked: Checked) -> FileType | None:
        stand_ins = [_stand_in(name) for name in sorted(self._broken)]
        matched = match_type(data_file, [*self.snapshot.types, *stand_ins])
        kind = matched.kind
        if matched.tie:
            checked.verdict = "held"
            checked.message = f"the types {', '.join(matched.tie)} match it equally well; change the patterns of one"
            return None
        if kind is None:
            checked.verdict, checked.file_type = "held", type_name_of(data_file.prefix)
            checked.message = f"no type takes the prefix {data_file.prefix!r}"
            return None
        checked.file_type = kind.name
        if kind.name in self._broken:
            checked.verdict, checked.message = (
                "held",
                "the registry's row of its type is broken",
            )
            return None
        self._say_status(checked, kind)
        return kind

    def _say_status(self, checked: Checked, kind: FileType) -> None:
        if kind.status is not TypeStatus.ACTIVE:
            checked.verdict = "held"
            checked.message = f"its type {kind.name} is {kind.status.value}"

    def _type(self, name: str) -> FileType:
        for kind in self.snapshot.types:
            if kind.name == name:
                return kind
        known = ", ".join(kind.name for kind in self.snapshot.types)
        raise UsageError(f"checking against {name!r}: there is no such type, or its row is broken; known are {known}")

    # -- what is in it --------------------------------------------------------------------------------------------

    def _read(self, path: Path) -> bytes:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                return file.readall()
        except OSError as error:
            raise FileRefused(f"it cannot be read ({error.strerror})", code="unreadable") from error

    def _judge_delivery(self, checked: Checked, kind: FileType, data_file: DataFileName | None, data: bytes) -> None:
        """As Plan would: a delivery that is loaded, or stands twice among the files given, is a duplicate."""
        if data_file is None:
            return
        digest = digest_of(data)
        file = SourceFile(id="", name=checked.name, filename_time=data_file.time, digest=digest, state=FileState.LOADED)
        policy, earlier = kind.config.deliveries, self._earlier[kind.name]
        others = [*self.ledger.rivals(kind.name, [file], policy), *earlier]
        earlier.append(file)
        verdict = decide([file], others, policy)[0].verdict
        if verdict is DeliveryVerdict.REFUSE:
            raise FileRefused("a file of its name is loaded, with other bytes", code="redelivered")
        same = any((other.filename_time, other.digest) == (data_file.time, digest) for other in others)
        if verdict is DeliveryVerdict.DUPLICATE or (verdict is DeliveryVerdict.WAIT and same):
            checked.verdict, checked.code = "duplicate", "duplicate"
            checked.message = "the same delivery (type, time in the name, bytes) is loaded, or stands here twice"

    def _decode(self, checked: Checked, kind: FileType, path: Path, data: bytes) -> None:
        lines, codec = read_suffixes(path.name)
        text = decompress(data, codec, self.settings.max_file_bytes)
        result = self._decoder(kind).decode_many([(path.name, text, lines)]).files[0]
        if result.refused is not None:
            raise result.refused
        checked.records, checked.rows, checked.rejected = result.records, result.rows, result.rejected_count
        checked.reasons = _reasons(result)
        if result.over_limit:
            checked.code = "schema_mismatch"
            checked.message = "more of its records are rejected than its type allows: nothing of it would load"
        if checked.rejected:
            checked.verdict = "error" if result.over_limit else "rejects"
        checked.unknown = [
            CheckedKey(each.key, each.records, each.sample, _proposal(kind, each.key, each.sample))
            for each in result.unknown
        ]

    def _decoder(self, kind: FileType) -> Decoder:
        if kind.name not in self._decoders:
            config = kind.config
            assert kind.definition is not None  # noqa: S101 - only types with a schema come here
            self._decoders[kind.name] = Decoder(
                kind.definition,
                type_keys(kind),
                unknown_fields=config.unknown_fields,
                limits=RejectLimits(config.max_rejected_ratio, config.max_rejected_records),
            )
        return self._decoders[kind.name]

    def _draft(self, name: str, files: Sequence[Path]) -> Draft:
        kind = next((kind for kind in self.snapshot.types if kind.name == name), None)
        keys = keys_of(name, name, [name]) if kind is None else type_keys(kind)
        sample = gather((source_of(path) for path in files), keys, Bounds())
        return draft(sample, name) if kind is None else draft_for(kind, sample)


def _reasons(result: FileResult) -> list[Reason]:
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for each in result.rejected:
        numbers[each.code, each.field or ""].append(each.record_no)
    return [
        Reason(
            each.code,
            each.field or None,
            each.records,
            tuple(numbers[each.code, each.field][:_SHOWN_NUMBERS]) or (each.first_record_no,),
            each.message,
        )
        for each in result.reasons
    ]


def _proposal(kind: FileType, key: str, sample: str) -> dict[str, Any] | None:
    if kind.definition is None or inside(kind.definition, key) is not None:
        return None
    return propose(key, [sample.encode()], [each.name for each in kind.definition.fields])


def _stand_in(name: str) -> FileType:
    """A type whose row is broken: its files are held."""
    return FileType(name, name, (name,), TypeStatus.DISABLED, None, 1, ProcessingConfig())


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            yield from data_files(path)
        elif os.path.lexists(path):
            yield path
        else:
            raise UsageError(f"checking {path}: there is no such file; give the path of a file or a folder")


def data_files(folder: Path) -> Iterator[Path]:
    """The files in a folder and below that have no temporary name, in the order of their names."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"looking into {folder}: {error.strerror}; give another path") from error
    for path in entries:
        if is_temporary(path.name) or path.name.endswith(".error.json"):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from data_files(path)
        else:
            yield path


def source_of(path: Path) -> Source:
    """A file as the sampler reads it."""
    return Source(safe_name(path.name), path, *read_suffixes(path.name))
