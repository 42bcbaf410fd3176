from __future__ import annotations

import json
import time
from importlib import metadata, util
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed import packed

from metadata.errors import ConfigurationError, FileRefused
from metadata.files.suffixes_and_codecs import CODECS, Codec, read_suffixes
from metadata.types.file_type import FileType, TypeStatus
from metadata.types.parse_definition import parse_definition
from metadata.types.parse_file import parse_type
from processors.decode.decoder import Decoder
from processors.drafts.record_places import find_records
from processors.drafts.sample import Bounds, Sample, Source, gather, type_keys
from processors.drafts.schema_draft import MAX_FIELDS, MIN_RECORDS, SURE_RECORDS, Draft, as_json, draft, propose

UUID_TEXT = "12345678-1234-5678-1234-567812345678"
JANUARY = 1_768_478_400
KEYS = ("things",)


def drafted(*records: Any) -> Draft:
    """The draft of a type from these records."""
    return draft(Sample(records=[json.dumps(record).encode() for record in records]), "things")


def field_of(*values: Any, name: str = "x") -> dict[str, Any]:
    """The drafted field of a key that held these values, without its name and key."""
    raw = drafted(*({name: value} for value in values)).raw
    assert raw is not None
    field = dict(raw["schema_definition"]["fields"][0])
    return {key: value for key, value in field.items() if key not in ("name", "source", "nullable")}


def type_of(made: Draft) -> FileType:
    """The draft as it would be registered."""
    assert made.raw is not None, made.facts
    return parse_type(made.raw, TypeStatus.ACTIVE, 1, "drafting")


def loaded(made: Draft, data: bytes, lines: bool = False) -> int:
    """How many records of a file load with the draft: all that are in it."""
    kind = type_of(made)
    assert kind.definition is not None
    result = Decoder(kind.definition, type_keys(kind)).decode_many([("f", data, lines)]).files[0]
    assert result.refused is None, result.refused
    assert not result.rejected, [each.message for each in result.rejected[:3]]
    return result.rows


POINT = {"type": "struct", "fields": [{"name": "lat", "type": "double"}, {"name": "lon", "type": "double"}]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False], {"type": "boolean"}),
        ([1, 2, 3], {"type": "long"}),
        ([1, 2.5], {"type": "double"}),
        ([2**63], {"type": "decimal(38,0)"}),
        ([10**40], {"type": "json"}),
        ([2**53 + 1, 0.5], {"type": "json"}),
        (["a", ""], {"type": "string"}),
        (["1", "2"], {"type": "string"}),
        (["2026-01-15T12:00:00Z", "2026-01-15T12:00:00.25+01:00"], {"type": "timestamp"}),
        (["2026-01-15T12:00:00Z", ""], {"type": "string"}),
        (["2026-02-30T12:00:00Z"], {"type": "string"}),
        (["2026-01-15"], {"type": "date"}),
        (["2026-02-30"], {"type": "string"}),
        (["12:00:00", "13:30:00.5"], {"type": "time"}),
        ([UUID_TEXT, UUID_TEXT.upper()], {"type": "uuid"}),
        (["12.50", "0.99", "-3.00"], {"type": "decimal(38,2)"}),
        (["12.50", "0.9", "-3.00"], {"type": "string"}),
        (["12.50", "0.99"], {"type": "string"}),
        (["a", 1, True], {"type": "string", "coerce": True}),
        ([1, True], {"type": "json"}),
        (["a", [1]], {"type": "json"}),
        ([None, None], {"type": "json"}),
        ([[], []], {"type": "json"}),
        ([{}], {"type": "json"}),
        ([[1, None], [2.5]], {"type": "list", "element": "double"}),
        ([["a", 1]], {"type": "json"}),
        ([{"lat": 1, "lon": 2.5}, {"lat": 1.5, "lon": 2}], POINT),
        ([[{"lat": 1.5, "lon": 2.5}], None], {"type": "list", "element": POINT}),
        ([{"EUR": 1.5, "US dollar": 2}], {"type": "map", "key": "string", "value": "double"}),
        ([{"EUR": 1.5, "US dollar": "x"}], {"type": "json"}),
        ([{"a": 1, "A": 2}], {"type": "map", "key": "string", "value": "long"}),
    ],
)
def test_type_of_values(values: list[Any], expected: dict[str, Any]) -> None:
    """What stood at one key of all records says the field's type; where values disagree it is json."""
    found = field_of(*values)
    wanted = expected if expected["type"] not in ("list", "map", "struct") else {"type": expected}
    assert found == wanted


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("created_at", [JANUARY, JANUARY + 0.5], {"type": "timestamp", "format": "epoch_s"}),
        ("eventTime", [JANUARY * 1000], {"type": "timestamp", "format": "epoch_ms"}),
        ("ts", [None, JANUARY], {"type": "timestamp", "format": "epoch_s"}),
        ("ts", [0, JANUARY], {"type": "long"}),  # nought often means never, and is a time all the same
        ("ts", [JANUARY * 10**6], {"type": "long"}),
        ("amount", [JANUARY], {"type": "long"}),
        ("timeout", [JANUARY], {"type": "long"}),
        ("duration_time", [JANUARY], {"type": "long"}),
        ("duration", ["01:30:00"], {"type": "string"}),
        ("version", ["3.11", "3.12", "3.13"], {"type": "string"}),
    ],
)
def test_name_decides_where_values_do_not(name: str, values: list[Any], expected: dict[str, Any]) -> None:
    """A number is a time only where it may be one and is called like one; spans and versions are none."""
    assert field_of(*values, name=name) == expected


