"""Callbacks to a real receiver: what arrives, and what each answer means."""

import asyncio
import gzip
from collections import Counter
from datetime import timedelta

import pytest

from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.domain.errors import CallbackFailedError, CallbackRejectedError, ResourcesExhaustedError
from mcp_queue.ports import CallbackResponse
from mcp_queue.testing import FakeClock
from tests.support.descriptors import no_descriptor_left
from tests.support.http.callbacks import LOOPBACK, Names, a_request
from tests.support.http.receiver import Answer, Receiver
from tests.support.metrics import CountingMetrics

MEBIBYTE = 1024 * 1024


async def test_the_request_arrives_as_it_was_asked_for(sender: AiohttpCallbackSender, receiver: Receiver) -> None:
    """Path and query to the dead letter, and no header that tells what runs here."""
    url = receiver.url("/a%2Fb/%7e;x=1?q=a+b%2f&r=%C3%BC#fragment")
    request = a_request(url, method="PUT", headers={"X-A": "1", "Content-Type": "text/csv"}, body="ü".encode())

    await sender.send(request)

    (arrived,) = receiver.requests
    assert ("PUT", "/a%2Fb/%7e;x=1?q=a+b%2f&r=%C3%BC", "ü") == (arrived.method, arrived.path, arrived.body)
    assert {
        "host": f"127.0.0.1:{receiver.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "mcp-queue",
        "content-length": "2",
        "content-type": "text/csv",
        "x-a": "1",
    } == arrived.headers


@pytest.mark.parametrize(("path", "expected"), [("", "/"), ("?a=b", "/?a=b"), ("/ä?ü=1", "/%C3%A4?%C3%BC=1")])
async def test_a_url_need_not_have_a_path_or_be_ascii(
    sender: AiohttpCallbackSender, receiver: Receiver, path: str, expected: str
) -> None:
    """HTTP has a form for each."""
    await sender.send(a_request(receiver.url(path)))

    assert [expected] == [arrived.path for arrived in receiver.requests]


@pytest.mark.parametrize("size", [0, MEBIBYTE, 3 * MEBIBYTE])
async def test_bodies_of_any_size_arrive_whole(sender: AiohttpCallbackSender, receiver: Receiver, size: int) -> None:
    """Also those of a queue that takes more than SQS does."""
    await sender.send(a_request(receiver.url(), body=b"a" * size))

    assert receiver.requests[0].body == "a" * size
    assert receiver.requests[0].headers["content-length"] == str(size)


async def test_a_2xx_answer_is_returned(
    sender: AiohttpCallbackSender, receiver: Receiver, outcomes: CountingMetrics
) -> None:
    """With its status, media type and body."""
    receiver.script("/", Answer(status=201, headers={"Content-Type": "application/json"}, body='{"a":1}'))

    response = await sender.send(a_request(receiver.url()))

    assert CallbackResponse(status=201, content_type="application/json", body=b'{"a":1}') == response
    assert Counter({"ok": 1}) == outcomes.callbacks


@pytest.mark.parametrize(("size", "kept", "truncated"), [(65_536, 65_536, False), (65_537, 65_536, True)])
async def test_of_an_answer_64_kib_are_kept(
    sender: AiohttpCallbackSender, receiver: Receiver, size: int, kept: int, truncated: object
) -> None:
    """And it is said that there was more."""
    receiver.script("/", Answer(size=size))

    response = await sender.send(a_request(receiver.url()))

    assert (kept, truncated) == (len(response.body), response.truncated)


async def test_an_endless_answer_is_left(sender: AiohttpCallbackSender, receiver: Receiver) -> None:
    """The next call goes on, over a connection of its own."""
    receiver.script("/", Answer(size=1024 * MEBIBYTE), Answer(body="ok"))

    assert (await sender.send(a_request(receiver.url()))).truncated
    assert b"ok" == (await sender.send(a_request(receiver.url()))).body


