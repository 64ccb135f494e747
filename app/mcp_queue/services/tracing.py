"""What stands in for a tracer where nothing is traced: it costs a call, and makes no object."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from typing_extensions import override

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.ports import Tracer


class _NoSpan:
    __slots__ = ()

    traceparent = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let every exception pass."""

    def describe(self, task: Task) -> None:
        """Ignore it."""

    def failed(self, error: BaseException) -> None:
        """Ignore it."""


_NO_SPAN: Final = _NoSpan()


class _NoTracer(Tracer):
    __slots__ = ()

    @override
    def enqueue(self, queue: QueueSpec, count: int = 1) -> _NoSpan:
        return _NO_SPAN

    @override
    def received(
        self, queue: QueueSpec, began: float, deliveries: Sequence[Delivery], error: Exception | None = None
    ) -> None:
        """Ignore it."""

    @override
    def process(self, queue: QueueSpec, delivery: Delivery, task: Task, attempt: int) -> _NoSpan:
        return _NO_SPAN


NO_TRACER: Final[Tracer] = _NoTracer()
