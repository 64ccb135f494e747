"""Sends the requests of the client commands to the gateway."""

import json
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

from mcp_queue.cli.errors import CommandError
from mcp_queue.config import ClientSection
from mcp_queue.config.schema.values import hide_credentials

_SUCCESS = 2
_TIMEOUT = aiohttp.ClientTimeout(total=120, connect=10)


class GatewayRefusedError(CommandError):
    """The gateway refused a request. ``retry_after`` is in seconds; ``None`` where it names no time."""

    def __init__(self, status: int, code: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.retry_after = retry_after


class GatewayClient:
    """A client of one gateway, as an asynchronous context manager."""

    def __init__(self, client: ClientSection) -> None:
        self._url = client.url.rstrip("/")
        key = client.key.get_secret_value() if client.key else None
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
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
        """Send a DELETE."""
        await self._send("DELETE", path)

    async def pages(self, path: str, member: str, **query: str) -> AsyncIterator[Any]:
        """Yield every element of the list at ``path`` that matches ``query``, page by page."""
        while True:
            page = await self.get(path, **query)
            for element in page[member]:
                yield element
            if page["next_cursor"] is None:
                return
            query = {**query, "cursor": page["next_cursor"]}

    async def _send(self, method: str, path: str, **arguments: Any) -> Any:
        """Send a request and return its JSON answer.

        Raises:
            GatewayRefusedError: the answer is an error.
            CommandError: there is no answer, or it is not the gateway's.

        """
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


def _problem(response: aiohttp.ClientResponse, text: str) -> GatewayRefusedError:
    retry_after = response.headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isdecimal() else None
    try:
        problem = json.loads(text)
        return GatewayRefusedError(response.status, problem["code"], problem["detail"], seconds)
    except (ValueError, KeyError, TypeError):
        # A proxy in front of the gateway answered.
        return GatewayRefusedError(response.status, str(response.status), response.reason or "no reason given", seconds)
