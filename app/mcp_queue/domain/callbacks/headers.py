"""Which names and values HTTP headers may have (RFC 9110, section 5)."""

import re

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 allows more; printable ASCII arrives unchanged everywhere.
_VALUE = re.compile(r"[\t\x20-\x7e]*")


def is_header_name(text: str) -> bool:
    """Return whether ``text`` can be the name of a header."""
    return _NAME.fullmatch(text) is not None


def is_header_value(text: str) -> bool:
    """Return whether ``text`` can be the value of a header."""
    return _VALUE.fullmatch(text) is not None
