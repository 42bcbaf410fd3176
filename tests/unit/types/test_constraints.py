from __future__ import annotations

import json
from typing import Any

import pytest
from decoded import WholeFile, decode_file
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metadata.errors import ConfigurationError
from metadata.types.constraints import Constraint
from metadata.types.definition import Field
from metadata.types.parse_definition import parse_definition


def read(values: list[str], **field: Any) -> WholeFile:
    """A file of records with these JSON texts as their x."""
    definition = parse_definition({"fields": [{"name": "x", **field}]})
    records = ",".join('{"x":%s}' % value for value in values)  # noqa: UP031 # braces are the text's
    return decode_file(definition, f"[{records}]".encode())


def faults_of(**field: Any) -> list[str]:
    """Why a definition with this field x is refused."""
    with pytest.raises(ConfigurationError) as caught:
        parse_definition({"fields": [{"name": "x", **field}]})
    return caught.value.faults


@pytest.mark.parametrize(
    ("field", "good", "bad", "reason"),
    [
        ({"type": "int", "min": 0}, "0", "-1", "-1 is less than its min 0"),
        ({"type": "long", "max": 2**60}, str(2**60), str(2**60 + 1), f"{2**60 + 1} is more than its max {2**60}"),
        ({"type": "double", "min": -90, "max": 90}, "90", "90.5", "90.5 is more than its max 90"),
        ({"type": "float", "min": 0.1}, "0.1", "0.09", "is less than its min 0.1"),
        ({"type": "decimal(6,2)", "max": "99.5"}, '"99.50"', "99.51", '"99.51" is more than its max'),
        ({"type": "date", "min": "2026-01-01"}, '"2026-01-01"', '"2025-12-31"', '"2025-12-31" is less than its min'),
        ({"type": "time", "max": "12:00:00"}, '"12:00:00"', '"12:00:00.5"', '"12:00:00.500000" is more than its max'),
        (
            {"type": "timestamp", "min": "2026-01-01T00:00:00Z"},
            '"2026-01-01T01:00:00+01:00"',
            '"2026-01-01T00:59:59+01:00"',
            '"2025-12-31T23:59:59+00:00" is less than its min',
        ),
        ({"type": "timestamp", "format": "epoch_ms", "max": 1000}, "1000", "1000.5", "is more than its max 1000"),
        ({"type": "string", "enum": ["a", "b"]}, '"b"', '"c"', '"c" is none of its enum: "a", "b"'),
        ({"type": "string", "coerce": True, "enum": ["1", "2"]}, "1", "3", '"3" is none of its enum: "1", "2"'),
        ({"type": "int", "enum": [1, 2]}, "2", "3", "3 is none of its enum: 1, 2"),
        ({"type": "double", "enum": [0, 1.5]}, "-0.0", "1", "1.0 is none of its enum: 0, 1.5"),
        ({"type": "double", "enum": [-0.0, 1.5]}, "0", "1", "1.0 is none of its enum: -0.0, 1.5"),
        ({"type": "decimal(4,2)", "enum": ["1.5", 2]}, "1.50", "1.51", '"1.51" is none of its enum'),
        ({"type": "date", "enum": ["2026-01-01"]}, '"2026-01-01"', '"2026-01-02"', '"2026-01-02" is none of its enum'),
        ({"type": "string", "pattern": r"^V\d+$"}, '"V12"', '"xV12"', '"xV12" does not match its pattern'),
        ({"type": "string", "pattern": "b"}, '"abc"', '""', '"" does not match its pattern "b"'),
        (
            {"type": "string", "max_length": 3},
            '"äöü"',
            '"abcd"',
            '"abcd" has more characters (4) than its max_length 3',
        ),
        ({"type": "int", "coerce": True, "max": 5}, '"5"', '"6"', "6 is more than its max 5"),
    ],
)
def test_value_beyond_its_constraint_is_rejected(field: dict[str, Any], good: str, bad: str, reason: str) -> None:
    """The reason names the constraint and the value; a null breaks none; a default has to hold it too."""
    decoded = read([good, bad, "null", good, bad], **field)
    assert [(one.record_no, one.code, one.field) for one in decoded.rejected] == [
        (2, "constraint_failed", "x"),
        (5, "constraint_failed", "x"),
    ]
    assert reason in decoded.rejected[0].message
    assert decoded.columns[0].null_count == 1
    parse_definition({"fields": [{"name": "x", **field, "default": json.loads(good)}]})
    assert "its default breaks its own constraint" in faults_of(**field, default=json.loads(bad))[0]


def test_long_value_is_cut_short_in_the_reason() -> None:
    """A megabyte of text does not come back in a message."""
    [rejected] = read([json.dumps("a" * 10**6)], type="string", max_length=10).rejected
    assert len(rejected.message) < 200


