"""Compressed bytes, by each row of the table of codecs: all of them come back, or the file is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import packed

from metadata.errors import FileRefused
from metadata.files.suffixes_and_codecs import CODECS, Codec
from processors.decode.decompress import decompress

EACH = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
MIB = 1024 * 1024
HUGE = 1024 * MIB
LINES = b"".join(b'{"id":%d}\n' % number for number in range(400_000))  # of more than a piece


def refusal(data: bytes, codec: Codec | None, limit: int = HUGE) -> str:
    """The code with which it is refused."""
    with pytest.raises(FileRefused) as caught:
        decompress(data, codec, limit)
    return caught.value.code


@EACH
def test_compressed_bytes_come_back(codec: Codec) -> None:
    """Also of several members one behind the other, as log shippers make them, of any size."""
    data = LINES
    one, other, none = packed(codec, data), packed(codec, b"more"), packed(codec, b"")
    assert decompress(one, codec, len(data)) == data
    assert decompress(one + other, codec, HUGE) == data + b"more"
    assert decompress(none + other + none + none + one + none, codec, HUGE) == b"more" + data
    assert decompress(none, codec, HUGE) == decompress(b"", codec, HUGE) == b""
    assert decompress(data, None, len(data)) == data


@EACH
@settings(deadline=None, max_examples=25)
@given(members=st.lists(st.binary(max_size=200), min_size=1, max_size=3))
def test_no_cut_goes_unnoticed(codec: Codec, members: list[bytes]) -> None:
    """Cut at any byte that is no end of a member, and with anything behind the last one: half a file is no file."""
    data, ends = b"", set()
    for member in members:
        data += packed(codec, member)
        ends.add(len(data))
    for cut in range(1, len(data)):
        if cut not in ends:
            assert refusal(data[:cut], codec) == "unreadable"
    assert refusal(data + b"rest", codec) == "unreadable"


@EACH
def test_what_is_large_is_not_cut_short_either(codec: Codec) -> None:
    """Also where the end is missing behind pieces that were read well."""
    data = packed(codec, LINES)
    for missing in (1, 9, len(data) // 2):
        assert refusal(data[:-missing], codec) == "unreadable"
    assert refusal(data + data[:-1], codec) == "unreadable"


@EACH
def test_what_is_not_compressed_is_unreadable(codec: Codec) -> None:
    """The name said that it would be; the message names the codec."""
    assert refusal(b"not compressed at all", codec) == "unreadable"
    with pytest.raises(FileRefused, match=f"its {codec.name} compression is broken"):
        decompress(b"[]", codec, HUGE)


@pytest.mark.parametrize("codec", [None, *CODECS], ids=lambda codec: codec.name if codec else "plain")
def test_bomb_is_too_large(codec: Codec | None) -> None:
    """What unpacks to more than the limit is refused, in one member or in many; what just fits is not."""
    data = b" " * MIB
    assert refusal(packed(codec, data * 20), codec, MIB) == "too_large"
    assert refusal(packed(codec, data) * 2, codec, MIB) == "too_large"
    assert decompress(packed(codec, data), codec, MIB) == data


@EACH
def test_files_begin_as_their_row_says(codec: Codec) -> None:
    """So a file with the wrong name is known for what it is."""
    assert packed(codec, b"[]").startswith(codec.magic)
