"""Reads the tasks of a batch in slices, so that few of them are in memory at a time."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mcp_queue.domain.errors import FieldError, MalformedJsonError, TaskTooLargeError
from mcp_queue.domain.formats.strict_json import MAX_VALUES, array_spans, check_size, decode, element_at, loads
from mcp_queue.domain.task import JsonValue
from mcp_queue.gateway.server.memory import SLICE_BYTES
from mcp_queue.services.enqueueing.rules import check_batch_size
from mcp_queue.services.enqueueing.submission import Draft
from mcp_queue.services.enqueueing.validation import Location, invalid

Entry = Draft | Exception
ReadTask = Callable[[JsonValue, Location], Entry]
Span = tuple[int, int]

_ARRAY = re.compile(r'[ \t\n\r]*\{[ \t\n\r]*"tasks"[ \t\n\r]*:[ \t\n\r]*\[')
_END = re.compile(r"[ \t\n\r]*\}[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Batch:
    """``count`` tasks, of which ``slices`` reads and returns some at a time."""

    count: int
    slices: Iterator[list[Entry]]


@dataclass(frozen=True, slots=True)
class BatchReader:
    """Reads batches by ``read_task``. A task whose text is longer than ``max_text`` is refused unread."""

    read_task: ReadTask
    max_text: int

    def read_json(self, body: bytes) -> Batch:
        """Read ``{"tasks": […]}``. All of it is checked before the first task is returned.

        Raises:
            MalformedJsonError: it is not JSON.
            InvalidTaskError: it is anything else, or has too few or too many tasks.

        """
        text = decode(body)
        found = _spans(text) if len(body) > SLICE_BYTES else None
        if found is None:
            tasks = _members(loads(text))
            entries = [self.read_task(task, ("body", "tasks", index)) for index, task in enumerate(tasks)]
            return Batch(len(entries), iter((entries,)))
        check_batch_size(len(found))
        return Batch(len(found), self._slices(found, lambda index, span: self._element(text, index, span)))

    def read_lines(self, body: bytes) -> Batch:
        """Read one task a line. A line that is not JSON fails by itself.

        Raises:
            TooManyValuesError: the lines together have too many values.
            InvalidTaskError: there are too few or too many lines.

        """
        end = len(body) - body.endswith(b"\n")
        count = body.count(b"\n", 0, end) + 1 if end else 0
        check_batch_size(count)
        if sum(map(body.count, (b",", b"{", b"["))) >= MAX_VALUES:  # at most: it may be text
            check_size([body[start:stop].decode(errors="replace") for start, stop in _lines(body, end)])
        return Batch(count, self._slices(_lines(body, end), lambda index, span: self._line(body, index, span)))

    def _slices(
        self, spans: Iterator[Span] | Sequence[Span], read: Callable[[int, Span], Entry]
    ) -> Iterator[list[Entry]]:
        entries: list[Entry] = []
        size = 0
        for index, (start, end) in enumerate(spans):
            if entries and size + end - start > SLICE_BYTES:
                yield entries
                entries, size = [], 0
            size += end - start
            too_long = end - start > self.max_text
            entries.append(TaskTooLargeError(self.max_text, end - start) if too_long else read(index, (start, end)))
        yield entries

    def _element(self, text: str, index: int, span: Span) -> Entry:
        return self.read_task(element_at(text, span[0]), ("body", "tasks", index))

    def _line(self, body: bytes, index: int, span: Span) -> Entry:
        try:
            return self.read_task(loads(body[span[0] : span[1]]), ("body", index))
        except MalformedJsonError as error:
            return error


def _spans(text: str) -> Sequence[Span] | None:
    """Return where each task stands in ``text``; ``None`` if it is not just an object with the array ``tasks``."""
    array = _ARRAY.match(text)
    if array is None:
        return None
    check_size([text])
    spans, end = array_spans(text, array.end(), depth=2)
    return spans if _END.fullmatch(text, end) else None


def _members(value: JsonValue) -> Sequence[JsonValue]:
    tasks = value.get("tasks") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(tasks, list):
        raise invalid(FieldError(("body",), 'expected an object with one member, the array "tasks"'))
    check_batch_size(len(tasks))
    return tasks


def _lines(body: bytes, end: int) -> Iterator[Span]:
    start = 0
    while start <= end:
        stop = body.find(b"\n", start, end)
        stop = end if stop < 0 else stop
        yield start, stop
        start = stop + 1
