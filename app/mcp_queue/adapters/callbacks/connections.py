"""Connections to receivers of callbacks, guarded against answers that never end or have unreadable headers."""

import re
from functools import partial
from typing import Any, Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from typing_extensions import override

#: Most interim answers (1xx) before the answer to a request. Receivers in use send one or two.
MAX_INTERIM: Final = 16
# How much of an answer's head is parsed at a time, in bytes: a flood is noticed in between.
_SLICE = 8 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})(?![0-9])")
_LONGEST_STATUS = len(b"HTTP/1.1 200 ")


class InterimFloodError(aiohttp.ClientError):
    """The receiver sends interim answers without end."""


class UnreadableHeadersError(aiohttp.ClientError):
    """The answer has a ``status``, and headers that cannot be parsed."""

    def __init__(self, status: int) -> None:
        """Keep the status."""
        super().__init__(f"an answer with status {status} and unreadable headers")
        self.status = status


class GuardedConnection(ResponseHandler):
    """Breaks the connection off at a flood of interim answers, and at an answer that nobody asked for.

    Where the head of an answer cannot be parsed, its status still says how the request ended.
    """

    _awaits_answer = False
    _interim = 0
    _beginning = b""

    @override
    def set_response_params(self, **params: Any) -> None:
        """Begin to wait for the answer to a request."""
        self._awaits_answer, self._interim, self._beginning = True, 0, b""
        super().set_response_params(**params)

    @override
    def data_received(self, data: bytes) -> None:
        while self._awaits_answer and len(data) > _SLICE:
            self._receive(data[:_SLICE])
            data = data[_SLICE:]
        self._receive(data)

    @override
    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take an answer, whose body may still be coming in."""
        status = data[0].code
        if not self._awaits_answer:
            self._break_off()
        elif 100 <= status < 200 and status != 101:  # noqa: PLR2004  # as RFC 9110 has them
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._break_off()
                return
            super().feed_data(data, size)
        else:
            self._awaits_answer = False
            super().feed_data(data, size)

    @override
    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Let the request end with ``exc``, or with its status where only the headers cannot be parsed."""
        status = _STATUS_LINE.match(self._beginning)
        if self._awaits_answer and status is not None and isinstance(exc, HttpProcessingError):
            exc = UnreadableHeadersError(int(status[1]))
        super().set_exception(exc, *cause)

    def _receive(self, data: bytes) -> None:
        if self.exception() is not None:
            return
        if self._awaits_answer and len(self._beginning) < _LONGEST_STATUS:
            self._beginning += data[:_LONGEST_STATUS]
        super().data_received(data)

    def _break_off(self) -> None:
        self.set_exception(InterimFloodError("more answers than requests"))
        if self.transport is not None:
            self.transport.abort()


class GuardedConnector(aiohttp.TCPConnector):
    """Opens connections that are guarded."""

    def __init__(self, **options: Any) -> None:
        """Take the options of ``aiohttp.TCPConnector``."""
        super().__init__(**options)
        self._factory = cast("partial[ResponseHandler]", partial(GuardedConnection, loop=self._loop))
