"""Serves applications on ports beside the main one, and keeps file descriptors for the work of the process."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias

import uvicorn
from typing_extensions import override

from mcp_queue.gateway.server.connection_limits import GuardedProtocol

AsgiApp: TypeAlias = Callable[..., Awaitable[None]]

#: Most connections of a port for probes and metrics.
MONITORING_CONNECTIONS = 100


def allow_connections(wanted: int = GuardedProtocol.max_connections) -> int:
    """Raise the limit of open files to twice ``wanted``, as far as the system allows.

    Returns:
        How many connections clients may have open: half of the limit stays for the work of the process.

    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 2 * wanted if hard == resource.RLIM_INFINITY else min(2 * wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return min(wanted, limit // 2)


def limited(max_connections: int) -> type[GuardedProtocol]:
    """Return the protocol for a port that takes ``max_connections``."""

    class Limited(GuardedProtocol):
        pass

    Limited.max_connections = max_connections
    return Limited


def server_config(
    app: AsgiApp, host: str, port: int, *, protocol: type[GuardedProtocol], grace_seconds: int
) -> uvicorn.Config:
    """Return how uvicorn serves ``app``: no line for each request, and ``grace_seconds`` for answers at the end."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace_seconds,
    )


class _BesideServer(uvicorn.Server):
    """A server without signal handlers: those of the process stay."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving_port(
    app: AsgiApp, host: str, port: int, *, max_connections: int = MONITORING_CONNECTIONS
) -> AsyncIterator[int]:
    """Serve ``app`` while the context is open; yield the port, which is a free one where ``port`` is 0.

    Raises:
        OSError: the address cannot be bound.

    """
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        config = server_config(app, host, port, protocol=limited(max_connections), grace_seconds=1)
        server = _BesideServer(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="port")
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving
