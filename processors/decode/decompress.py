"""Compressed bytes → what is in them, up to a limit; never a part of it that passes for the whole."""

from __future__ import annotations

from bz2 import BZ2Decompressor
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from metadata.errors import FileRefused
from metadata.files.suffixes_and_codecs import Codec

_PIECE = 4 * 1024 * 1024
_PACKED_PIECE = 64 * 1024  # what is left of it behind a member is copied: many small ones must not be slow


def decompress(data: bytes, codec: Codec | None, limit: int) -> bytes:
    """The bytes inside of `data`, also of several members; without a codec they are given back as they are.

    Raises FileRefused: `unreadable` when they are broken or cut short, `too_large` beyond `limit` bytes.
    """
    content = data
    if codec is not None:
        try:
            content = first_bytes(pa.BufferReader(data), codec, limit + 1)
        except OSError as error:
            raise FileRefused(f"its {codec.name} compression is broken: {error}", code="unreadable") from error
    if len(content) > limit:
        raise FileRefused(f"it holds more than {limit} bytes; raise MAX_FILE_BYTES or split it", code="too_large")
    return content


def text_of(content: bytes) -> bytes:
    """A file's text without a byte-order mark; FileRefused `empty` when nothing is there."""
    text = content.removeprefix(BOM_UTF8)
    if not text or text.isspace():
        raise FileRefused("it is empty", code="empty")
    return text


def first_bytes(file: Any, codec: Codec | None, size: int) -> bytes:
    """The first bytes of what an open file holds, read in pieces: `size` of them, or all that there are.

    `file` is anything with `read`; it may be closed in the end. Raises OSError, also when its compression is broken, or
    cut short, within what is read.
    """
    pieces: list[bytes] = []
    left = size
    for piece in _pieces(file, codec):
        pieces.append(piece)
        left -= len(piece)
        if left <= 0:
            break
    return b"".join(pieces)[:size]


def _pieces(file: Any, codec: Codec | None) -> Iterator[bytes]:
    if codec is None:
        yield from iter(lambda: file.read(_PIECE), b"")
    elif codec.decompressor is None:
        with pa.CompressedInputStream(file, codec.arrow) as stream:
            yield from _pieces(stream, None)
    else:
        yield from _members(file, codec.decompressor)


def _members(file: Any, decompressor: type[BZ2Decompressor]) -> Iterator[bytes]:
    packed = file.read(_PACKED_PIECE)
    while packed:
        member = decompressor()
        yield member.decompress(packed, _PIECE)
        while not member.eof:
            packed = file.read(_PACKED_PIECE) if member.needs_input else b""
            if member.needs_input and not packed:
                raise OSError("it ends within a member")
            yield member.decompress(packed, _PIECE)
        packed = member.unused_data or file.read(_PACKED_PIECE)
