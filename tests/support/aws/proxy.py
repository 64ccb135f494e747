"""An HTTP proxy in front of an AWS endpoint, which passes on every byte as it came."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tests.support.aws.wire import Answer

#: Headers that belong to one connection (RFC 9110, section 7.6.1), and those that aiohttp writes by itself.
_OF_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
#: What aiohttp's client would add to a request that has none of it.
_ADDED = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
#: The largest body, in bytes: a payload in S3.
_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class Incoming:
    """A request as it came. ``target`` is its path with the query, not decoded."""

    method: str
    target: str
    headers: CIMultiDictProxy[str]
    body: bytes
    http: web.Request

    def reset(self) -> None:
        """Break the connection without an answer, as a load balancer that fails does."""
        if self.http.transport is not None:
            self.http.transport.abort()


class Proxy:
    """Passes requests on. Subclasses answer some of them in another way."""

    def __init__(self, upstream: str) -> None:
        """Stand in front of ``upstream``, a URL without a path."""
        self.upstream = upstream
        self.url = ""
        self._session: ClientSession | None = None

    async def answer(self, incoming: Incoming) -> Answer:
        """Return the answer to a request."""
        return await self.forward(incoming)

    async def forward(self, incoming: Incoming) -> Answer:
        """Return the answer of the endpoint."""
        assert self._session is not None
        headers = CIMultiDict(incoming.headers)
        for name in ("Connection", "Keep-Alive", "Transfer-Encoding"):
            headers.popall(name, None)
        url = URL(f"{self.upstream}{incoming.target}", encoded=True)
        async with self._session.request(
            incoming.method,
            url,
            headers=headers,
            data=BytesIO(incoming.body) if incoming.body else None,
            allow_redirects=False,
        ) as response:
            kept = {name: value for name, value in response.headers.items() if name.lower() not in _OF_CONNECTION}
            return Answer(response.status, kept, await response.read())

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        incoming = Incoming(request.method, request.raw_path, request.headers, await request.read(), request)
        answer = await self.answer(incoming)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve on a free port of the loopback while the context is open."""
        application = web.Application(client_max_size=_LARGEST)
        application.router.add_route("*", "/{path:.*}", self.handle)
        # A caller that goes away ends its poll at the endpoint too.
        runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, auto_decompress=False, shutdown_timeout=0.1
        )
        connector = TCPConnector(limit=0)
        async with ClientSession(
            connector=connector,
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
            skip_auto_headers=_ADDED,
            cookie_jar=DummyCookieJar(),
        ) as self._session:
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield
            finally:
                await runner.cleanup()


async def never() -> None:
    """Wait until cancelled."""
    await asyncio.get_running_loop().create_future()
