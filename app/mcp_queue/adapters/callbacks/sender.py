"""Sends callbacks over HTTP, to the addresses that the egress policy allows."""

import io
import ssl
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus
from string import printable
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote, urlsplit

import aiohttp
from typing_extensions import override
from yarl import URL

from mcp_queue.adapters.callbacks.answers import may_succeed_later, media_type, retry_after, succeeded
from mcp_queue.adapters.callbacks.connections import GuardedConnector, InterimFloodError, UnreadableHeadersError
from mcp_queue.adapters.callbacks.lookup import DnsLookup
from mcp_queue.adapters.callbacks.resolver import CheckedResolver, Lookup
from mcp_queue.adapters.callbacks.resources import lacks_resources
from mcp_queue.adapters.callbacks.signing import CallbackSigner
from mcp_queue.domain.callbacks.addresses import Destination, EgressPolicy, check_url
from mcp_queue.domain.errors import (
    CallbackFailedError,
    CallbackRejectedError,
    RefusedAddressError,
    ResourcesExhaustedError,
)
from mcp_queue.ports import CallbackRequest, CallbackResponse, CallbackSender, Clock

#: How much of an answer is read, in bytes.
MAX_ANSWER = 64 * 1024
# Limits of an answer's head, in bytes and lines. Beyond them nothing but its status is known.
_MAX_HEADER, _MAX_HEADERS = 64 * 1024, 1000
# Servers in wide use close an idle connection after 5 s. Leaving first avoids sending into one that is being closed.
_KEEP_ALIVE = 4.0
# An answer is not decompressed: a few bytes could become gigabytes.
_DEFAULT_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "mcp-queue"}
# aiohttp warns of longer bodies in one piece, since writing them holds up the loop.
_LARGE_BODY = 1024 * 1024


class CallbackMetrics(Protocol):
    """What is counted of callbacks."""

    def callback(self, outcome: str) -> None:
        """Count a callback: ``ok``, ``retryable``, ``rejected``, ``refused`` or ``deferred``."""
        ...


