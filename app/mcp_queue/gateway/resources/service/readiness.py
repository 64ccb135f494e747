"""Finds out whether this process should get requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from mcp_queue.domain.errors import BackendRefusedError, BackendUnavailableError, OverloadedError, QueueError
from mcp_queue.ports import Clock, Queue

Ping = Callable[[], Awaitable[None]]

_OK, _REFUSED, _UNAVAILABLE = "ok", "refused", "unavailable"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadinessReport:
    """What answers: ``ok`` or ``unavailable`` for each backend, and the names of what does not work."""

    checks: Mapping[str, str]
    degraded: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """``ok`` if everything works, else ``degraded``."""
        return "degraded" if self.degraded else "ok"


class GatewayReadiness:
    """Asks what the gateway depends on. It is ready if the backend of one task queue answers.

    A backend that refuses a queue, such as one that does not exist, answers: other queues may work.
    """

    def __init__(
        self,
        queues: Mapping[str, Queue],
        others: Mapping[str, Ping] | None = None,
        *,
        clock: Clock,
        time_limit: timedelta = timedelta(seconds=2),
        lifetime: timedelta = timedelta(seconds=10),
    ) -> None:
        """Ask ``queues`` and, for the report only, ``others``; each has ``time_limit`` to answer.

        What they answered counts for ``lifetime``, however often it is asked for.
        """
        self._queues = queues
        self._others = others or {}
        self._clock = clock
        self._time_limit = time_limit.total_seconds()
        self._lifetime = lifetime.total_seconds()
        self._asking = asyncio.Lock()
        self._asked_at: float | None = None
        self._states: Mapping[str, str] = {}
        self.started = False  #: set once requests can be served
        self.draining = False  #: set as soon as the process should get no more requests

    async def check(self) -> ReadinessReport:
        """Return what was answered lately, or ask everything at once.

        Raises:
            OverloadedError: the process is starting or draining.
            BackendUnavailableError: no queue backend answers.

        """
        if self.draining or not self.started:
            raise OverloadedError("the gateway is shutting down" if self.draining else "the gateway is starting")
        async with self._asking:
            if self._asked_at is None or self._clock.monotonic() - self._asked_at >= self._lifetime:
                self._states = await self._ask()
                self._asked_at = self._clock.monotonic()
        return self._report()

    def _report(self) -> ReadinessReport:
        backends: dict[str, str] = {}
        for name, queue in self._queues.items():
            backend, answers = queue.spec.backend.value, self._states[name] != _UNAVAILABLE
            backends[backend] = _OK if answers or backends.get(backend) == _OK else _UNAVAILABLE
        if _OK not in backends.values():
            message = f"no queue backend answers: {', '.join(backends)}"
            raise BackendUnavailableError(message)
        checks = {**backends, **{name: self._states[name] for name in self._others}}
        return ReadinessReport(checks, tuple(name for name, state in self._states.items() if state != _OK))

    async def _ask(self) -> Mapping[str, str]:
        pings = {name: queue.ping for name, queue in self._queues.items()} | dict(self._others)
        states = await asyncio.gather(*(self._state(name, ping) for name, ping in pings.items()))
        return dict(zip(pings, states, strict=True))

    async def _state(self, name: str, ping: Ping) -> str:
        try:
            async with asyncio.timeout(self._time_limit):
                await ping()
        except BackendRefusedError as error:
            logger.warning("%s cannot be used: %s", name, error)
            return _REFUSED
        except (QueueError, TimeoutError) as error:
            logger.warning("%s does not answer: %s", name, str(error) or "no answer in time")
            return _UNAVAILABLE
        return _OK
