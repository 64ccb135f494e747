"""Finds out whether this process should get requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from mcp_queue.domain.errors import BackendUnavailableError, OverloadedError, QueueError

Ping = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadinessReport:
    """What answers: ``ok`` or ``unavailable`` by name."""

    checks: Mapping[str, str]

    @property
    def status(self) -> str:
        """``ok`` if everything answers, else ``degraded``."""
        return "ok" if all(check == "ok" for check in self.checks.values()) else "degraded"


class GatewayReadiness:
    """Asks what the gateway depends on. It is ready if one queue backend answers."""

    def __init__(
        self,
        backends: Mapping[str, Ping],
        others: Mapping[str, Ping] | None = None,
        *,
        time_limit: timedelta = timedelta(seconds=2),
    ) -> None:
        """Ask ``backends`` and, for the report only, ``others``; each has ``time_limit`` to answer."""
        self._backends = backends
        self._others = others or {}
        self._time_limit = time_limit.total_seconds()
        self.started = False  #: set once requests can be served
        self.draining = False  #: set as soon as the process should get no more requests

    async def check(self) -> ReadinessReport:
        """Ask everything at once.

        Raises:
            OverloadedError: the process is starting or draining.
            BackendUnavailableError: no queue backend answers.

        """
        if self.draining or not self.started:
            raise OverloadedError("the gateway is shutting down" if self.draining else "the gateway is starting")
        pings = {**self._backends, **self._others}
        answers = await asyncio.gather(*(self._answers(name, ping) for name, ping in pings.items()))
        checks = {name: "ok" if answer else "unavailable" for name, answer in zip(pings, answers, strict=True)}
        if not any(checks[name] == "ok" for name in self._backends):
            message = f"no queue backend answers: {', '.join(self._backends)}"
            raise BackendUnavailableError(message)
        return ReadinessReport(checks)

    async def _answers(self, name: str, ping: Ping) -> bool:
        try:
            async with asyncio.timeout(self._time_limit):
                await ping()
        except (QueueError, TimeoutError) as error:
            logger.warning("%s does not answer: %s", name, str(error) or "no answer in time")
            return False
        return True
