"""A digest that stops: files of strangers may grow without end."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from metadata.files.digest import digest_up_to


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_the_digest_and_size_of_what_is_there(tmp_path: Path, size: int) -> None:
    """Of all bytes, when there are no more than may be."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * size)
    with path.open("rb", buffering=0) as stream:
        assert digest_up_to(stream, size) == (sha256(b"x" * size).hexdigest(), size)


def test_it_stops_when_there_is_too_much(tmp_path: Path) -> None:
    """The size says so; what is behind it is not read."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * (3 << 20))
    with path.open("rb", buffering=0) as stream:
        _, size = digest_up_to(stream, 10)
        assert 10 < size < 3 << 20
