"""What a task takes along when its enqueue is traced."""

import pytest

from mcp_queue.domain.errors import InvalidTaskError, QueueFullError
from mcp_queue.domain.task import Task
from mcp_queue.ports import Tracer
from mcp_queue.services.enqueueing.request import NewTask
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.enqueueing.submission import Draft, Submission
from mcp_queue.services.queues.manager import QueueManager
from mcp_queue.services.queues.purges import Purges
from mcp_queue.services.queues.stats import only_queued
from mcp_queue.services.tracing import NO_TRACER
from tests.support.clock import NOW
from tests.support.gateway import GatewayKit
from tests.support.traces import TRACEPARENT, RecordedTraces, attributes_of, traceparent_of


@pytest.fixture
def kit() -> GatewayKit:
    """Return queues in memory, of which ``tasks`` holds two tasks."""
    return GatewayKit(max_depth=2)


@pytest.fixture
def traces(kit: GatewayKit) -> RecordedTraces:
    """Return a tracer whose spans are recorded."""
    return RecordedTraces(kit.clock)


def managing(kit: GatewayKit, tracer: Tracer) -> QueueManager:
    """Return a manager of the kit's queues that traces."""
    return QueueManager(
        kit.queues,
        pauses=dict.fromkeys(kit.queues, kit.ledger.queues),
        rules=EnqueueRules(),
        clock=kit.clock,
        metrics=kit.metrics,
        random_bits=lambda _: 0,
        submission=Submission(kit.metrics),
        purges=Purges({}, kit.ledger.queues, kit.clock),
        store=kit.ledger.tasks,
        dead_letters=only_queued,
        tracer=tracer,
    )


async def received(kit: GatewayKit) -> list[Task | None]:
    """Return what lies in ``tasks``."""
    return [delivery.task for delivery in await kit.tasks.receive(10, NOW)]


async def test_a_task_goes_on_from_its_enqueue(kit: GatewayKit, traces: RecordedTraces) -> None:
    """Not from what the client sent, whose step the enqueue is."""
    await managing(kit, traces.tracer).enqueue("tasks", Draft(NewTask(type="a")), traceparent=TRACEPARENT)

    (task,) = await received(kit)
    span = traces.only("queue.enqueue")
    assert task is not None
    assert (traceparent_of(span), attributes_of(span)["task.id"]) == (task.traceparent, task.id)


async def test_a_task_that_is_not_traced_goes_on_from_what_the_client_sent(kit: GatewayKit) -> None:
    """The client's trace loses a step, but does not end here."""
    await managing(kit, NO_TRACER).enqueue("tasks", Draft(NewTask(type="a")), traceparent=TRACEPARENT)

    (task,) = await received(kit)
    assert task is not None
    assert TRACEPARENT == task.traceparent


async def test_tasks_of_a_batch_go_on_from_one_step(kit: GatewayKit, traces: RecordedTraces) -> None:
    """A span for each of a thousand would cost more than sending them."""
    await managing(kit, traces.tracer).enqueue_batch("tasks", [Draft(NewTask(type="a")), Draft(NewTask(type="b"))])

    carried = traceparent_of(traces.only("queue.enqueue"))
    assert [carried, carried] == [task and task.traceparent for task in await received(kit)]


async def test_a_batch_of_which_the_queue_refuses_a_task_has_failed(kit: GatewayKit, traces: RecordedTraces) -> None:
    """What else is in it was taken."""
    tasks = [Draft(NewTask(type=name)) for name in ("a", "b", "too-many")]

    await managing(kit, traces.tracer).enqueue_batch("tasks", tasks)

    assert attributes_of(traces.only("queue.enqueue"))["error.type"] == "QueueFullError"


@pytest.mark.parametrize(
    ("new", "error"),
    [
        (NewTask(type="a"), QueueFullError),
        (NewTask(type="a", deduplication_id="1"), InvalidTaskError),
    ],
)
async def test_an_enqueue_that_is_refused_has_failed(
    kit: GatewayKit, traces: RecordedTraces, new: NewTask, error: type[Exception]
) -> None:
    """By the type of the refusal."""
    manager = managing(kit, NO_TRACER)
    await manager.enqueue_batch("tasks", [Draft(NewTask(type="a")), Draft(NewTask(type="b"))])

    with pytest.raises(error):
        await managing(kit, traces.tracer).enqueue("tasks", Draft(new))

    assert error.__name__ == attributes_of(traces.only("queue.enqueue"))["error.type"]
