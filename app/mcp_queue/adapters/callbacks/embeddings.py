"""Calls an OpenAI-compatible embeddings endpoint."""

from datetime import timedelta
from types import TracebackType
from typing import Self

import aiohttp
from typing_extensions import override

from mcp_queue.adapters.callbacks.answers import may_succeed_later, retry_after, succeeded
from mcp_queue.adapters.callbacks.connections import GuardedConnector
from mcp_queue.adapters.callbacks.resources import lacks_resources
from mcp_queue.domain.errors import MalformedJsonError, PermanentError, ResourcesExhaustedError, RetryableError
from mcp_queue.domain.formats.strict_json import dumps, loads
from mcp_queue.ports import Clock, Embedding, EmbeddingClient

# A vector of 16,384 numbers as text is a quarter of it.
_MAX_ANSWER = 2 * 1024 * 1024


class OpenAIEmbeddings(EmbeddingClient):
    """Asks ``{base_url}/embeddings``, which the operator chose, so it may lie in any network. A context manager."""

    def __init__(
        self,
        base_url: str | None,
        api_key: str | None,
        clock: Clock,
        *,
        timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        """Fail every task, saying why, where ``base_url`` is ``None``."""
        self._url = None if base_url is None else f"{base_url.rstrip('/')}/embeddings"
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._clock = clock
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=GuardedConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=self._timeout.total_seconds()),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @override
    async def embed(self, text: str, model: str) -> Embedding:
        if self._url is None:
            raise PermanentError("no embeddings endpoint is configured: EMBEDDING_BASE_URL is not set")
        assert self._session is not None, "the client is entered before it is used"
        body = dumps({"model": model, "input": text}).encode("ascii")
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                if not succeeded(response.status):
                    raise self._refused(response)
                answer = await _answer(response)
        except TimeoutError as error:
            message = f"the embeddings endpoint did not answer within {self._timeout.total_seconds():g} s"
            raise RetryableError(message) from error
        except (aiohttp.ClientError, OSError, MemoryError) as error:
            if lacks_resources(error):
                raise ResourcesExhaustedError("no file descriptor or memory is left for an embedding") from error
            raise RetryableError("the embeddings endpoint could not be reached, or broke off") from error
        return _embedding(answer, model)

    def _refused(self, response: aiohttp.ClientResponse) -> RetryableError | PermanentError:
        message = f"the embeddings endpoint answered {response.status}"
        if may_succeed_later(response.status):
            return RetryableError(message, retry_after(response.headers.get("Retry-After"), self._clock.now()))
        return PermanentError(message)


async def _answer(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_ANSWER:
            message = f"the embeddings endpoint answered with more than {_MAX_ANSWER} bytes"
            raise PermanentError(message)
    return bytes(body)


def _embedding(answer: bytes, asked: str) -> Embedding:
    """Read ``{"data": [{"embedding": [...]}], "model": "...", "usage": {...}}``."""
    try:
        match loads(answer):
            case {"data": [{"embedding": [*vector]}, *_], **rest} if vector:
                model, usage = rest.get("model"), rest.get("usage")
            case _:
                raise RetryableError("the embeddings endpoint's answer holds no embedding")
    except MalformedJsonError as error:
        raise RetryableError("the embeddings endpoint's answer is not JSON") from error
    return Embedding(
        model=model if isinstance(model, str) else asked,
        vector=vector,
        usage=usage if isinstance(usage, dict) else None,
    )
