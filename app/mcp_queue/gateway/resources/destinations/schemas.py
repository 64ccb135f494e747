"""Answers about destinations of callbacks."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from mcp_queue.domain.callbacks.breaker import BreakerState
from mcp_queue.domain.operators.audit import DestinationView
from mcp_queue.gateway.answers import View


class ConsumerReport(View):
    """What one consumer sees of a destination."""

    consumer: str
    state: Annotated[BreakerState, Field(description="Its circuit breaker.")]
    reported_at: datetime
    calls: Annotated[int, Field(description="In the last 30 s.")]
    failures: Annotated[int, Field(description="Calls among them that failed.")]
    open_until: datetime | None
    in_flight: Annotated[int, Field(description="Calls under way.")]
    waiting: Annotated[int, Field(description="Tasks held by the consumer until the destination may be called.")]
    deferred: Annotated[int, Field(description="Tasks deferred so far.")]


class DestinationModel(View):
    """Where callbacks are sent: scheme, host and port, or the name of a route."""

    name: str
    paused: bool
    consumers: list[ConsumerReport]

    @classmethod
    def of(cls, destination: DestinationView) -> Self:
        """Return what an operator sees of ``destination``."""
        consumers = [
            ConsumerReport.model_validate({
                "consumer": report.consumer,
                "state": report.state,
                "reported_at": report.reported_at,
                **report.figures,
            })
            for report in destination.reports
        ]  # fmt: skip
        return cls(name=destination.name, paused=destination.paused, consumers=consumers)


class DestinationList(View):
    """Destinations that consumers reported in the last 30 s, and those that are paused."""

    destinations: list[DestinationModel]
    next_cursor: None
