"""What traces nothing."""

import pytest

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.services.tracing import NO_TRACER
from tests.support.clock import START

QUEUE = QueueSpec(name="tasks", kind=QueueKind.STANDARD, backend=Backend.MEMORY)
TASK = Task(id="t1", type="job", queue="tasks", created_at=START)
DELIVERY = Delivery(queue="tasks", message_id="m", receipt_handle="r", body="", receive_count=1, leased_at=0)


def test_a_step_that_is_not_traced_gives_nothing_to_go_on_from() -> None:
    """So that the client's own header goes on unchanged."""
    with NO_TRACER.enqueue(QUEUE) as step:
        step.describe(TASK)
        step.failed(ValueError())

        assert step.traceparent is None


def test_a_step_that_is_not_traced_lets_exceptions_pass() -> None:
    """It swallows none."""
    error = ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"), NO_TRACER.process(QUEUE, DELIVERY, TASK, 1):
        raise error


def test_steps_that_are_not_traced_are_all_one_object() -> None:
    """Off is free."""
    NO_TRACER.received(QUEUE, 0, [DELIVERY])

    assert NO_TRACER.enqueue(QUEUE, 2) is NO_TRACER.process(QUEUE, DELIVERY, TASK, 1)
