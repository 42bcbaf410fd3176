"""An installation that an earlier Lemonade left (tests/data/README.md), put in place as if it had always been there."""

from __future__ import annotations

import re
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from pathlib import Path

ARCHIVE = Path(__file__).parent / "data/earlier_installation.tar.gz"
MADE_IN = "data/made_in"
"""The file that holds the folder in which the installation was made."""

_SYNC_BYTES = 16


def put_in_place() -> Path:
    """Unpack it into a folder of its own and return that; every path that tables, ledger and receipts hold is mended.

    The folder's name is as long as the one it was made in, since Avro writes a text's length before the text.
    """
    home = Path(tempfile.mkdtemp(prefix="lemonade_", dir="/tmp"))
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(home, filter="data")
    made_in = (home / MADE_IN).read_text().strip().encode()
    here = str(home).encode()
    assert len(made_in) == len(here)
    for path in home.rglob("*"):
        if path.suffix == ".json":
            path.write_bytes(path.read_bytes().replace(made_in, here))
        elif path.suffix == ".avro":
            path.write_bytes(_avro_with(path.read_bytes(), made_in, here))
        elif path.suffix == ".db":
            _mend_database(path, made_in.decode(), here.decode())
    return home


def remove(home: Path) -> None:
    """Take it away again."""
    shutil.rmtree(home)


def _mend_database(path: Path, old: str, new: str) -> None:
    database = sqlite3.connect(path)
    with database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                if re.match("VARCHAR|TEXT|JSON", kind):
                    database.execute(f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?)', (old, new))
    database.close()


def _avro_with(data: bytes, old: bytes, new: bytes) -> bytes:
    """An Avro object file whose deflated blocks hold `new` for `old`, of the same length."""
    position = data.index(b"deflate")  # the header ends with an empty block and the marker that ends each block
    sync = data[-_SYNC_BYTES:]
    position = data.index(sync, position) + _SYNC_BYTES
    written = bytearray(data[:position])
    while position < len(data):
        objects, position = _number(data, position)
        size, position = _number(data, position)
        block = zlib.decompress(data[position : position + size], wbits=-15)
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(block.replace(old, new)) + packer.flush()
        written += _as_bytes(objects) + _as_bytes(len(packed)) + packed + sync
        position += size + _SYNC_BYTES
    return bytes(written)


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A number as Avro writes it (zigzag, seven bits a byte, the low ones first), and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return (value >> 1) ^ -(value & 1), position


def _as_bytes(number: int) -> bytes:
    value = number << 1  # counts and sizes: never negative
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])