def test_values_of_data_like_keys_are_a_map() -> None:
    """An object that has other keys in each record is a map; a struct would grow without end."""
    records = [{"by_day": {f"d{10 * number + each}": each for each in range(3)}} for number in range(30)]
    assert field_of(*(record["by_day"] for record in records)) == {
        "type": {"type": "map", "key": "string", "value": "long"}
    }


def test_names_are_made_legal_and_different() -> None:
    """Any key becomes a column of its own: taken, colliding and foreign ones get a name and keep their key."""
    keys = [
        "id",
        "Event Time",
        "event.time",
        "event_time",
        "date",
        "_FILE_ID",
        "ID",
        "1st",
        "größe",
        "温度",
        "",
        "field",
    ]
    made = drafted(dict.fromkeys(keys, "x"))
    fields = type_of(made).definition.fields  # type: ignore[union-attr] # type_of gives it one
    assert {field.key: field.name for field in fields} == {
        "id": "id",
        "Event Time": "event_time_2",
        "event.time": "event_time_3",
        "event_time": "event_time",
        "date": "date_",
        "_FILE_ID": "_FILE_ID_",
        "ID": "ID_2",
        "1st": "f_1st",
        "größe": "gro_e",
        "温度": "field_2",
        "": "field_3",
        "field": "field",
    }
    assert loaded(made, json.dumps([dict.fromkeys(keys, "x")]).encode()) == 1


def test_keys_that_no_field_can_read_are_told_of() -> None:
    """A quote, a backslash, a control character or too many letters: the key is left to the unknown fields."""
    made = drafted({"id": 1, 'a"b': 1, "a\\b": 1, "a\nb": 1, "k" * 256: 1})
    assert [field["name"] for field in made.facts["fields"]] == ["id"]
    assert any(note.startswith("4 further keys") for note in made.facts["notes"])
    for key in ('a"b', "a\\b", "a\nb", "\ud800"):
        with pytest.raises(ConfigurationError, match="without quotes"):
            parse_definition({"fields": [{"name": "x", "type": "long", "source": key}]})


@pytest.mark.parametrize(
    ("records", "required"),
    [
        (MIN_RECORDS - 1, []),
        (MIN_RECORDS, ["car_id", "at"]),
        (SURE_RECORDS - 1, ["car_id", "at"]),
        (SURE_RECORDS, ["car_id", "at", "speed"]),
    ],
)
def test_field_is_required_after_enough_records(records: int, required: list[str]) -> None:
    """Only what stood in every one of enough records, and was never null, is required; json never is."""
    always = {"at": "2026-01-15T12:00:00Z", "speed": 2.5, "any": []}
    made = drafted(*({"car_id": number, "maybe_id": number or None, **always} for number in range(records)))
    assert [field["name"] for field in made.facts["fields"] if field["required"]] == required
    last = drafted(*({"id": number} for number in range(records)), {})
    assert not last.facts["fields"][0]["required"]


