"""Parses JSON strictly by RFC 8259 and I-JSON (RFC 7493): it refuses what Python's parser would accept or change."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar, cast

from mcp_queue.domain.errors import MalformedJsonError, TooManyValuesError
from mcp_queue.domain.task import JsonValue

Parsed = TypeVar("Parsed")

#: Deepest nesting taken. Deeper documents are an attack or an accident.
MAX_DEPTH = 100
#: Most values of one document, without the names of members. Each takes up to 40 times its text in memory, and blocks
#: the event loop for a microsecond.
MAX_VALUES = 250_000

# Only documents with such an escape can hold a lone surrogate; the others skip that check.
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
# A number whose digits before the exponent are not all zeros.
_HAS_VALUE = re.compile(r"-?[0.]*[1-9]")
_SPACE = re.compile(r"[ \t\n\r]*")
# Of what JSON does not escape anyway, SQS refuses two noncharacters; lone surrogates have no UTF-8.
_ODD_CHARACTER = re.compile("[\ud800-\udfff\ufffe\uffff]")
# Integers with more digits may be beyond a double, which ends at 1.8e308.
_SAFE_DIGITS = 300
# Matches up to the start of the next value, other than the first one: after a comma, or in an object or array.
_TO_NEXT_VALUE = re.compile(r'[^"\[{,]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[{,]*+)*+[,\[{]', re.DOTALL)


def loads(text: bytes | str) -> JsonValue:
    """Parse ``text``, UTF-8 if it is bytes.

    Raises:
        TooManyValuesError: it has more than 250,000 values.
        MalformedJsonError: not UTF-8 JSON, nested over 100 levels, NaN, a number too large or too small for a double,
            a lone surrogate, or an object with the same member twice.

    """
    decoded = decode(text) if isinstance(text, bytes) else _encodable(text)
    check_size([decoded])
    value = _parsed(partial(_DECODER.decode, decoded))
    _check_value(value, decoded, (0, len(decoded)), MAX_DEPTH)
    return cast("JsonValue", value)


def array_spans(text: str, position: int, *, depth: int) -> tuple[list[tuple[int, int]], int]:
    """Return where each element of an array stands in ``text``, and where the array ends.

    The array begins before ``position``, and is the ``depth``-th level of its document. Each element is checked as
    ``loads`` does, and let go of: only one at a time is in memory.

    Raises:
        MalformedJsonError: an element is not JSON, or the array does not end.

    """
    spans: list[tuple[int, int]] = []
    position = _after_space(text, position)
    if text.startswith("]", position):
        return spans, position + 1
    while True:
        start = position
        value, end = _parsed(partial(_DECODER.raw_decode, text, start))
        _check_value(value, text, (start, end), MAX_DEPTH - depth)
        del value
        spans.append((start, end))
        position = _after_space(text, end)
        if text.startswith("]", position):
            return spans, position + 1
        if not text.startswith(",", position):
            message = f"Expecting ',' delimiter at character {position}"
            raise MalformedJsonError(message)
        position = _after_space(text, position + 1)


def element_at(text: str, position: int) -> JsonValue:
    """Return the value at ``position``, where ``array_spans`` found one."""
    value, _ = _DECODER.raw_decode(text, position)
    return cast("JsonValue", value)


def check_size(documents: Sequence[str]) -> None:
    """Check that ``documents`` together have few enough values to be parsed.

    Raises:
        TooManyValuesError: they have more than 250,000.

    """
    # A fast upper bound: it also counts characters inside strings.
    if sum(text.count(",") + text.count("{") + text.count("[") for text in documents) < MAX_VALUES:
        return
    values = sum(islice((1 for text in documents for _ in _further_values(text)), MAX_VALUES))
    if values == MAX_VALUES:
        message = f"more than {MAX_VALUES} values"
        raise TooManyValuesError(message)


def dumps(value: object) -> str:
    """Write ``value`` in ASCII, since SQS refuses some Unicode characters.

    Raises:
        ValueError: ``value`` holds NaN or an infinity, or is circular.
        TypeError: ``value`` holds something that JSON has no form for.

    """
    return _ENCODER.encode(value)


def dumps_compactly(value: object) -> str:
    """Write ``value`` in Unicode, with escapes for the characters that SQS refuses.

    CJK text takes half of what ``dumps`` needs for it. Raises what ``dumps`` raises.
    """
    text = _COMPACT_ENCODER.encode(value)
    if text.isascii():
        return text
    if _ODD_CHARACTER.search(text):  # they can only be inside strings, where an escape means the same
        return _ODD_CHARACTER.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text


def decode(text: bytes) -> str:
    """Return ``text`` as UTF-8.

    Raises:
        MalformedJsonError: it is not.

    """
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        message = f"not UTF-8: byte {error.start}"
        raise MalformedJsonError(message) from error


def _parsed(parse: Callable[[], Parsed]) -> Parsed:
    try:
        return parse()
    except RecursionError as error:
        message = f"nested over {MAX_DEPTH} levels"
        raise MalformedJsonError(message) from error
    except json.JSONDecodeError as error:
        message = f"{error.msg} at character {error.pos}"
        raise MalformedJsonError(message) from error


def _check_value(value: object, text: str, span: tuple[int, int], depth: int) -> None:
    """Check what the parser does not about ``value``, which stands in ``text`` at ``span``."""
    if text.count("{", *span) + text.count("[", *span) > depth and _too_deep(value, depth):
        message = f"nested over {MAX_DEPTH} levels"
        raise MalformedJsonError(message)
    if _SURROGATE_ESCAPE.search(text, *span):
        _refuse_lone_surrogates(value)


def _after_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    assert space is not None, "it matches nothing too"
    return space.end()


def _further_values(text: str) -> Iterator[None]:
    """Yield once for each value but the first, up to the first mistake, where a parser would stop too."""
    position = 0
    while match := _TO_NEXT_VALUE.match(text, position):
        position = match.end()
        yield


def _encodable(text: str) -> str:
    if not text.isascii():
        _refuse_lone_surrogates(text)
    return text


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # add() returns None: that is the idiom
        message = f"member {twice[:64]!r} stands twice"
        raise MalformedJsonError(message)
    return members


def _constant(name: str) -> object:
    message = f"{name} is not JSON"
    raise MalformedJsonError(message)


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        message = f"number {text[:32]}… is beyond a double"
        raise MalformedJsonError(message)
    if value == 0 and _HAS_VALUE.match(text):
        message = f"number {text[:32]}… is too small for a double"
        raise MalformedJsonError(message)
    return value


def _int(text: str) -> int | float:
    if len(text) > _SAFE_DIGITS:
        _float(text)
    if text == "-0":
        return -0.0  # an integer would lose the sign
    return int(text)


# Built once: building them takes as long as parsing a short document.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int)
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_COMPACT_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), ensure_ascii=False)


def _too_deep(value: object, most: int) -> bool:
    level = [value]
    for _ in range(most):
        if not level:
            return False
        level = [
            child
            for node in level
            if isinstance(node, list | dict)
            for child in (node if isinstance(node, list) else node.values())
            if isinstance(child, list | dict)
        ]
    return bool(level)


def _refuse_lone_surrogates(value: object) -> None:
    try:
        (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
    except UnicodeEncodeError as error:
        message = "a string holds a lone surrogate"
        raise MalformedJsonError(message) from error
