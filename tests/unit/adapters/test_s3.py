"""Bodies in S3, as an S3 that misbehaves returns them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from mcp_queue.adapters.s3 import S3PayloadStore
from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.ports import PayloadPointer

BROKEN_OFF = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Run a server that sends ``answer`` to every request and hangs up; return its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_body_that_breaks_off_is_unavailability(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be read whole in a moment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    async with (
        answering(BROKEN_OFF) as url,
        S3PayloadStore(["bucket"], max_bytes=1000, region="us-east-1", endpoint_url=url) as store,
    ):
        with pytest.raises(BackendUnavailableError, match="no answer from S3"):
            await store.get(PayloadPointer("bucket", "key"))
