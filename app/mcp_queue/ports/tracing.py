"""Traces."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task


class Span(Protocol):
    """A step of a trace that is under way."""

    @property
    def traceparent(self) -> str | None:
        """What goes on from this step, by W3C Trace Context; ``None`` where nothing is traced."""
        ...

    def describe(self, task: Task) -> None:
        """Say which task the step is about."""
        ...

    def failed(self, error: BaseException) -> None:
        """Note that the step failed, and the type of ``error``: its text may hold what a client sent."""
        ...


class Tracer(Protocol):
    """Follows tasks on their way.

    A step ends with its context, is the current one of everything inside, and has failed where an exception leaves it.
    """

    def enqueue(self, queue: QueueSpec, count: int = 1) -> AbstractContextManager[Span]:
        """Put ``count`` tasks into ``queue``: a step of the trace under way, which the tasks carry on."""
        ...

    def received(
        self, queue: QueueSpec, began: float, deliveries: Sequence[Delivery], error: Exception | None = None
    ) -> None:
        """Note a receive that has ended, linked to the trace of each message; one that brought nothing is none.

        ``began`` is a monotonic reading in seconds, ``error`` what the receive failed with.
        """
        ...

    def process(self, queue: QueueSpec, delivery: Delivery, task: Task, attempt: int) -> AbstractContextManager[Span]:
        """Run an attempt (from 1): a step of the trace that ``task`` carries."""
        ...
