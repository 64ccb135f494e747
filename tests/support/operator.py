"""What an operator does over HTTP."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.stack import Stack


@dataclass(frozen=True)
class Operator:
    """Calls the gateway of a stack; every answer has to be a success."""

    session: aiohttp.ClientSession

    async def get(self, path: str, **query: str) -> Any:
        """Return the JSON answer to a GET."""
        async with self.session.get(path, params=query) as response:
            body = await response.json()
            assert 200 == response.status, body
            return body

    async def post(self, path: str, body: object) -> Any:
        """Return the JSON answer to a POST."""
        async with self.session.post(path, json=body) as response:
            answer = await response.json()
            assert 2 == response.status // 100, answer
            return answer

    async def all_pages(self, path: str, member: str, **query: str) -> list[Any]:
        """Return every element of a list."""
        found: list[Any] = []
        query = {**query, "limit": "200"}
        while True:
            page = await self.get(path, **query)
            found += page[member]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    async def metric(self, line: str) -> float | None:
        """Return the value of the metric whose line begins with ``line``."""
        async with self.session.get("/metrics") as response:
            for text in (await response.text()).splitlines():
                if text.startswith(f"{line} "):
                    return float(text.rpartition(" ")[2])
        return None


@contextlib.asynccontextmanager
async def operator_of(stack: Stack) -> AsyncIterator[Operator]:
    """Provide an operator of ``stack``."""
    async with aiohttp.ClientSession(stack.gateway.url) as session:
        yield Operator(session)
