"""Primary keys that are there already: judged as a plain set of them would be, whatever their types."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from decoded import decode_file
from hypothesis import given
from hypothesis import strategies as st

from metadata.types.definition import Definition
from metadata.types.parse_definition import parse_definition
from processors.decode.decoder import Decoder
from processors.decode.file_rejects import RejectLimits
from processors.decode.known_keys import KnownKeys
from processors.decode.schema import arrow_schema
from processors.load.existing_keys import existing_keys

KEYS = ["a", "b", "a:1", ":", "é", "", None]
PAIRS = st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS))


def definition(**types: str) -> Definition:
    """Fields of these types, all of them the key."""
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    return parse_definition({"fields": fields, "primary_key": list(types)})


TWO = definition(one="string", other="string")


@given(
    files=st.lists(st.lists(PAIRS, max_size=6), max_size=4), there=st.lists(PAIRS, max_size=4), cut=st.integers(0, 4)
)
def test_the_first_stays(
    files: list[list[tuple[str | None, str | None]]], there: list[tuple[str | None, str | None]], cut: int
) -> None:
    """Of equal keys the first in the table, then by file and record, stays; one with a null always; in any groups."""
    keys = KnownKeys(TWO)
    keys.learn(
        pa.table(
            {
                "one": pa.array([one for one, _ in there], pa.large_string()),
                "other": pa.array([other for _, other in there], pa.string()),
                "_source_file": pa.array(["old"] * len(there), pa.string()),
            }
        )
    )
    decoder = Decoder(TWO, ["t"], limits=RejectLimits(1), known=keys)
    found = []
    for group in (files[:cut], files[cut:]):
        texts = [json.dumps([{"one": one, "other": other} for one, other in pairs]).encode() for pairs in group]
        decoded = decoder.decode_many(("f", text, False) for text in texts)
        found += [[each.record_no for each in result.rejected] for result in decoded.files]
        assert sum(batch.rows for batch in decoded.batches) == sum(result.rows for result in decoded.files)
    seen = {pair for pair in there if None not in pair}
    expected = []
    for pairs in files:
        expected.append([number for number, pair in enumerate(pairs, 1) if pair in seen or pair in pairs[: number - 1]])
        expected[-1] = [number for number in expected[-1] if None not in pairs[number - 1]]
        seen |= {pair for pair in pairs if None not in pair}
    assert found == expected


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("long", 7, pa.array([7], pa.int32())),
        ("boolean", True, pa.array([True])),
        ("double", 0.1, pa.array([0.1])),
        ("decimal(9,2)", "1.20", pa.array(["1.20"]).cast(pa.decimal128(11, 2))),
        ("date", "2026-01-15", None),
        ("time", "09:00:00", None),
        ("timestamp", "2026-01-15T14:30:00+05:30", None),
        ("binary", "AAEC/w==", pa.array([b"\x00\x01\x02\xff"], pa.large_binary())),
        ("uuid", "0190b6a2-7f5e-7c3e-9b1a-2f6d3c4b5a69", None),
        ("string", "x", pa.array(["x"], pa.large_string())),
    ],
)
def test_a_key_of_any_type_is_known_as_the_table_has_it(kind: str, value: Any, stored: pa.Array | None) -> None:
    """A record is equal to the row that it became, also where the table's own type is a wider one."""
    made = definition(k=kind)
    if kind == "uuid":
        stored = pa.array([UUID(value).bytes], pa.binary(16))  # as PyIceberg may read it
    columns = decode_file(made, json.dumps([{"k": value}]).encode()).columns
    keys = KnownKeys(made)
    column = columns[0] if stored is None else stored
    keys.learn(pa.table({"k": column, "_source_file": pa.array(["old.json"])}))
    assert keys.look(keys.keys(columns), [1]).there == {0: "old.json"}
    assert arrow_schema(made).field("k").type == columns[0].type


def test_a_file_over_its_limits_has_no_keys() -> None:
    """What it would have loaded is not there for the file behind it; its message tells key and place."""
    made = definition(k="string")
    keys = KnownKeys(made)
    decoder = Decoder(made, ["t"], limits=RejectLimits(0.5), known=keys)
    texts = ['[{"k": "x"}, {"k": "y"}]', '[{"k": "x"}, {"k": "y"}, {"k": "z"}]', '[{"k": "z"}, {"k": "z"}]']
    decoded = decoder.decode_many(
        (name, text.encode(), False) for name, text in zip(("a.json", "b.json", "c.json"), texts, strict=True)
    )
    assert [(result.over_limit, result.rows) for result in decoded.files] == [(False, 2), (True, 0), (False, 1)]
    assert [batch.columns[0].to_pylist() for batch in decoded.batches] == [["x", "y", "z"]]
    first, last = decoded.files[1].reasons[0].message, decoded.files[2].rejected[0]
    assert first == "record 1: its primary key (k 'x') is there already, from a.json"
    assert last.message == "record 2: its primary key (k 'z') is there already, from record 1 of the same file"
    assert (last.code, last.raw) == ("duplicate_key", b'{"k": "z"}')


def test_a_table_without_the_key_has_none() -> None:
    """Before it evolves to a key of new columns, none of its rows has one."""

    class Older:
        def schema(self) -> Any:
            return type("Schema", (), {"column_names": ["other", "_source_file"]})

    io: Any = None
    found = existing_keys(definition(k="string"), Older(), io, [object()])  # type: ignore[arg-type,list-item] # not read
    assert found.look([b"1"], [1]).there == {}
