"""Compressed data for tests, by the row of a codec."""

from __future__ import annotations

import pyarrow as pa

from metadata.files.suffixes_and_codecs import Codec


def packed(codec: Codec | None, data: bytes) -> bytes:
    """The data as one compressed member; as it is without a codec."""
    if codec is None:
        return data
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec.arrow) as stream:
        stream.write(data)
    return bytes(sink.getvalue())
