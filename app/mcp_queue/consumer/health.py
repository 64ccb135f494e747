"""Serves the consumer's liveness, readiness and metrics over HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from aiohttp import web

from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.domain.errors import QueueError
from mcp_queue.ports import Clock, Queue

#: How long one check may take before what it checks counts as not answering.
CHECK_TIME = timedelta(seconds=3)


@dataclass(slots=True)
class ConsumerReadiness:
    """What ``/readyz`` answers from. ``ledger_ok`` is ``None`` where there is no ledger."""

    polled: Sequence[PolledQueue]
    queues: Sequence[Queue]
    clock: Clock
    started: bool = False
    draining: bool = False
    ledger_ok: Callable[[], bool] | None = None
    checks: dict[str, str] = field(default_factory=dict)

    async def check(self) -> tuple[bool, dict[str, object]]:
        """Return whether the process does its work, and how each part of it is."""
        pings = await asyncio.gather(*(_ping(queue) for queue in self.queues))
        checks = {
            f"queue:{queue.spec.name}": "ok" if ok else "down" for queue, ok in zip(self.queues, pings, strict=True)
        }
        now = self.clock.monotonic()
        for each in self.polled:
            if each.stuck(now):
                checks[f"receive:{each.queue.spec.name}"] = "stuck"
        if self.ledger_ok is not None:
            checks["ledger"] = "ok" if self.ledger_ok() else "down"
        if not self.started or self.draining:
            checks["process"] = "draining" if self.draining else "starting"
        stuck = bool(self.polled) and all(each.stuck(now) or each.paused for each in self.polled)
        stuck = stuck and not all(each.paused for each in self.polled)
        ready = self.started and not self.draining and not stuck and (any(pings) or not pings)
        status = "ok" if all(value == "ok" for value in checks.values()) else "degraded"
        return ready, {"status": status if ready else "unavailable", "checks": checks}


async def _ping(queue: Queue) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIME.total_seconds()):
            await queue.ping()
    except (QueueError, TimeoutError):
        return False
    return True


@contextlib.asynccontextmanager
async def serving(
    host: str, port: int, readiness: ConsumerReadiness, render_metrics: Callable[[], tuple[bytes, str]]
) -> AsyncIterator[int]:
    """Serve while the context is open; yield the port, which is a free one where ``port`` is 0.

    Raises:
        OSError: the address cannot be bound.

    """
    app = web.Application()
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz(readiness))
    app.router.add_get("/metrics", _metrics(render_metrics))
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


Handler = Callable[[web.Request], Awaitable[web.Response]]


def _readyz(readiness: ConsumerReadiness) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        ready, body = await readiness.check()
        return web.json_response(body, status=200 if ready else 503)

    return handle


def _metrics(render: Callable[[], tuple[bytes, str]]) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        body, content_type = render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    return handle
