"""Digests of bytes: SHA-256 as hexadecimal text, as the ledger and receipts keep them."""

from __future__ import annotations

import hashlib
from io import BufferedReader, RawIOBase
from pathlib import Path

_BLOCK_BYTES = 1 << 20


def digest_of(content: bytes) -> str:
    """Of bytes in memory."""
    return hashlib.sha256(content).hexdigest()


def digest_of_stream(stream: BufferedReader) -> str:
    """Of what is left of an open file; it stands at its end afterwards. Raises OSError."""
    return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_up_to(stream: RawIOBase, most_bytes: int) -> tuple[str, int]:
    """Of what is left of an open file, and how many bytes that were.

    Stops once there are more than `most_bytes`, for somebody may write to it without end: then the number says so, and
    the digest is of no use. Raises OSError.
    """
    digest, size = hashlib.sha256(), 0
    while size <= most_bytes and (block := stream.read(_BLOCK_BYTES)):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def digest_of_file(path: Path) -> str:
    """Of a file's bytes. Raises OSError. Follows a link: for files of strangers open it yourself with O_NOFOLLOW."""
    with path.open("rb") as stream:
        return digest_of_stream(stream)


def holds(path: Path, digest: str | None) -> bool:
    """Whether `path` is a file of just these bytes; the name alone may be another delivery's. False when unreadable."""
    try:
        return digest_of_file(path) == digest
    except OSError:
        return False
