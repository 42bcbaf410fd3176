"""Digests of bytes: SHA-256 as hexadecimal text, as the ledger and receipts keep them."""

from __future__ import annotations

import hashlib
from io import BufferedReader
from pathlib import Path


def digest_of(content: bytes) -> str:
    """Of bytes in memory."""
    return hashlib.sha256(content).hexdigest()


def digest_of_stream(stream: BufferedReader) -> str:
    """Of what is left of an open file; it stands at its end afterwards. Raises OSError."""
    return hashlib.file_digest(stream, "sha256").hexdigest()


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
