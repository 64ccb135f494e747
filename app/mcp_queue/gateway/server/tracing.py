"""Which trace a request belongs to, by W3C Trace Context."""

import re
from collections.abc import Callable, Mapping

# Version ff and ids of zeros only are invalid (W3C Trace Context, section 3.2).
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the header of that name where it is valid."""
    value = headers.get(b"traceparent")
    return value.decode() if value is not None and _TRACEPARENT.fullmatch(value) else None


def trace_id(headers: Mapping[bytes, bytes], new_trace_id: Callable[[], str]) -> str:
    """Return the id of the caller's trace, or a new one."""
    match = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    return match[1].decode() if match else new_trace_id()