async def test_a_compressed_answer_stays_compressed(sender: AiohttpCallbackSender) -> None:
    """A few kilobytes could become gigabytes."""
    bomb = gzip.compress(b"0" * 10 * MEBIBYTE)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(head + bomb)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        response = await sender.send(a_request(f"http://127.0.0.1:{port}/"))

    assert bomb == response.body


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_a_passing_failure_is_retryable(
    sender: AiohttpCallbackSender, receiver: Receiver, outcomes: CountingMetrics, status: int
) -> None:
    """The receiver may take it later."""
    receiver.script("/", Answer(status=status, body="secret detail"))

    with pytest.raises(CallbackFailedError, match=f"^the callback answered {status}$") as caught:
        await sender.send(a_request(receiver.url()))

    assert (status, None) == (caught.value.response_status, caught.value.delay)
    assert Counter({"retryable": 1}) == outcomes.callbacks


@pytest.mark.parametrize("status", [300, 304, 305, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 451, 499])
async def test_every_other_answer_is_final(
    sender: AiohttpCallbackSender, receiver: Receiver, outcomes: CountingMetrics, status: int
) -> None:
    """The receiver will never take it."""
    receiver.script("/", Answer(status=status))

    with pytest.raises(CallbackRejectedError, match=f"^the callback answered {status}") as caught:
        await sender.send(a_request(receiver.url()))

    assert status == caught.value.response_status
    assert Counter({"rejected": 1}) == outcomes.callbacks


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(sender: AiohttpCallbackSender, receiver: Receiver, status: int) -> None:
    """It could lead anywhere."""
    receiver.script("/", Answer(status=status, headers={"Location": receiver.url("/elsewhere")}))

    with pytest.raises(CallbackRejectedError, match=f"answered {status}; redirects are not followed"):
        await sender.send(a_request(receiver.url()))

    assert ["/"] == [arrived.path for arrived in receiver.requests]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", timedelta(seconds=120)),
        (" 5 ", timedelta(seconds=5)),
        ("Thu, 01 Jan 2026 00:02:00 GMT", timedelta(seconds=120)),
        ("7200", timedelta(hours=1)),
        ("9" * 400, timedelta(hours=1)),
        ("Fri, 02 Jan 2026 00:00:00 GMT", timedelta(hours=1)),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Wed, 31 Dec 2025 23:59:59 GMT", None),
    ],
)
async def test_retry_after_is_honoured_up_to_an_hour(
    sender: AiohttpCallbackSender, receiver: Receiver, value: str, expected: timedelta | None
) -> None:
    """In seconds or as a date; what cannot be read, or asks for no wait, leaves the backoff in charge."""
    receiver.script("/", Answer(status=503, headers={"Retry-After": value}))

    with pytest.raises(CallbackFailedError) as caught:
        await sender.send(a_request(receiver.url()))

    assert expected == caught.value.delay


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(stall=True, body="{")])
async def test_a_receiver_that_is_too_slow_is_retryable(
    sender: AiohttpCallbackSender, receiver: Receiver, outcomes: CountingMetrics, answer: Answer
) -> None:
    """Whether it never answers or never comes to an end."""
    receiver.script("/", answer)

    with pytest.raises(CallbackFailedError, match=r"did not answer within 0\.1 s") as caught:
        await sender.send(a_request(receiver.url(), timeout=timedelta(seconds=0.1)))

    assert caught.value.response_status is None
    assert Counter({"retryable": 1}) == outcomes.callbacks


async def test_a_dropped_connection_is_retryable(sender: AiohttpCallbackSender, receiver: Receiver) -> None:
    """The receiver may have crashed."""
    receiver.script("/", Answer(drop=True))

    with pytest.raises(CallbackFailedError, match="ended the connection"):
        await sender.send(a_request(receiver.url()))


async def test_a_closed_port_is_retryable(sender: AiohttpCallbackSender) -> None:
    """The receiver may be starting."""
    async with Receiver() as gone:
        url = gone.url()

    with pytest.raises(CallbackFailedError, match="could not be connected to"):
        await sender.send(a_request(url))


