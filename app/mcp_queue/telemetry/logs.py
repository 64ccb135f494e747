"""Formats log lines as JSON objects, or as text for a terminal. Logged values cannot forge a line."""

import json
import logging
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, TextIO

from opentelemetry import trace

from mcp_queue.services.log_context import current_log_fields

LogFormat = Literal["auto", "json", "text"]

#: Most characters of a message, of a field and of one exception; a chain of exceptions may have eight times as many.
MAX_TEXT = 8 * 1024
_MAX_TRACEBACK = 8 * MAX_TEXT


def configure_logging(level: str, style: LogFormat, stream: TextIO, packages: Sequence[str] = ("mcp_queue",)) -> None:
    """Write the log lines of the whole process to ``stream``, replacing earlier handlers.

    ``level`` applies to ``packages``: the product and the modules of a project's own handlers. Other libraries stay
    at ``info`` or above, since many of them log payloads and credentials at ``debug``.

    Raises:
        ValueError: there is no such level.

    """
    text = style == "text" or (style == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(handler)
    for package in packages:
        logging.getLogger(package).setLevel(level.upper())
    root.setLevel(level.upper())
    root.setLevel(max(root.level, logging.INFO))


class JsonFormatter(logging.Formatter):
    """One ASCII JSON object per line: ``ts``, ``level``, ``logger``, ``message``, then the fields of the context."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. JSON escapes every character that could end it."""
        entry: dict[str, object] = {
            "ts": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _shortened(record.getMessage()),
            **_fields(record),
        }
        exception = _exception(record)
        if exception is not None:
            entry["exception"] = exception
        return json.dumps(entry, default=str, separators=(",", ":"))


class TextFormatter(logging.Formatter):
    """A readable line: the message, the fields, and an indented traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line and the lines of its traceback."""
        fields = "".join(f" {name}={_quoted(str(value))}" for name, value in _fields(record).items())
        line = (
            f"{_moment(record)} {record.levelname.lower():<7} {record.name}: {_shortened(record.getMessage())}{fields}"
        )
        exception = _exception(record) or ""
        # Indented, so that no line of an error's text looks like a log line.
        return "\n".join([_visible(line), *(f"    {_visible(part)}" for part in exception.splitlines())])


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = {**current_log_fields(), **dict(_extra(record))}
    fields = {name: _shortened(value) if isinstance(value, str) else value for name, value in fields.items()}
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        fields["trace_id"] = trace.format_trace_id(span.trace_id)
    return fields


# Attributes of every record; all others came with ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extra(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    return ((name, value) for name, value in vars(record).items() if name not in _STANDARD)


def _exception(record: logging.LogRecord) -> str | None:
    if record.exc_info is None or record.exc_info[1] is None:
        return record.stack_info
    parts = traceback.TracebackException.from_exception(record.exc_info[1]).format()
    return _shortened("".join(map(_shortened, parts)), _MAX_TRACEBACK).rstrip("\n")


def _shortened(text: str, limit: int = MAX_TEXT) -> str:
    """Return the beginning and the end of ``text``: an exception may quote a whole payload."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}… {len(text) - 2 * half} characters …{text[-half:]}"


# Control characters move a terminal's cursor; some others end a line or reverse its direction.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _visible(text: str) -> str:
    return _HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '\\"') + '"' if " " in value or '"' in value else value
