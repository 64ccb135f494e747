"""Serves the gateway's applications with uvicorn, and reloads API keys on SIGHUP."""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import FrameType

import uvicorn
from typing_extensions import override

from mcp_queue.config.settings import Settings
from mcp_queue.domain.errors import ConfigError
from mcp_queue.domain.operators.keys import ApiKey
from mcp_queue.gateway.resources.service.readiness import GatewayReadiness
from mcp_queue.gateway.server.auth import Authenticator
from mcp_queue.gateway.server.connection_limits import GuardedProtocol

_App = Callable[..., Awaitable[None]]  # ASGI
#: Reads the configuration again and returns its keys; raises ``ConfigError`` if it holds a mistake.
KeyReader = Callable[[], Sequence[ApiKey] | None]

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Reports that it is draining as soon as the signal arrives, before it stops accepting connections."""

    def __init__(self, app: _App, settings: Settings, readiness: GatewayReadiness) -> None:
        super().__init__(_config(app, settings))
        self._readiness = readiness

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._readiness.draining = True
        super().handle_exit(sig, frame)

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Serve until a signal arrives or ``stop`` is set, which a signal may do before this server handles signals."""
        stopping = asyncio.create_task(self._exit_at(stop), name="stop")
        try:
            await self.serve()
        finally:
            stopping.cancel()

    async def _exit_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._readiness.draining = self.should_exit = True


class _MetricsServer(uvicorn.Server):
    """A server without signal handlers: the main server has them."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving_metrics_port(app: _App | None, settings: Settings) -> AsyncIterator[None]:
    """Serve ``app``, if there is one, on ``GATEWAY_METRICS_PORT`` while the context is open.

    Raises:
        OSError: the address cannot be bound.

    """
    if app is None:
        yield
        return
    host, port = settings.gateway.host, settings.gateway.metrics_port
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        server = _MetricsServer(_config(app, settings))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="metrics")
        try:
            yield
        finally:
            server.should_exit = True
            await serving


def _config(app: _App, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.gateway.host,
        port=settings.gateway.port,
        http=GuardedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.shutdown_grace.total_seconds()) or 1,
    )


def raise_open_file_limit() -> None:
    """Raise the limit of open files to twice the limit of connections, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * GuardedProtocol.max_connections
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def reloading_keys(authenticator: Authenticator, read: KeyReader) -> Iterator[None]:
    """Give ``authenticator`` the keys that ``read`` returns at each SIGHUP while the context is open."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, _reload, authenticator, read)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _reload(authenticator: Authenticator, read: KeyReader) -> None:
    try:
        keys = read()
    except ConfigError as error:
        for problem in error.problems:
            logger.error("the API keys stay as they are: %s", problem)  # noqa: TRY400  # the trace says no more
        return
    if keys is None:
        # A missing list must not open a gateway that asks for keys.
        logger.error("the API keys stay as they are: none are configured any more")
        return
    authenticator.change_keys(keys)
    logger.info("API keys were read again", extra={"count": len(keys)})