async def test_an_answer_that_is_not_http_is_retryable(sender: AiohttpCallbackSender) -> None:
    """Something else listens there for the moment."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CallbackFailedError, match="not HTTP"):
            await sender.send(a_request(f"http://127.0.0.1:{port}/"))


async def test_a_resolver_that_does_not_answer_is_retryable(clock: FakeClock, outcomes: CountingMetrics) -> None:
    """Resolving counts as connecting."""
    answering = asyncio.Event()

    async def never(host: str) -> list[str]:
        await answering.wait()
        return []

    limit = timedelta(seconds=0.05)
    async with AiohttpCallbackSender(LOOPBACK, clock, outcomes, lookup=never, connect_timeout=limit) as sender:
        with pytest.raises(CallbackFailedError, match="could not be connected to in time"):
            await sender.send(a_request("http://slow.example/"))


async def test_headers_that_http_cannot_carry_are_a_final_failure(
    sender: AiohttpCallbackSender, receiver: Receiver
) -> None:
    """Nothing is sent."""
    with pytest.raises(CallbackRejectedError, match="headers cannot be sent"):
        await sender.send(a_request(receiver.url(), headers={"X-A": "a\r\nX-B: b"}))

    assert receiver.requests == []


async def test_calls_one_after_another_share_a_connection(sender: AiohttpCallbackSender, receiver: Receiver) -> None:
    """Also after a refusal that had arrived whole."""
    receiver.script("/", Answer(body="a"), Answer(status=503, body="b"), Answer(body="c"))

    for _ in range(3):
        try:
            await sender.send(a_request(receiver.url()))
        except CallbackFailedError as error:
            assert error.response_status == 503  # noqa: PT017  # the other two calls raise nothing

    assert {0} == {arrived.connection for arrived in receiver.requests}


async def test_cookies_are_not_kept(sender: AiohttpCallbackSender, receiver: Receiver) -> None:
    """One client's receiver must not mark another client's task."""
    receiver.script("/", Answer(headers={"Set-Cookie": "a=b; Path=/"}))

    await sender.send(a_request(receiver.url()))
    await sender.send(a_request(receiver.url()))

    assert all("cookie" not in arrived.headers for arrived in receiver.requests)


async def test_the_environments_proxy_is_not_used(
    sender: AiohttpCallbackSender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would connect to whatever it resolves itself."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    await sender.send(a_request(receiver.url("/direct")))

    assert ["/direct"] == [arrived.path for arrived in receiver.requests]


async def test_a_cancelled_call_leaves_its_connection(sender: AiohttpCallbackSender, receiver: Receiver) -> None:
    """And the sender goes on."""
    receiver.script("/", Answer(hang=True), Answer(body="ok"))
    call = asyncio.ensure_future(sender.send(a_request(receiver.url())))
    await receiver.arrived()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert b"ok" == (await sender.send(a_request(receiver.url()))).body


async def test_a_failure_names_no_address(clock: FakeClock, outcomes: CountingMetrics) -> None:
    """A client must not learn from an error what a name resolves to here."""
    async with Receiver() as gone:
        port = gone.port

    async with AiohttpCallbackSender(LOOPBACK, clock, outcomes, lookup=Names(["127.0.0.9"])) as sender:
        with pytest.raises(CallbackFailedError) as caught:
            await sender.send(a_request(f"http://hooks.example:{port}/"))

    assert "127.0.0.9" not in str(caught.value)


@pytest.mark.parametrize("reused", [False, True])
async def test_a_process_without_descriptors_puts_the_call_off(
    sender: AiohttpCallbackSender, receiver: Receiver, outcomes: CountingMetrics, *, reused: bool
) -> None:
    """Nothing is wrong with the destination, nor with the task; a connection that is open still serves."""
    if reused:
        await sender.send(a_request(receiver.url()))
        outcomes.callbacks.clear()

    with no_descriptor_left():
        if reused:
            await sender.send(a_request(receiver.url()))
        else:
            with pytest.raises(ResourcesExhaustedError):
                await sender.send(a_request(receiver.url()))

    assert Counter({"ok" if reused else "deferred": 1}) == outcomes.callbacks
