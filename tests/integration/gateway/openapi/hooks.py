"""What schemathesis has to be told. It imports this module by name."""

import gc
import json
from typing import Any

import schemathesis

# A collection while Python builds a syntax tree can end in a SystemError (CPython issue 106905), and hypothesis builds
# many. What is not collected fits into memory for the minute that a run takes.
gc.disable()


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: Any, value: Any) -> bytes:
    """Write one JSON document a line, or a text as it is."""
    if isinstance(value, list):
        return b"".join(json.dumps(item).encode() + b"\n" for item in value)
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