def test_number_beyond_its_bits_stays_out_of_range() -> None:
    """What the type cannot hold is told as that, whatever its bounds are."""
    decoded = read([str(-(2**40)), str(2**70), "-1"], type="int", min=0, max=10)
    assert [one.code for one in decoded.rejected] == ["out_of_range", "out_of_range", "constraint_failed"]


def test_each_constraint_of_a_field_counts() -> None:
    """Several constraints are all held."""
    decoded = read(['"abc"', '"ab"', '"abcd"', '"xbc"'], type="string", pattern="^a", max_length=3, enum=["abc", "xbc"])
    assert [one.record_no for one in decoded.rejected] == [2, 3, 4]


def test_text_that_is_too_long_is_not_searched() -> None:
    """An expression that goes back and forth meets no text that it could take hours over."""
    decoded = read([json.dumps("a" * 5000 + "b"), '"aaa"', '"ab"'], type="string", pattern="^(a+)+$", max_length=10)
    assert [one.record_no for one in decoded.rejected] == [1, 3]
    assert "its max_length 10" in decoded.rejected[0].message


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"type": "boolean", "enum": [True]}, '"enum" is for strings, numbers, dates and times, this field is boolean'),
        ({"type": "json", "min": 1}, '"min" is for numbers, dates and times, this field is json'),
        ({"type": "string", "max": "b"}, '"max" is for numbers'),
        ({"type": "int", "pattern": "a"}, '"pattern" is for strings, this field is int'),
        ({"type": "uuid", "max_length": 3}, '"max_length" is for strings'),
        ({"type": {"type": "list", "element": "int"}, "min": 1}, "this field is a list"),
        ({"type": "int", "min": "1"}, '"min" "1" must be a whole number of 32 bits'),
        ({"type": "int", "min": 2**31}, "must be a whole number of 32 bits"),
        ({"type": "int", "coerce": True, "min": "1"}, "must be a whole number of 32 bits"),
        ({"type": "double", "max": True}, '"max" True must be a number'),
        ({"type": "double", "max": 10**400}, "must be a number that a double can hold"),
        ({"type": "date", "min": "soon"}, '"min" "soon" is no date'),
        ({"type": "decimal(4,2)", "max": 100}, "does not fit in decimal(4,2)"),
        ({"type": "timestamp", "format": "epoch_s", "min": "2026-01-01T00:00:00Z"}, "must be a number"),
        ({"type": "int", "min": 2, "max": 1}, '"min" 2 is more than "max" 1'),
        ({"type": "date", "min": "2026-02-01", "max": "2026-01-31"}, "no value could pass"),
        ({"type": "string", "enum": []}, '"enum" must be a list of at least one value'),
        ({"type": "string", "enum": "a"}, '"enum" must be a list of at least one value'),
        ({"type": "string", "enum": ["a", 1]}, '"enum" holds 1, which must be text'),
        ({"type": "string", "enum": [None]}, '"enum" holds null'),
        ({"type": "string", "pattern": "("}, '"pattern" "(" is no regular expression'),
        ({"type": "string", "pattern": 5}, '"pattern" must be a regular expression, not 5'),
        ({"type": "string", "pattern": "a{99999999999}"}, "is no regular expression"),
        ({"type": "string", "max_length": 0}, '"max_length" must be a whole number from 1'),
        ({"type": "string", "max_length": True}, '"max_length" must be a whole number from 1'),
    ],
)
def test_constraint_that_makes_no_sense_is_a_fault(field: dict[str, Any], expected: str) -> None:
    """It is said when the type is registered, with the field's name."""
    [fault] = faults_of(**field)
    assert fault.startswith('field "x": ')
    assert expected in fault


def test_all_faults_of_constraints_are_said_at_once() -> None:
    """Nobody mends them one error message at a time; null stands for none."""
    assert len(faults_of(type="int", enum=["a"], min="b", max="c", pattern="d", max_length=1)) == 5
    parse_definition({"fields": [{"name": "x", "type": "int", **dict.fromkeys(Constraint)}]})


def test_bounds_are_compared_as_values() -> None:
    """As text the first of each would be the larger one."""
    for field in (
        {"type": "timestamp", "min": "2026-01-01T01:00:00+01:00", "max": "2026-01-01T00:30:00Z"},
        {"type": "decimal(4,2)", "min": "9", "max": "10"},
    ):
        parse_definition({"fields": [{"name": "x", **field}]})


def test_every_constraint_is_a_key_of_a_field() -> None:
    """The words are the same in the definition and in the messages."""
    assert set(Constraint) <= set(Field.model_fields)