@pytest.mark.parametrize(
    ("records", "key"),
    [
        ([{"name": "a", "id": 1}, {"name": "b", "id": 2}], ["id"]),
        ([{"order_id": 1, "thing_id": 5}, {"order_id": 2, "thing_id": 6}], ["thing_id"]),
        ([{"id": 1}, {"id": 1}], []),
        ([{"id": 1}, {"id": None}], []),
        ([{"level": 1}, {"level": 2}], []),
        (
            [
                {"car_id": "a", "at": "2026-01-15T12:00:00Z"},
                {"car_id": "a", "at": "2026-01-15T12:00:01Z"},
                {"car_id": "b", "at": "2026-01-15T12:00:01Z"},
            ],
            ["car_id", "at"],
        ),
    ],
)
def test_likely_primary_key(records: list[Any], key: list[str]) -> None:
    """An identifier that is never null and never twice the same, or one with a time; else none."""
    made = drafted(*records)
    assert made.facts["primary_key"] == key
    assert type_of(made).definition.primary_key == tuple(key)  # type: ignore[union-attr] # it has one


def test_facts_say_what_was_seen() -> None:
    """Counts, shares and samples of each field, and what was left out."""
    sample = Sample(records=[b'{"a": 1, "b": null}', b'{"a": 2}', b'{"a": "\xff"}', b"[1]", b'{"a": 2}', b'{"b": "x"}'])
    facts = draft(sample, "things").facts
    assert facts["records"] == 4
    assert facts["unusable"] == {"bad_text": 1, "wrong_type": 1}
    by_name = {field["name"]: field for field in facts["fields"]}
    assert (
        by_name["a"] | {"type": "long", "seen": 3, "nulls": 0, "percent": 75.0, "samples": ["1", "2"]} == by_name["a"]
    )
    assert by_name["b"] | {"type": "string", "seen": 2, "nulls": 1, "percent": 50.0, "samples": ['"x"']} == by_name["b"]
    json.dumps(facts)


def test_record_that_no_schema_can_hold_is_left_out() -> None:
    """What the decoder rejects whatever the schema is counted, and costs the draft nothing else."""
    made = draft(Sample(records=[b'{"id": 1, "at": "2026-01-15"}', b'{"id": 2, "at": "\\ud800"}']), "things")
    assert made.facts["records"] == 1
    assert sum(made.facts["unusable"].values()) == 1
    assert [field["type"] for field in made.facts["fields"]] == ["long", "date"]


@pytest.mark.parametrize(
    ("text", "records", "path"),
    [
        ('[{"a": 1}, {"a": 2}]', 2, ()),
        ('{"things": [{"a": 1}, {"a": 2}], "others": [{"a": 1}]}', 2, ("things",)),
        ('{"count": 2, "rows": [{"a": 1}, {"a": 2}]}', 2, ("rows",)),
        ('{"data": {"count": 2, "items": [{"a": 1}, {"a": 2}]}}', 2, ("data", "items")),
        ('{"id": 7, "rows": [{"a": 1}, {"a": 2}]}', 1, ()),
        ('{"title": "a long text beside a short list of objects", "rows": [{"a": 1}]}', 1, ()),
        ('{"nodes": [{"a": 1}], "links": [{"a": 1}]}', 1, ()),
        ('{"a.b": [{"a": 1}, {"a": 2}]}', 1, ()),
        ('{"a": 1}', 1, ()),
        ('{"values": [1, 2, 3]}', 1, ()),
    ],
)
def test_where_documents_keep_their_records(text: str, records: int, path: tuple[str, ...]) -> None:
    """An array, the type's own key, the one array that the document is there for; else it is one record."""
    found = find_records(text.encode(), False, KEYS)
    assert (len(found.records), found.path) == (records, path)
    sample = Sample(records=found.records, root=".".join(path) or None)
    assert loaded(draft(sample, "things"), text.encode()) == records


def test_root_can_be_chosen() -> None:
    """A person who knows better says where the records are, or that each document is one."""
    text = b'{"id": 7, "rows": [{"a": 1}, {"a": 2}]}'
    assert len(find_records(text, False, KEYS, root="rows").records) == 2
    assert len(find_records(b'{"rows": [{"a": 1}, {"a": 2}]}', False, KEYS, root="").records) == 1
    with pytest.raises(FileRefused, match="no array under"):
        find_records(text, False, KEYS, root="id")


