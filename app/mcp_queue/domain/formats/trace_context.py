"""Reads the traceparent of W3C Trace Context (section 3.2)."""

import re

# Version ff and ids of zeros only are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def trace_id_of(traceparent: str) -> str | None:
    """Return the trace id of ``traceparent``, ``None`` where it is not valid."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return None if match is None else match[1]
