"""The gateway's server."""

import asyncio
import signal
from dataclasses import replace

from mcp_queue.config import load_settings
from mcp_queue.gateway.resources.service.readiness import GatewayReadiness
from mcp_queue.testing import FakeClock
from mcp_queue.wiring.process import Signals
from mcp_queue.wiring.serving import Server
from tests.support.clock import START
from tests.support.gateway import GatewayKit
from tests.support.http.application import PATIENCE


async def test_a_signal_before_the_server_listens_stops_it() -> None:
    """It comes while signals are heard, and before uvicorn has handlers of its own."""
    settings = load_settings({})
    settings = replace(settings, gateway=settings.gateway.model_copy(update={"port": 0}))
    readiness, signals = GatewayReadiness({}, clock=FakeClock(START)), Signals()
    server = Server(GatewayKit().app, settings, readiness)

    with signals.heard():
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await signals.stop.wait()
            await server.serve_until(signals.stop)

    assert readiness.draining
