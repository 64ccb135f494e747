"""Resolves host names to addresses that may be called.

The connection goes to exactly these, so that no second look-up can answer differently.
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from mcp_queue.domain.callbacks.addresses import EgressPolicy, refusal
from mcp_queue.domain.errors import RefusedAddressError

#: Returns the addresses of a name; raises ``OSError`` where it has none.
Lookup: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]


class CheckedResolver(AbstractResolver):
    """Returns only those addresses of a name that ``policy`` allows."""

    def __init__(self, policy: EgressPolicy, lookup: Lookup) -> None:
        self._policy = policy
        self._lookup = lookup

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # aiohttp's signature; it sorts by itself
    ) -> list[ResolveResult]:
        """Return the allowed addresses of ``host``.

        Raises:
            OSError: it has no address.
            RefusedAddressError: none of its addresses is allowed. The message is shown to clients and names none,
                or it would tell them what lies in networks that they cannot see.

        """
        addresses = [ip_address(text) for text in await self._lookup(host)]
        if not addresses:
            raise OSError("the name has no address")
        allowed = [address for address in addresses if refusal(address, self._policy) is None]
        if not allowed:
            raise RefusedAddressError("the URL's host has no address that this service may call")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,  # noqa: PLR2004  # that is its name
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in allowed
        ]

    async def close(self) -> None:
        """Do nothing: the lookup belongs to its creator."""
