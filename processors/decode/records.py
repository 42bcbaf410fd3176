"""Raw JSON → the structs of one definition, with the keys that it has not; a record at a time where one pass fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from metadata.reject_codes import RejectCode
from metadata.types.config import UnknownFields
from metadata.types.definition import Definition
from processors.decode.column_faults import bad_text
from processors.decode.document import BROKEN, Content, first_fault
from processors.decode.extra_keys import Extra, Extras, LearnedKeys, UnknownKeys, rescued_json
from processors.decode.file_rejects import Rejects
from processors.decode.msgspec_messages import Reasons
from processors.decode.schema import decoder_type

FIRST_LESSON = 32  # records that went the slow way for an unknown key; the next lesson comes after four times as many
_SAMPLE = 64  # records before, whose unknown keys are counted
_COMMON = 4  # a key that one in so many of them has is common
_LEARNED = 16  # keys at most that are decoded beside the known ones
_STRUCT_KEY = re.compile(r'[^"\\\x00-\x1f]*')  # what msgspec takes as the name of an attribute


@dataclass
class DecodedStructs:
    """The good records of one file."""

    structs: list[Any]
    numbers: Sequence[int]  #: of each in the file, from 1
    rescued: list[str | None] | None  #: a JSON object or None a record; None: there is none in the file
    unknown: UnknownKeys


class RecordReader:
    """Reads the records of one type.

    Unknown keys make the pass over a whole file fail. Those that are common are learned: from then on they are decoded
    beside the known ones, so that a producer's new field does not send each of its files the slow way.
    """

    def __init__(self, definition: Definition, keys: Sequence[str], unknown_fields: UnknownFields) -> None:
        self._definition, self._keys = definition, keys
        self._unknown_fields = unknown_fields
        self._reasons = Reasons(definition)
        self._extras = Extras(definition)
        known = decoder_type(definition)
        self._lenient = msgspec.json.Decoder(known)
        self._rescues, self._next_lesson = 0, FIRST_LESSON
        self._strict_type = known
        if unknown_fields is not UnknownFields.IGNORE:
            self._strict_type = decoder_type(definition, forbid_unknown_fields=True)
        self._use(LearnedKeys())

    def read(self, data: bytes, lines: bool) -> DecodedStructs | None:
        """The records of a file in which all are good, in one pass; None when that cannot be done."""
        unknown = UnknownKeys()
        try:
            if lines:
                decode = self._strict.decode
                structs = [decode(line) for line in _lines(data)]
            else:
                found = self._content.read(data)
                if found is None:
                    return None
                structs = found
            rescued = [self._learned.rescued(struct, unknown) for struct in structs] if self._learned.keys else []
        except BROKEN:
            return None
        return DecodedStructs(structs, range(1, len(structs) + 1), rescued if any(rescued) else None, unknown)

    def split(self, data: bytes, lines: bool) -> Sequence[Any]:
        """A file's records as raw JSON, whatever is wrong inside of them; raises FileRefused."""
        return _lines(data) if lines else self._content.split(data)

    def read_each(self, raws: Sequence[Any], rejects: Rejects) -> DecodedStructs:
        """The good ones of these records; the others go to `rejects`."""
        structs: list[Any] = []
        numbers: list[int] = []
        rescued: list[str | None] = []
        unknown = UnknownKeys()
        for number, raw in enumerate(raws, start=1):
            try:
                try:
                    struct = self._strict.decode(raw)
                    text = self._learned.rescued(struct, unknown) if self._learned.keys else None
                except msgspec.ValidationError:
                    if self._unknown_fields is not UnknownFields.RESCUE:
                        raise
                    struct = self._lenient.decode(raw)
                    text = _json(self._extras.of(raw), unknown)
                    self._learn(raws, number)
            except msgspec.ValidationError as error:
                fault = first_fault(bytes(raw))  # of syntax, behind the value that the decoder refused
                if fault is not None:
                    rejects.add(number, None, RejectCode.BAD_LINE, str(fault), raw)
                    continue
                rejects.add(number, *self._reasons.of(error), raw)
                if self._unknown_fields is UnknownFields.REJECT:
                    self._count(raw, unknown)
            except BROKEN as error:
                fault = first_fault(bytes(raw))
                code = RejectCode.BAD_TEXT if fault is None else RejectCode.BAD_LINE
                rejects.add(number, None, code, bad_text(error) if fault is None else str(fault), raw)
            else:
                structs.append(struct)
                numbers.append(number)
                rescued.append(text)
        return DecodedStructs(structs, numbers, rescued if any(rescued) else None, unknown)

    def _count(self, raw: Any, unknown: UnknownKeys) -> None:
        """The unknown keys of a record that is rejected."""
        try:
            unknown.add(self._extras.of(raw))
        except BROKEN:
            return

    def _learn(self, raws: Sequence[Any], number: int) -> None:
        """Take in the unknown keys that are common among the records up to that number, if it is time to."""
        self._rescues += 1
        if self._rescues < self._next_lesson:
            return
        self._next_lesson *= 4
        sample = raws[max(0, number - _SAMPLE) : number]
        counts = self._extras.own_keys(sample)
        common = [
            key
            for key in sorted(counts.keys() - set(self._learned.keys), key=lambda key: (-counts[key], key))
            if counts[key] * _COMMON >= len(sample) and _STRUCT_KEY.fullmatch(key)
        ]
        new = common[: _LEARNED - len(self._learned.keys)]
        if new:
            self._use(LearnedKeys([*self._learned.keys, *new]))

    def _use(self, learned: LearnedKeys) -> None:
        type_ = learned.type_of(self._strict_type)
        self._learned = learned
        self._strict = msgspec.json.Decoder(type_)
        self._content = Content(self._definition, self._keys, type_)


def _lines(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line and not line.isspace()]


def _json(extras: Sequence[Extra], unknown: UnknownKeys) -> str | None:
    """What is rescued of one record; counts its keys."""
    if not extras:
        return None
    text = rescued_json(extras)
    unknown.add(extras)
    return text
