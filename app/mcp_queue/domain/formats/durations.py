"""Parses durations such as ``90``, ``"100ms"``, ``"90s"``, ``"1h30m"`` and ``"7d"``."""

import re
from datetime import timedelta
from math import isfinite

_NUMBER = r"[0-9]{1,12}(\.[0-9]{1,12})?"
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
#: Matches a duration in a schema with ``minLength`` 1: each unit at most once, the longest first.
DURATION_PATTERN = f"^({_NUMBER}|" + "".join(f"({_NUMBER}{unit})?" for unit in _UNITS) + ")$"
_DURATION = re.compile(DURATION_PATTERN[1:-1])
_PART = re.compile(r"([0-9.]+)([a-z]*)")


def parse_duration(value: object) -> timedelta:
    """Parse a number of seconds, also as text, or numbers with the units ``d``, ``h``, ``m``, ``s`` and ``ms``.

    The result is rounded to microseconds.

    Raises:
        ValueError: ``value`` is none of these, negative, or longer than a ``timedelta`` can hold.

    """
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _of_seconds(value)
        if isinstance(value, str) and value and _DURATION.fullmatch(value):
            parts = {_UNITS[unit or "s"]: float(number) for number, unit in _PART.findall(value)}
            return timedelta(**parts)
    except OverflowError as error:
        message = "the duration is too long"
        raise ValueError(message) from error
    message = 'expected a number of seconds, or numbers with the units d, h, m, s, ms, such as "90s" or "1h30m"'
    raise ValueError(message)


def in_seconds(value: timedelta) -> int | float:
    """Return ``value`` in seconds, as an integer where it is one."""
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _of_seconds(value: float) -> timedelta:
    if not isfinite(value) or value < 0:
        message = "expected a number of seconds that is finite and not negative"
        raise ValueError(message)
    return timedelta(seconds=value)
