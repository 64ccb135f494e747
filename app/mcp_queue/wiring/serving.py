"""Serves the gateway's applications with uvicorn, and reloads API keys on SIGHUP."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import FrameType

import uvicorn
from typing_extensions import override

from mcp_queue.config.settings import Settings
from mcp_queue.domain.errors import ConfigError
from mcp_queue.domain.operators.keys import ApiKey
from mcp_queue.gateway.resources.service.readiness import GatewayReadiness
from mcp_queue.gateway.server.auth import Authenticator
from mcp_queue.gateway.server.connection_limits import GuardedProtocol
from mcp_queue.wiring.ports import AsgiApp, limited, server_config, serving_port

#: Reads the configuration again and returns its keys; raises ``ConfigError`` if it holds a mistake.
KeyReader = Callable[[], Sequence[ApiKey] | None]

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Reports that it is draining as soon as the signal arrives, before it stops accepting connections."""

    def __init__(
        self, app: AsgiApp, settings: Settings, readiness: GatewayReadiness, max_connections: int | None = None
    ) -> None:
        gateway, grace = settings.gateway, int(settings.shutdown_grace.total_seconds()) or 1
        protocol = limited(max_connections or GuardedProtocol.max_connections)
        super().__init__(server_config(app, gateway.host, gateway.port, protocol=protocol, grace_seconds=grace))
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


@contextlib.asynccontextmanager
async def serving_metrics_port(app: AsgiApp | None, settings: Settings) -> AsyncIterator[None]:
    """Serve ``app``, if there is one, on ``GATEWAY_METRICS_PORT`` while the context is open.

    Raises:
        OSError: the address cannot be bound.

    """
    port = settings.gateway.metrics_port
    if app is None or port is None:
        yield
        return
    async with serving_port(app, settings.gateway.host, port):
        yield


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
