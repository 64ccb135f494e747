"""The banner that ``dev`` prints once the gateway is reachable."""

import asyncio
import json
import shlex
from datetime import timedelta

from mcp_queue.config import Settings
from mcp_queue.domain.queues import QueueKind

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared with, never listened on
_INTERVAL_SECONDS = 0.1


async def wait_for(host: str, port: int, limit: timedelta) -> bool:
    """Return whether something listens at ``host`` and ``port`` within ``limit``."""
    try:
        async with asyncio.timeout(limit.total_seconds()):
            while True:
                if await _listens(host, port):
                    return True
                await asyncio.sleep(_INTERVAL_SECONDS)
    except TimeoutError:
        return False


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def reachable(host: str) -> str:
    """Return the address at which this machine reaches what listens on ``host``."""
    return _WILDCARDS.get(host, host)


def banner(settings: Settings) -> str:
    """Return the addresses of both processes, and a command to try."""
    url = _url(settings.gateway.host, settings.gateway.port)
    queue = next(
        spec.name
        for spec in sorted(settings.queues, key=lambda spec: spec.kind is not QueueKind.STANDARD)
        if spec.name not in settings.dead_letter_queues and spec.name == spec.public_name
    )
    task = json.dumps({"type": "echo", "payload": {"hello": "world"}})
    curl = f"curl {url}/v1/queues/{queue}/tasks -H 'Content-Type: application/json' -d {shlex.quote(task)}"
    networks = ", ".join(str(network) for network in settings.callbacks.egress.allowed_networks)
    return "\n".join([
        "",
        f"  Swagger UI  {url}/docs",
        f"  Consumer    {_url(settings.consumer.host, settings.consumer.port)}/readyz",
        f"  Callbacks   may reach {networks} as well as public addresses",
        f"  Try it      {curl}",
        "  Ctrl-C stops both.",
        "",
    ])  # fmt: skip


def _url(host: str, port: int) -> str:
    host = reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