def test_key_of_the_type_inside_of_records_too() -> None:
    """Where records themselves have a key that names the type, the draft says where they are."""
    text = b'{"things": [{"things": 1}, {"things": 2}]}'
    found = find_records(text, False, KEYS)
    assert loaded(draft(Sample(records=found.records, root="things"), "things"), text) == 2


def write(folder: Path, name: str, data: bytes) -> Source:
    """A file, as the sampler is told of it."""
    path = folder / name
    path.write_bytes(data)
    return Source(name, path, *read_suffixes(name))


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_sample_is_bounded_and_spans_files(tmp_path: Path, codec: Codec) -> None:
    """No more files, records and bytes than asked for; files that cannot be read cost only themselves."""
    line = b'{"id": 1, "text": "' + b"x" * 80 + b'"}\n'
    sources = [
        write(tmp_path, "a.json", b"{"),
        write(tmp_path, f"b.jsonl.{codec.suffix}", packed(codec, line * 2) + packed(codec, line * 3)),
        write(tmp_path, f"c.jsonl.{codec.suffix}", packed(codec, line * 9)[:-9]),
        write(tmp_path, "d.json", b"  "),
        write(tmp_path, "e.jsonl", line * 1000),
        write(tmp_path, "f.jsonl", line),
    ]
    gone = Source("g.json", tmp_path / "gone", False, None)
    sample = gather([*sources, gone], KEYS, Bounds(bytes=20_000, records=100))
    assert [(file.name, file.records, file.is_whole, file.code) for file in sample.files] == [
        ("a.json", 0, True, "malformed"),
        (f"b.jsonl.{codec.suffix}", 5, True, None),
        (f"c.jsonl.{codec.suffix}", 0, True, "unreadable"),
        ("d.json", 0, True, "empty"),
        ("e.jsonl", 94, False, None),
        ("f.jsonl", 1, True, None),
        ("g.json", 0, True, "unreadable"),
    ]
    assert (len(sample.records), sample.bytes <= 20_000) == (100, True)
    assert len(gather(sources, KEYS, Bounds(files=2)).files) == 2
    numbered = write(tmp_path, "n.jsonl", b"\n".join(b"%d" % number for number in range(1000)))
    assert gather([numbered], KEYS, Bounds(records=4)).records == [b"0", b"250", b"500", b"750"]
    assert gather([Source("x", tmp_path, False, None)], KEYS, Bounds()).files[0].code == "not_a_regular_file"


@pytest.mark.parametrize("around", ["%s", '{"meta": {"n": 1}, "rows": %s}', '{"data": {"n": [], "rows": %s}}'])
def test_beginning_of_a_large_document_is_enough(tmp_path: Path, around: str) -> None:
    """Of a document beyond the bounds the whole records at its beginning are read."""
    text = around % json.dumps([{"id": number, "name": "größe"} for number in range(1000)], ensure_ascii=False)
    sample = gather([write(tmp_path, "a.json", text.encode())], KEYS, Bounds(bytes=2001))
    assert 55 < len(sample.records) < 70
    assert loaded(draft(sample, "things"), text.encode()) == 1000


def test_hostile_files_end_in_a_draft() -> None:
    """A hundred thousand keys, at the top or below, deep nesting, long names: json and maps, bounded in size."""
    deep: Any = 1
    for _ in range(100):
        deep = [{"a": deep}]
    began = time.monotonic()
    made = drafted(
        {"deep": deep, "wide": {f"k{number}": number for number in range(100_000)}, "long": {"k" * 100_000: 1}},
        {"deep": {"a": {f"b{one}": {f"c{two}": {"d": 1} for two in range(40)} for one in range(40)}}},
        {f"k{number}": number for number in range(100_000)},
        *({"deep": None, "wide": None, "long": None} for _ in range(3)),
    )
    fields = {field["name"]: field for field in made.facts["fields"]}
    assert len(fields) == MAX_FIELDS
    assert (fields["deep"]["type"], fields["wide"]["type"]["type"], fields["long"]["type"]["type"]) == (
        "json",
        "map",
        "map",
    )
    assert len(json.dumps(made.raw)) + len(json.dumps(made.facts)) < 200_000
    assert time.monotonic() - began < 60  # a guard against never, not a measurement


