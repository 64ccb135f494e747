"""Hypothesis strategies that make JSON values, times and tasks."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from mcp_queue.domain.task import JsonValue, Task

#: Text that UTF-8 can hold: everything but lone surrogates.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBERS = st.integers(-(10**308), 10**308) | st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
TIMES = st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))  # noqa: DTZ001  # hypothesis wants them naive
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
COUNTS = st.integers(0, 1_000_000)
_UNKNOWN = st.text("xyz", min_size=1).filter(lambda name: name.startswith("x"))

TASKS = st.builds(
    Task,
    id=NAMES,
    type=NAMES,
    queue=NAMES,
    created_at=TIMES,
    payload=JSON_VALUES,
    priority=st.integers(0, 3),
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=4),
    scheduled_for=st.none() | TIMES,
    expires_at=st.none() | TIMES,
    max_retries=COUNTS,
    retry_count=COUNTS,
    redrive_count=COUNTS,
    visibility_timeout=st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(hours=12)),
    callback_url=st.none() | NAMES,
    group=st.none() | NAMES,
    deduplication_id=st.none() | NAMES,
    extra=st.dictionaries(_UNKNOWN, JSON_VALUES, max_size=2),
    traceparent=st.none() | NAMES,
)
