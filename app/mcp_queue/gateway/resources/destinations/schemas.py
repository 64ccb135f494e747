"""What answers about destinations look like."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from mcp_queue.domain.callbacks.breaker import BreakerState


class ConsumerReport(BaseModel):
    """What one consumer sees of a destination."""

    consumer: str
    state: Annotated[BreakerState, Field(description="Its circuit breaker.")]
    reported_at: datetime
    calls: Annotated[int, Field(description="In the last 30 s.")]
    failures: Annotated[int, Field(description="Of those.")]
    open_until: datetime | None
    in_flight: Annotated[int, Field(description="Calls under way.")]
    waiting: Annotated[int, Field(description="Tasks held by the consumer until the destination may be called.")]
    deferred: Annotated[int, Field(description="Tasks that were put off so far.")]


class DestinationModel(BaseModel):
    """Whom callbacks go to: scheme, host and port, or the name of a route."""

    name: str
    paused: bool
    consumers: list[ConsumerReport]


class DestinationList(BaseModel):
    """Destinations that consumers told of in the last 30 s, and those that are paused."""

    destinations: list[DestinationModel]
    next_cursor: None