def test_nothing_to_draft_says_why() -> None:
    """Records that are no objects, or have no key, end in no draft and a reason."""
    for records in ([1, "a", None, [1]], [{}], [{'"': 1}]):
        made = drafted(*records)
        assert made.raw is None
        assert made.facts["notes"][0].startswith("no record in them")


def test_draft_is_printed_a_field_a_line() -> None:
    """What a person edits is the same JSON, with each field on a line of its own."""
    made = drafted({"id": 1, "x": {"lat": 1, "lon": 2}})
    assert made.raw is not None
    text = as_json(made.raw)
    assert json.loads(text) == made.raw
    assert sum('{"name": "' in line and line.startswith('      {"name"') for line in text.splitlines()) == 2


def test_field_is_proposed_for_an_unknown_key() -> None:
    """A key that the schema has not gets an optional field, out of its samples."""
    assert propose("Tyre Pressure", [b"2.5", b"2"]) == {
        "name": "tyre_pressure",
        "type": "double",
        "source": "Tyre Pressure",
    }
    assert propose("x", [b'{"cut of']) == {"name": "x", "type": "json"}
    assert propose("Event Time", [b"1"], ["event_time"])["name"] == "event_time_2"
    assert propose("ID", [b"1"], ["id"]) == {"name": "ID_2", "type": "long", "source": "ID"}


_keys = st.sampled_from(["id", "ts", "event_time", "Event Time", "date", "_file_id", "a-b", "1x", "", "ID", "things"])
_texts = st.text(max_size=6) | st.sampled_from(
    (
        *("2026-01-15T12:00:00Z", "2026-01-15T12:00:00.1234567Z", "0001-01-01T00:00:00+14:00"),
        *("9999-12-31T23:59:59-05:00", "2026-01-15", "2026-02-30", "12:00:00", "12.50", "3.1", UUID_TEXT),
    )
)
_numbers = (
    st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([JANUARY, JANUARY * 1000, 0, 2**53 + 1])
)
_values = st.recursive(
    st.none() | st.booleans() | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys | st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
_records = st.lists(st.dictionaries(_keys | st.text(max_size=3), _values, max_size=5), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_records, st.sampled_from(["array", "lines", "root", "own"]))
def test_draft_loads_every_record_that_it_was_drafted_from(records: list[dict[str, Any]], shape: str) -> None:
    """Any JSON objects, in any of the forms in which files hold them: no record is rejected."""
    document: Any = {"array": records, "root": {"items": records}, "own": {"things": records}}.get(shape)
    lines = "\n".join(json.dumps(record) for record in records)
    data = (lines if shape == "lines" else json.dumps(document)).encode()
    found = find_records(data, shape == "lines", KEYS, root="items" if shape == "root" else None)
    made = draft(Sample(records=found.records, root=".".join(found.path) or None), "things")
    if made.raw is None:
        assert not any(key.isprintable() and '"' not in key and "\\" not in key for record in records for key in record)
        return
    assert made.facts["unusable"] == {}
    assert loaded(made, data, shape == "lines") == len(records)


def shipped(distribution: str, ending: str) -> Path:
    """A JSON file that a locked dependency brings along."""
    if util.find_spec(distribution.replace("-", "_")) is None and distribution != "ruff":
        pytest.skip(f"{distribution} is not installed")
    for file in metadata.files(distribution) or []:
        if str(file).endswith(ending):
            return Path(str(file.locate()))
    pytest.skip(f"this release of {distribution} ships no {ending}")


@pytest.mark.parametrize(
    ("distribution", "ending", "root", "records"),
    [
        ("pyspark", "errors/error-conditions.json", None, 1),  # hundreds of keys that are data
        ("setuptools", "config/setuptools.schema.json", None, 1),  # $-keys, deep and recursive nesting
        ("ruff", "cyclonedx.json", "components", 50),  # keys with a dash, lists of structs, mixed shapes
        ("hypothesis", "cyclonedx.json", "dependencies", 2),
    ],
)
def test_json_that_others_wrote(distribution: str, ending: str, root: str | None, records: int) -> None:
    """Files in the dependencies' own packages are drafted and load whole."""
    path = shipped(distribution, ending)
    sample = gather([Source(path.name, path, False, None)], KEYS, Bounds(), root)
    made = draft(sample, "things")
    assert loaded(made, path.read_bytes()) == len(sample.records) >= records
