"""Answers of hostile or broken receivers: the status decides, and nothing goes on without end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcp_queue.adapters.callbacks.answers import media_type, retry_after
from mcp_queue.adapters.callbacks.connections import MAX_INTERIM
from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.domain.errors import CallbackFailedError, CallbackRejectedError, TaskFailedError
from mcp_queue.ports import CallbackResponse
from mcp_queue.testing import FakeClock
from tests.support.clock import START
from tests.support.http.application import PATIENCE
from tests.support.http.callbacks import LOOPBACK, a_request
from tests.support.metrics import CountingMetrics


@contextlib.asynccontextmanager
async def answering(answer: bytes, *, more: Callable[[], bytes] = bytes) -> AsyncIterator[str]:
    """Run a server that answers each request with ``answer``, then with what ``more`` returns until that is nothing."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"{}")
                writer.write(answer)
                while data := more():
                    writer.write(data)
                    await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def sent(answer: bytes) -> CallbackResponse | TaskFailedError:
    """Return what the sender makes of ``answer``."""
    async with answering(answer) as url, AiohttpCallbackSender(LOOPBACK, FakeClock(), CountingMetrics()) as sender:
        try:
            return await sender.send(a_request(url, timeout=timedelta(seconds=PATIENCE)))
        except TaskFailedError as error:
            return error


def with_headers(status: int, *lines: bytes) -> bytes:
    """Return an answer of two bytes with these header lines."""
    return b"\r\n".join([b"HTTP/1.1 %d OK" % status, b"Content-Length: 2", *lines, b"", b"ok"])


UNREADABLE = {
    "no name": b": value",
    "a control character": b"X-A: a\x00b",
    "a name with a space": b"X A: b",
    "another length": b"Content-Length: 77",
    "a length that is no number": b"Content-Length: two",
    "an endless line": b"X-A: " + b"a" * 200_000,
    "endless lines": b"\r\n".join([b"X-A: a"] * 5000),
    "a media type that is none": b"Content-Type: =?x?q?\xff\xfe?=; =;;",
    "an encoding that is none": b"Content-Encoding: \x80\x81",
    "a cookie that is none": b'Set-Cookie: \xff="; ;=',
    "a date beyond all dates": b"Retry-After: Fri, 31 Dec 9999 23:59:59 -2359",
}


@pytest.mark.parametrize("line", UNREADABLE.values(), ids=UNREADABLE)
async def test_the_status_decides_whatever_the_headers_hold(line: bytes) -> None:
    """A 2xx says that the work is done, and a 503 that it is not."""
    taken, busy, refused = [await sent(with_headers(status, line)) for status in (200, 503, 404)]

    assert isinstance(taken, CallbackResponse)
    assert taken.status == 200
    assert isinstance(busy, CallbackFailedError)
    assert busy.response_status == 503
    assert isinstance(refused, CallbackRejectedError)
    assert refused.response_status == 404


HEADER_LINES = st.lists(
    st.tuples(
        st.sampled_from([b"Content-Type", b"Retry-After", b"Set-Cookie", b"Location", b"Content-Encoding", b"X-A"])
        | st.binary(min_size=1, max_size=8).map(lambda name: name.translate(None, b"\r\n") or b"a"),
        st.binary(max_size=40).map(lambda value: value.replace(b"\r\n", b"")),
    ).map(b": ".join),
    max_size=4,
)


@given(HEADER_LINES)
@settings(max_examples=150, deadline=None)
@example([b"Transfer-Encoding: chunked, gzip"])
def test_no_header_undoes_work_that_was_done(lines: list[bytes]) -> None:
    """No name and no value turns a 2xx into a failure, as long as the head comes to an end."""
    outcome = asyncio.run(sent(b"\r\n".join([b"HTTP/1.1 204 OK", *lines, b"", b""])))
    assert isinstance(outcome, CallbackResponse), outcome


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_an_answer_or_a_failed_attempt(answer: bytes) -> None:
    """Nothing that a receiver sends raises anything else."""
    outcome = asyncio.run(_sent_and_closed(answer))
    assert isinstance(outcome, CallbackResponse | CallbackFailedError | CallbackRejectedError)


async def _sent_and_closed(answer: bytes) -> CallbackResponse | TaskFailedError:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(answer)
        writer.close()

    async with (
        await asyncio.start_server(handle, "127.0.0.1", 0) as server,
        AiohttpCallbackSender(LOOPBACK, FakeClock(), CountingMetrics()) as sender,
    ):
        try:
            return await sender.send(a_request(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
        except TaskFailedError as error:
            return error


DATES = st.text("0123456789 :-+,JanFebMarGMTUTC", max_size=40) | st.builds(
    "{}, {:02} Dec {:04} {:02}:{:02}:59 {:+05}".format,
    st.sampled_from(["Fri", "Mon"]),
    st.integers(0, 32),
    st.integers(0, 99999),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(-9999, 9999),
)


@given(DATES | st.text(max_size=30))
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_no_retry_after_raises_or_asks_for_more_than_an_hour(value: str) -> None:
    """A date may lie anywhere, and overflow."""
    assert timedelta(0) < (retry_after(value, START) or timedelta(hours=1)) <= timedelta(hours=1)


@given(st.text(max_size=30))
@example("application/json; charset=\x00")
def test_a_media_type_is_one_or_is_unknown(value: str) -> None:
    """What is no media type says nothing of the body."""
    assert media_type(value).count("/") == 1
    assert media_type(f" Application/JSON ;{value}") == "application/json"


async def test_a_few_interim_answers_are_passed_over() -> None:
    """A server may say that it works on it (RFC 9110, section 15.2)."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * MAX_INTERIM
    outcome = await sent(interim + with_headers(200))
    assert isinstance(outcome, CallbackResponse)
    assert outcome.body == b"ok"


async def test_a_flood_of_interim_answers_is_broken_off() -> None:
    """At once, not at the end of the time limit, and without taking the flood in."""
    chunk = b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000
    written = 0

    def more() -> bytes:
        nonlocal written
        written += len(chunk)
        return chunk

    async with (
        answering(b"", more=more) as url,
        AiohttpCallbackSender(LOOPBACK, FakeClock(), CountingMetrics()) as sender,
    ):
        with pytest.raises(CallbackFailedError, match="interim answers"):
            await sender.send(a_request(url, timeout=timedelta(seconds=PATIENCE)))

    # What the buffers of both sides hold, however fast this machine is.
    assert written < 16_000_000


async def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    """Or it would be taken for the answer to the next request."""
    async with (
        answering(with_headers(200) + with_headers(503)) as url,
        AiohttpCallbackSender(LOOPBACK, FakeClock(), CountingMetrics()) as sender,
    ):
        for _ in range(3):
            assert (await sender.send(a_request(url))).status == 200
