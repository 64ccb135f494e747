"""Calls the gateway from the synchronous function of a command."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from mcp_queue.cli.context import load_client

if TYPE_CHECKING:
    from mcp_queue.cli.client.http import GatewayClient

T = TypeVar("T")

#: Longest page that the gateway returns.
_PAGE = 200


def call_gateway(call: "Callable[[GatewayClient], Awaitable[T]]") -> T:
    """Return what ``call`` returns, given a client of the configured gateway.

    Raises:
        CommandError: the environment holds a mistake, or the gateway does not answer, or refuses.

    """
    import asyncio

    from mcp_queue.cli.client.http import GatewayClient

    async def run() -> T:
        async with GatewayClient(load_client()) as gateway:
            return await call(gateway)

    return asyncio.run(run())


def list_all(path: str, member: str) -> list[Any]:
    """Return every element of the list at ``path``."""

    async def collect(gateway: "GatewayClient") -> list[Any]:
        return [element async for element in gateway.pages(path, member)]

    return call_gateway(collect)


def list_some(path: str, member: str, query: dict[str, str], limit: int) -> list[Any]:
    """Return the first ``limit`` elements of the list at ``path`` that match ``query``."""

    async def collect(gateway: "GatewayClient") -> list[Any]:
        found: list[Any] = []
        async for element in gateway.pages(path, member, **query, limit=str(min(limit, _PAGE))):
            found.append(element)
            if len(found) == limit:
                break
        return found

    return call_gateway(collect)
