"""Compressed bytes → what is in them, up to a limit; never a part of it that passes for the whole."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from metadata.errors import FileRefused
from metadata.files.suffixes_and_codecs import Codec

_PIECE = 4 * 1024 * 1024


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


def first_bytes(file: Any, codec: Codec | None, size: int) -> bytes:
    """The first bytes of what an open file holds, read in pieces: `size` of them, or all that there are.

    `file` is anything with `read`; with a codec it is closed in the end. Raises OSError, also when its compression is
    broken, or cut short, within what is read.
    """
    if codec is not None:
        with pa.CompressedInputStream(file, codec.arrow) as stream:
            return first_bytes(stream, None, size)
    pieces: list[bytes] = []
    while size > 0 and (piece := file.read(min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
