"""JSON without what systems read differently."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_queue.domain.errors import MalformedJsonError
from mcp_queue.domain.formats.strict_json import MAX_DEPTH, MAX_VALUES, check_size, dumps, loads
from mcp_queue.domain.task import JsonValue
from tests.support.strategies import JSON_VALUES, NUMBERS


@given(JSON_VALUES)
def test_any_value_is_read_back(value: JsonValue) -> None:
    """What is written is read as it was, from text and from bytes."""
    written = dumps(value)
    assert value == loads(written)
    assert value == loads(written.encode())


@given(JSON_VALUES)
def test_any_value_is_written_in_ascii(value: JsonValue) -> None:
    """No backend and no client has to know a charset."""
    assert dumps(value).isascii()


@given(JSON_VALUES)
def test_other_writers_are_read(value: JsonValue) -> None:
    """Spaces, line ends and characters beyond ASCII are JSON too."""
    assert value == loads(json.dumps(value, ensure_ascii=False, indent=1).encode())


@given(st.binary() | st.text())
@example(b"\xef\xbb\xbf{}")
@example(b"\xff")
@example("")
@example("\ud800")
def test_nothing_but_json_is_read_and_nothing_else_is_raised(text: bytes | str) -> None:
    """Whatever comes, it is read as the standard library reads it or refused by the one error."""
    try:
        value = loads(text)
    except MalformedJsonError:
        return
    assert value == json.loads(text)


@given(st.text('[]{}",:\\ud8cef0123456789.-+tn \n', max_size=60))
def test_near_misses_are_refused_by_the_one_error(text: str) -> None:
    """Texts that look like JSON end in a value or in the error."""
    try:
        loads(text)
    except MalformedJsonError:
        return
    json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('[{"b": {"a": 1, "\\u0061": 2}}]', "'a' stands twice"),
        ("NaN", "NaN is not JSON"),
        ("[Infinity]", "Infinity is not JSON"),
        ("-Infinity", "-Infinity is not JSON"),
        ("1e309", "beyond a double"),
        ("-1e309", "beyond a double"),
        ("1e-400", "too small for a double"),
        ("[-0.001e-9999]", "too small for a double"),
        ("1" + "0" * 309, "beyond a double"),
        ("-" + "9" * 5000, "beyond a double"),
        ("9" * 299 + "e99", "beyond a double"),
        ("9" * 250 + "." + "9" * 100 + "e99", "beyond a double"),
        ("1" + "0" * 300 + "." + "0" * 100_000 + "e10", "beyond a double"),
        ('"\\ud800"', "lone surrogate"),
        ('{"\\udc00": 1}', "lone surrogate"),
        ('"\\ude00\\ud83d"', "lone surrogate"),
        ('"\ud800"', "lone surrogate"),
        ("", "Expecting value at character 0"),
        ("{'a': 1}", "Expecting property name"),
        ("[1,]", "at character"),
        ("01", "Extra data"),
        ("\ufeff{}", "Expecting value"),
        ("1 2", "Extra data at character 2"),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_systems_read_differently_is_refused(text: str, message: str) -> None:
    """The error says what is wrong, and where."""
    with pytest.raises(MalformedJsonError, match=message):
        loads(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\\\ud800"', "\\ud800"),
        ("1e308", 1e308),
        ("1" + "0" * 308, 10**308),
        ("-0.00e-999", -0.0),
        ("-0.0", -0.0),
        ('{"a": 1, "A": 2}', {"a": 1, "A": 2}),
        (' \t\r\n[{"a": {}}, {"a": []}] \n', [{"a": {}}, {"a": []}]),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_only_looks_odd_is_read(text: str, expected: JsonValue) -> None:
    """Pairs of surrogates, the greatest numbers and zeros of any spelling are JSON."""
    assert expected == loads(text)


@pytest.mark.parametrize("text", ["-0", "-0.0", "-0e5"])
def test_a_negative_zero_keeps_its_sign(text: str) -> None:
    """A double tells the two zeros apart, an integer of Python does not."""
    assert dumps(loads(text)) == "-0.0"


@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_nesting_has_a_limit(brackets: tuple[str, str]) -> None:
    """100 levels are read, 101 are not; nor are 100,000."""
    opening, closing = brackets
    loads(opening * MAX_DEPTH + "1" + closing * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(MalformedJsonError, match="nested over 100 levels"):
            loads(opening * depth + "1" + closing * depth)


def test_broad_documents_are_not_deep() -> None:
    """Many brackets side by side are no nesting."""
    broad: JsonValue = [[[]] for _ in range(1000)]
    assert broad == loads(dumps(broad))


@given(st.lists(NUMBERS))
def test_numbers_keep_their_value(numbers: list[int | float]) -> None:
    """Integers stay integers of any length, and floats are exact."""
    read = loads(dumps(numbers))
    assert [(type(number), number) for number in numbers] == [(type(number), number) for number in read]  # type: ignore[union-attr]  # a list


@pytest.mark.parametrize(
    "text", [b"1234567890123456789." * 50_000, b'"' + b"12345678901234567890." * 50_000 + b'"', b"9" * 1_000_000]
)
def test_digits_without_end_take_no_time(text: bytes) -> None:
    """A megabyte made to confuse a scanner for numbers ends like any other, within the time of a test."""
    try:
        loads(text)
    except MalformedJsonError:
        return


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: float("-inf")}])
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    """Nothing is written that could not be read."""
    with pytest.raises((ValueError, TypeError)):
        dumps(value)


@pytest.mark.parametrize(
    "document",
    [
        "[" + ",".join(["1"] * (MAX_VALUES - 1)) + "]",
        "[" + ",".join(["{}"] * ((MAX_VALUES - 1) // 2)) + "]",
        '["' + "a, [b] {c}," * MAX_VALUES + '"]',
        '{"a\\",b": "' + "\\\\,\\n,{" * MAX_VALUES + '"}',
        "[" + ",".join(['"a, b, c"'] * (MAX_VALUES // 2)) + "]",
    ],
    ids=["numbers", "objects", "prose", "escapes", "strings"],
)
def test_as_many_values_as_may_be_are_read(document: str) -> None:
    """Commas and brackets within strings do not count."""
    assert json.loads(document) == loads(document)


@pytest.mark.parametrize(
    "document",
    [
        "[" + ",".join(["1"] * (MAX_VALUES + 1)) + "]",
        "[" + ",".join(["{}"] * MAX_VALUES) + "]",
        '{"' + '":1,"'.join(map(str, range(1_000_000))) + '":1}',
        "[" * 1_000_000,
        ",," * 1_000_000,
        '["' + '","' * 1_000_000 + '"]',
    ],
    ids=["numbers", "objects", "a million keys", "depth", "commas", "strings"],
)
def test_too_many_values_are_refused_before_they_are_parsed(document: str) -> None:
    """Parsed, they would take many times their length in memory, and seconds in which nobody is served."""
    with pytest.raises(MalformedJsonError, match="more than 250000 values"):
        loads(document.encode())
    with pytest.raises(MalformedJsonError, match="more than 250000 values"):
        check_size(["[]", document])


def test_documents_are_counted_together_and_one_by_one() -> None:
    """None hides what is in the others behind a quote that it does not close."""
    with pytest.raises(MalformedJsonError, match="more than 250000 values"):
        check_size(['"', *["[" + ",".join(["{}"] * 1000) + "]"] * 200])


def test_unfinished_string_ends_the_counting() -> None:
    """It is the parser's to complain about."""
    with pytest.raises(MalformedJsonError, match="Unterminated string"):
        loads('["' + "," * MAX_VALUES)
