from pathlib import Path

from metadata.files.cut_off_moves import find_moved
from metadata.files.digest import digest_of, holds
from metadata.files.folders import move

NAME, FILE_ID = "a_20260115120000.json", "0190a5d2-0000-7000-8000-0000000000ab"


def test_a_file_is_found_where_move_has_put_it(tmp_path: Path) -> None:
    """In any of the folders, under its own name or under the one with its id; another delivery's name is passed by."""
    other, end = tmp_path / "other", tmp_path / "end"
    digest = digest_of(b"{}")

    def find() -> Path | None:
        return find_moved([other, end], NAME, FILE_ID, lambda path: holds(path, digest))

    assert find() is None
    end.mkdir()
    (end / NAME).write_bytes(b"[]")
    assert find() is None
    (tmp_path / "dropped").write_bytes(b"{}")
    moved = move(tmp_path / "dropped", end, NAME, FILE_ID)
    assert moved != end / NAME
    assert find() == moved