class AiohttpCallbackSender(CallbackSender):
    """Calls URLs that clients name, within an ``EgressPolicy``. An async context manager.

    Never follows redirects, keeps cookies, or uses the environment's proxies and credentials.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        clock: Clock,
        metrics: CallbackMetrics,
        *,
        secrets: Sequence[str] = (),
        connect_timeout: timedelta = timedelta(seconds=10),
        tls: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
    ) -> None:
        """Sign with ``secrets`` what names none of its own.

        ``connect_timeout`` covers resolving, connecting and the TLS handshake; ``tls`` and ``lookup`` replace
        the system's certificates and its name servers.

        Raises:
            ValueError: one of ``secrets`` is no signing secret.

        """
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._signer = CallbackSigner(secrets)
        self._signers: dict[tuple[str, ...], CallbackSigner] = {}
        self._connect_timeout = connect_timeout
        self._tls = tls
        self._dns = DnsLookup(clock)
        self._lookup = lookup or self._dns
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = GuardedConnector(
            resolver=CheckedResolver(self._policy, self._lookup),
            ssl=self._tls or True,
            limit=0,  # callers bound it: one call a worker slot
            keepalive_timeout=_KEEP_ALIVE,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_DEFAULT_HEADERS,
            skip_auto_headers=("Content-Type",),
            auto_decompress=False,
            read_bufsize=MAX_ANSWER,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            max_headers=_MAX_HEADERS,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        await self._dns.close()

    @override
    async def send(self, request: CallbackRequest) -> CallbackResponse:
        try:
            destination = check_url(request.url, self._policy)
            response = await self._exchange(request, _url(request.url, destination))
        except CallbackFailedError:
            self._metrics.callback("retryable")
            raise
        except CallbackRejectedError:
            self._metrics.callback("rejected")
            raise
        except RefusedAddressError:
            self._metrics.callback("refused")
            raise
        except ResourcesExhaustedError:
            self._metrics.callback("deferred")
            raise
        self._metrics.callback("ok")
        return response

    async def _exchange(self, request: CallbackRequest, url: URL) -> CallbackResponse:
        assert self._session is not None, "the sender is entered before it sends"
        timeout = aiohttp.ClientTimeout(
            total=request.timeout.total_seconds(), connect=self._connect_timeout.total_seconds()
        )
        headers = self._headers(request)
        large = len(request.body) > _LARGE_BODY
        try:
            async with self._session.request(
                request.method,
                url,
                data=io.BytesIO(request.body) if large else request.body or None,
                headers=headers,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                return await self._read(response)
        except UnreadableHeadersError as error:
            if succeeded(error.status):
                return CallbackResponse(status=error.status, content_type=media_type(None), body=b"")
            raise self._refused(error.status, None) from error
        except (aiohttp.ClientError, OSError, ValueError, MemoryError) as error:
            if lacks_resources(error):
                raise ResourcesExhaustedError("no file descriptor or memory is left for a callback") from error
            raise _translated(error, request.timeout) from error

    def _headers(self, request: CallbackRequest) -> dict[str, str]:
        if request.signed_as is None:
            return dict(request.headers)
        signature = self._signer_of(request).headers(request.signed_as, self._clock.now(), request.body)
        return {**request.headers, **signature}

    def _signer_of(self, request: CallbackRequest) -> CallbackSigner:
        if request.secrets is None:
            return self._signer
        secrets = tuple(request.secrets)
        if secrets not in self._signers:
            self._signers[secrets] = CallbackSigner(secrets)
        return self._signers[secrets]

    async def _read(self, response: aiohttp.ClientResponse) -> CallbackResponse:
        status, headers = response.status, response.headers
        if not succeeded(status):
            raise self._refused(status, headers.get("Retry-After"))
        body, truncated = await _first_bytes(response)
        content_type = media_type(headers.get("Content-Type"))
        return CallbackResponse(status=status, content_type=content_type, body=body, truncated=truncated)

    def _refused(self, status: int, wait: str | None) -> CallbackFailedError | CallbackRejectedError:
        if may_succeed_later(status):
            delay = retry_after(wait, self._clock.now())
            return CallbackFailedError(f"the callback answered {status}", delay, status)
        redirect = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
        message = f"the callback answered {status}{'; redirects are not followed' if redirect else ''}"
        return CallbackRejectedError(message, status)


async def _first_bytes(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            return bytes(body[:MAX_ANSWER]), True
    return bytes(body), False


def _url(written: str, destination: Destination) -> URL:
    """Return ``written`` with its host and port as the check has read them, and its path and query untouched."""
    parts = urlsplit(written)
    return URL.build(
        scheme=destination.scheme,
        host=destination.host,
        port=destination.port,
        path=quote(parts.path, safe=printable) or "/",
        query_string=quote(parts.query, safe=printable),
        encoded=True,
    )


def _translated(error: Exception, timeout: timedelta) -> CallbackFailedError | CallbackRejectedError:
    """Return the error for callers. Its text comes from here alone, since aiohttp's names the resolved address."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            message = "the callback could not be connected to in time"
        case TimeoutError():
            message = f"the callback did not answer within {timeout.total_seconds():g} s"
        case aiohttp.ClientConnectorDNSError():
            message = "the callback's host name could not be resolved"
        case aiohttp.ClientConnectorCertificateError():
            message = "the callback's certificate is not valid for its host"
        case aiohttp.ClientSSLError():
            message = "the callback's TLS handshake failed"
        case aiohttp.ClientConnectorError():
            message = "the callback could not be connected to"
        case InterimFloodError():
            message = "the callback sent interim answers (1xx) without end"
        case aiohttp.ClientResponseError():
            message = "the callback's answer is not HTTP"
        case aiohttp.ClientError() | OSError():
            message = "the callback ended the connection before its answer was complete"
        case _:
            return CallbackRejectedError("the callback's method or headers cannot be sent over HTTP")
    return CallbackFailedError(message)