# -- numbers as text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "texts", "expected"),
    [
        ("int", ['"12"', "13", '"-0"'], [12, 13, 0]),
        ("long", ['"9223372036854775807"'], [2**63 - 1]),
        ("float", ['"1.5"', "2"], [1.5, 2.0]),
        ("double", ['"12.5"', '"1e3"', '"-0.0"', "7"], [12.5, 1000.0, -0.0, 7.0]),
        ("boolean", ['"true"', "false", '"false"'], [True, False, False]),
    ],
)
def test_coerced_number_takes_its_text(type_: str, texts: list[str], expected: list[Any]) -> None:
    """A text is read as if its quotes were not there; numbers are read as ever."""
    decoded = read([*texts, "null"], type=type_, coerce=True)
    assert decoded.rejected == []
    assert decoded.columns[0].to_pylist() == [*expected, None]


@pytest.mark.parametrize(
    ("type_", "text", "code"),
    [
        ("int", "", "wrong_type"),
        ("int", " 12", "wrong_type"),
        ("int", "1,2", "wrong_type"),
        ("int", "1.0", "wrong_type"),
        ("int", "1e3", "wrong_type"),
        ("int", "+1", "wrong_type"),
        ("int", "0x1", "wrong_type"),
        ("int", "01", "wrong_type"),
        ("int", "1_000", "wrong_type"),
        ("int", "١", "wrong_type"),
        ("int", "2147483648", "out_of_range"),
        ("long", "9223372036854775808", "out_of_range"),
        ("double", "NaN", "wrong_type"),
        ("double", "Infinity", "wrong_type"),
        ("double", "1e400", "out_of_range"),
        ("double", "null", "wrong_type"),
        ("double", "true", "wrong_type"),
        ("float", "1e300", "out_of_range"),
        ("decimal(4,2)", "x", "bad_decimal"),
        ("boolean", "True", "wrong_type"),
        ("boolean", "1", "wrong_type"),
    ],
)
def test_text_that_holds_no_such_number_is_rejected(type_: str, text: str, code: str) -> None:
    """Exactly its record; what JSON would not take without the quotes is not taken with them."""
    decoded = read([json.dumps(text), "null", json.dumps(text)], type=type_, coerce=True)
    assert [(one.record_no, one.code) for one in decoded.rejected] == [(1, code), (3, code)]
    if code == "wrong_type":
        assert json.dumps(text, ensure_ascii=False) in decoded.rejected[0].message


@pytest.mark.parametrize("type_", ["int", "long", "float", "double", "boolean"])
def test_number_without_coerce_refuses_text(type_: str) -> None:
    """Only who asks for it gets text taken for numbers."""
    assert [one.code for one in read(['"1"'], type=type_).rejected] == ["wrong_type"]


# -- properties -------------------------------------------------------------------------------------------------------

TYPES = ["boolean", "int", "long", "float", "double", "decimal(6,2)", "date", "time", "timestamp", "string", "json"]
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["1", "1.5", "2026-01-15", "12:00:00.1234567", "2026-01-15T12:00:00.9999999Z", "1e400", "12:00"])
)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(TYPES), PLAIN, st.booleans())
def test_default_that_is_accepted_is_one_that_records_can_have(type_: str, default: Any, coerce: bool) -> None:
    """A definition never breaks the decoder that is made of it: what passes as a default passes as a value."""
    field = {"name": "x", "type": type_, "coerce": coerce and type_ in [*TYPES[:6], "string"]}
    try:
        definition = parse_definition({"fields": [{"name": "id", "type": "int"}, {**field, "default": default}]})
    except ConfigurationError:
        accepted = False
    else:
        accepted = True
    try:
        text = json.dumps(default).encode()
    except ValueError:
        assume(False)
    given_it = parse_definition({"fields": [{"name": "id", "type": "int"}, field]})
    explicit = decode_file(given_it, b'[{"id":1,"x":%s}]' % text)
    if accepted:
        implied = decode_file(definition, b'[{"id":1}]')
        assert implied.rejected == explicit.rejected == []
        if type_ not in ("string", "json"):
            assert implied.columns == explicit.columns
    elif type_ != "decimal(6,2)":
        assert explicit.rejected


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["int", "double", "float", "decimal(6,2)"]),
    st.integers(-3, 3) | st.floats(-3, 3).map(lambda number: round(number, 2)),
    st.sampled_from(["min", "max", "enum"]),
    st.integers(-3, 3) | st.floats(-3, 3).map(lambda number: round(number, 2)),
)
def test_column_and_single_value_agree_on_constraints(type_: str, bound: Any, constraint: str, value: Any) -> None:
    """A default is accepted exactly when a record with that value is."""
    field = {"type": type_, constraint: [bound] if constraint == "enum" else bound}
    try:
        parse_definition({"fields": [{"name": "x", **field}]})
        parse_definition({"fields": [{"name": "x", "type": type_, "default": value}]})
    except ConfigurationError:
        return
    try:
        parse_definition({"fields": [{"name": "x", **field, "default": value}]})
        accepted = True
    except ConfigurationError:
        accepted = False
    assert accepted == (not read([json.dumps(value)], **field).rejected)
