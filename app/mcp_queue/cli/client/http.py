"""The HTTP client of the client commands."""

import json
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from mcp_queue.cli.errors import CommandError
from mcp_queue.config import Client
from mcp_queue.config.schema.values import hide_credentials

_SUCCESS = 2
_TIMEOUT = aiohttp.ClientTimeout(total=120, connect=10)


class ProblemError(CommandError):
    """The gateway says no. ``retry_after`` is in seconds, where the same request may succeed later."""

    def __init__(self, status: int, code: str, detail: str, retry_after: float | None = None) -> None:
        """Keep what the answer says."""
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.retry_after = retry_after


class GatewayClient:
    """Talks to one gateway."""

    def __init__(self, client: Client) -> None:
        """Know where the gateway is."""
        self._url = client.url.rstrip("/")
        key = client.key.get_secret_value() if client.key else None
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def __aenter__(self) -> Self:
        """Be ready to send."""
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._session.close()

    async def get(self, path: str, **query: str) -> Any:
        """Return the JSON answer to a GET."""
        return await self._send("GET", path, params=query)

    async def post(
        self, path: str, body: object = None, *, headers: Mapping[str, str] | None = None, lines: bytes | None = None
    ) -> Any:
        """Return the JSON answer to a POST of ``body`` as JSON, or of ``lines`` as NDJSON."""
        if lines is not None:
            return await self._send("POST", path, data=lines, headers={"Content-Type": "application/x-ndjson"})
        return await self._send("POST", path, json=body, headers=headers)

    async def put(self, path: str, body: object) -> Any:
        """Return the JSON answer to a PUT of ``body`` as JSON."""
        return await self._send("PUT", path, json=body)

    async def delete(self, path: str) -> None:
        """Return when what is at ``path`` is gone."""
        await self._send("DELETE", path)

    async def pages(self, path: str, member: str, **query: str) -> AsyncIterator[Any]:
        """Yield every element of a list that ``query`` filters, page by page."""
        while True:
            page = await self.get(path, **query)
            for element in page[member]:
                yield element
            if page["next_cursor"] is None:
                return
            query = {**query, "cursor": page["next_cursor"]}

    async def _send(self, method: str, path: str, **arguments: Any) -> Any:
        """Raise ``ProblemError`` for an answer that is none, ``CommandError`` for none at all."""
        try:
            async with self._session.request(method, self._url + path, allow_redirects=False, **arguments) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            message = (
                f"the gateway at {hide_credentials(self._url)} does not answer: {str(error) or 'no answer in time'}"
            )
            raise CommandError(message) from error
        except ValueError as error:  # such as a line break in a key, which is no header
            message = f"this cannot be sent: {error}"
            raise CommandError(message) from error
        if response.status // 100 != _SUCCESS:
            raise _problem(response, text)
        if response.status == HTTPStatus.NO_CONTENT:
            return None
        try:
            return json.loads(text)
        except ValueError as error:
            message = f"{hide_credentials(self._url)} is no gateway of this project: its answer is not JSON"
            raise CommandError(message) from error


def queue_path(name: str, *rest: str) -> str:
    """Return the path of a queue, or of something below it."""
    return "/".join(["/v1/queues", quoted(name), *rest])


def quoted(name: str) -> str:
    """Return ``name`` as a part of a path, also where the shell has given bytes that are no text."""
    return quote(name, safe="", errors="surrogateescape")


def _problem(response: aiohttp.ClientResponse, text: str) -> ProblemError:
    retry_after = response.headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isdecimal() else None
    try:
        problem = json.loads(text)
        return ProblemError(response.status, problem["code"], problem["detail"], seconds)
    except (ValueError, KeyError, TypeError):
        # Something between us and the gateway answered.
        return ProblemError(response.status, str(response.status), response.reason or "no reason given", seconds)
