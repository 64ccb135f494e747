"""The consumer's liveness, readiness and metrics, as an ASGI application."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.domain.errors import QueueError
from mcp_queue.ports import Clock, Queue

#: How long one check may take before what it checks counts as not answering.
CHECK_TIME = timedelta(seconds=3)


@dataclass(slots=True)
class ConsumerReadiness:
    """What ``/readyz`` answers from. ``ledger_ok`` is ``None`` where there is no ledger.

    ``failing`` says why settlements were postponed, by queue and settlement.
    """

    polled: Sequence[PolledQueue]
    queues: Sequence[Queue]
    clock: Clock
    failing: Mapping[tuple[str, str], str] = field(default_factory=dict)
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
        for (queue, settlement), reason in self.failing.items():
            checks[f"settle:{queue}"] = f"{settlement} fails: {reason}"
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


_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_Answer: TypeAlias = tuple[int, str, bytes]  # status, media type, body

_JSON = "application/json"


class HealthApp:
    """Answers GET and HEAD of ``/healthz``, ``/readyz`` and ``/metrics``."""

    def __init__(self, readiness: ConsumerReadiness, render_metrics: Callable[[], tuple[bytes, str]]) -> None:
        """Return the metrics that ``render_metrics`` returns, with their media type."""
        self._readiness = readiness
        self._render_metrics = render_metrics

    async def __call__(self, scope: _Message, _receive: _Receive, send: _Send) -> None:
        """Answer one HTTP request."""
        status, media_type, body = await self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, method: str, path: str) -> _Answer:
        if path not in {"/healthz", "/readyz", "/metrics"}:
            return 404, _JSON, b'{"detail": "there is nothing at this path"}'
        if method not in {"GET", "HEAD"}:
            return 405, _JSON, b'{"detail": "use GET"}'
        if path == "/metrics":
            body, media_type = self._render_metrics()
            return 200, media_type, body
        if path == "/healthz":
            return 200, _JSON, b'{"status": "ok"}'
        ready, checks = await self._readiness.check()
        return 200 if ready else 503, _JSON, json.dumps(checks).encode()
