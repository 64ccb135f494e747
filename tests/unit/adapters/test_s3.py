"""Bodies in S3, as an S3 that misbehaves returns them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from mcp_queue.adapters.s3 import S3PayloadStore
from mcp_queue.domain.errors import BackendUnavailableError, PayloadDeniedError, QueueError
from mcp_queue.ports import PayloadPointer

BROKEN_OFF = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"

DENIED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: 50\r\n\r\n"
    b"<Error><Code>AccessDenied</Code><Message/></Error>"
)


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Run a server that sends ``answer`` to every request and hangs up; return its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(BROKEN_OFF, BackendUnavailableError, id="a body that breaks off may be read whole in a moment"),
        pytest.param(DENIED, PayloadDeniedError, id="403 may mean that the object is gone"),
    ],
)
async def test_an_answer_that_brings_no_body_is_unavailability(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, expected: type[QueueError]
) -> None:
    """What it was is told apart, since the one passes and the other may not."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    async with (
        answering(answer) as url,
        S3PayloadStore(["bucket"], max_bytes=1000, region="us-east-1", endpoint_url=url) as store,
    ):
        with pytest.raises(expected) as caught:
            await store.get(PayloadPointer("bucket", "key"))
    assert expected is type(caught.value)
