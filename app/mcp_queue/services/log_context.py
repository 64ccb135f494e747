"""Fields that every log line of one attempt carries, a handler's own lines included."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_fields: ContextVar[Mapping[str, object]] = ContextVar("log_fields", default=MappingProxyType({}))


@contextmanager
def log_fields(**fields: object) -> Iterator[None]:
    """Add ``fields`` to the log lines of this task and of the tasks and threads that start inside.

    Known names: ``task_id``, ``task_type``, ``queue``, ``attempt``, ``trace_id``.
    """
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def current_log_fields() -> Mapping[str, object]:
    """Return what is bound here."""
    return _fields.get()
