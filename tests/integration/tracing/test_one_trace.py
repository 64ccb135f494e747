"""One trace from the client's request through the queue and a retry to the callback, in both processes."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.http.receiver import Answer, Receiver
from tests.support.processes.stack import Stack, running_stack
from tests.support.sqs.client import create_queue, sqs_client
from tests.support.sqs.localstack import LocalStack
from tests.support.traces import Collector, Kind, ReceivedSpan

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT = "b7ad6b7169203331"
SECRET = "nothing for a trace"
GATEWAY, CONSUMER = "mcp-queue-gateway", "mcp-queue-consumer"


@dataclass(frozen=True)
class System:
    """Both processes on one backend, and that backend's name in traces."""

    stack: Stack
    name: str

    async def post(self, body: Any) -> Any:
        """Enqueue as a client that traces does; return the answer."""
        headers = {"traceparent": f"00-{TRACE}-{CLIENT}-01"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.stack.gateway.url}/v1/queues/tasks/tasks", json=body, headers=headers) as response,
        ):
            return await response.json()

    def log_lines(self, message: str) -> list[dict[str, Any]]:
        """Return the consumer's log lines that begin with ``message``."""
        lines = map(json.loads, self.stack.consumer.log.read_text().splitlines())
        return [line for line in lines if line["message"].startswith(message)]


@pytest.fixture
async def embedded(tmp_path: Path, collector: Collector) -> AsyncIterator[System]:
    """Run both processes on the embedded queue."""
    async with running_stack(tmp_path, **collector.variables) as stack:
        yield System(stack, "sqlite")


@pytest.fixture
async def on_sqs(tmp_path: Path, collector: Collector, localstack: LocalStack) -> AsyncIterator[System]:
    """Run both processes on SQS."""
    async with sqs_client() as sqs:
        dead_letters = await create_queue(sqs)
        url = await create_queue(sqs, dead_letters=dead_letters)
    urls = {"tasks": url, "dlq": dead_letters}
    queues = [{"name": name, "type": "standard", "url": at} for name, at in urls.items()]
    config = json.dumps({"queue": {"sqs": {"queues": queues}}})
    # A drain awaits open polls, which would keep the test waiting.
    variables = {**localstack.environment(), **collector.variables, "SQS_WAIT_TIME_SECONDS": "1s"}
    async with running_stack(tmp_path, config, **variables) as stack:
        yield System(stack, "aws_sqs")


@pytest.fixture(params=["embedded", "on_sqs"])
def system(request: pytest.FixtureRequest) -> System:
    """Run both processes, on each backend."""
    found: System = request.getfixturevalue(request.param)
    return found


def told(spans: list[ReceivedSpan], *names: str) -> list[tuple[Any, ...]]:
    """Return these attributes of each span."""
    return [tuple(span.attributes.get(name) for name in names) for span in spans]


def placed(spans: list[ReceivedSpan]) -> list[tuple[str, Kind, str, str]]:
    """Return where each span stands: its process, its kind, its trace and its parent."""
    return [(span.service, span.kind, span.trace_id, span.parent) for span in spans]


async def twice_called(collector: Collector) -> None:
    """Wait for the request, the enqueue, and receive, attempt and callback twice."""
    await collector.until(lambda: len(collector.spans) == 8)


async def test_one_trace_leads_from_the_client_over_a_retry_to_the_callback(
    system: System, collector: Collector, receiver: Receiver
) -> None:
    """Every step goes on from the one before; both attempts from the enqueue, whose context the retry keeps.

    A receive has a trace of its own, since other messages may come with it, and is linked to what it brought.
    """
    receiver.script("/hook", Answer(status=503), Answer(status=200))

    task = await system.post({"type": "remote", "callback_url": receiver.url("/hook")})
    calls = await receiver.arrived(2)
    await twice_called(collector)

    (request,), (enqueue,) = collector.named("POST /v1/queues/{queue}/tasks"), collector.named("queue.enqueue")
    receives, attempts = collector.named("queue.receive"), collector.named("queue.process_task")
    callbacks = collector.named("callback")
    assert [(GATEWAY, Kind.SERVER, TRACE, CLIENT)] == placed([request])
    assert [(GATEWAY, Kind.PRODUCER, TRACE, request.span_id)] == placed([enqueue])
    assert [(CONSUMER, Kind.CONSUMER, TRACE, enqueue.span_id)] * 2 == placed(attempts)
    assert [(CONSUMER, Kind.CLIENT, TRACE, attempt.span_id) for attempt in attempts] == placed(callbacks)
    assert [span.traceparent for span in callbacks] == [call.headers["traceparent"] for call in calls]
    assert [(CONSUMER, Kind.CLIENT, span.trace_id, "") for span in receives] == placed(receives)
    assert [[(TRACE, enqueue.span_id)]] * 2 == [span.links for span in receives]
    described = ("task.id", "task.type", "messaging.system", "messaging.destination.name", "messaging.operation.type")
    expected = (task["id"], "remote", system.name, "tasks")
    assert [(*expected, "send")] == told([enqueue], *described)
    assert [(*expected, "process")] * 2 == told(attempts, *described)


async def test_failures_are_noted_without_what_clients_sent(
    embedded: System, collector: Collector, receiver: Receiver
) -> None:
    """By the type of the error and the status; no span holds a payload, or the path and query of a callback."""
    receiver.script("/hook", Answer(status=503, body=SECRET), Answer(status=404, body=SECRET))

    url = receiver.url(f"/hook?token={CLIENT}")
    await embedded.post({"type": "remote", "payload": SECRET, "callback_url": url})
    await twice_called(collector)

    attempts, callbacks = collector.named("queue.process_task"), collector.named("callback")
    errors = ["CallbackFailedError", "CallbackRejectedError"]
    assert [(1, errors[0]), (2, errors[1])] == told(attempts, "task.attempt", "error.type")
    assert [(503, errors[0]), (404, errors[1])] == told(callbacks, "http.response.status_code", "error.type")
    assert all(span.failed for span in [*attempts, *callbacks])
    assert not any(SECRET in span.text or "token" in span.text for span in collector.spans)


async def test_log_lines_of_an_attempt_carry_the_id_of_its_trace(
    embedded: System, collector: Collector, receiver: Receiver
) -> None:
    """So do problems that the gateway answers with."""
    receiver.script("/hook", Answer(status=503), Answer(status=200))

    await embedded.post({"type": "remote", "callback_url": receiver.url("/hook")})
    await twice_called(collector)

    assert [TRACE] == [line["trace_id"] for line in embedded.log_lines("attempt ended retrying")]
    assert TRACE == (await embedded.post({"type": "not a type"}))["trace_id"]


HANDLER = """
from opentelemetry import trace
from mcp_queue import Task, TaskRouter

router = TaskRouter()

@router.task("own")
def work(task: Task) -> None:
    with trace.get_tracer("own").start_as_current_span("own step"):
        pass
"""


async def test_spans_that_a_handler_makes_itself_join_the_trace(tmp_path: Path, collector: Collector) -> None:
    """By OpenTelemetry's API alone, and also in the thread of a sync handler."""
    (tmp_path / "own_handlers.py").write_text(HANDLER)
    variables = {**collector.variables, "QUEUE_HANDLERS": "own_handlers", "PYTHONPATH": str(tmp_path)}
    async with running_stack(tmp_path, **variables) as stack:
        await System(stack, "sqlite").post({"type": "own"})
        await collector.until(lambda: len(collector.spans) == 5)

    (attempt,), (own,) = collector.named("queue.process_task"), collector.named("own step")
    assert [(CONSUMER, Kind.INTERNAL, TRACE, attempt.span_id)] == placed([own])


async def test_what_ends_last_is_sent_before_the_process_ends(
    tmp_path: Path, collector: Collector, receiver: Receiver
) -> None:
    """However rarely spans are sent; nobody who watches over the processes is traced."""
    variables = {**collector.variables, "OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_SERVICE_NAME": "mine"}
    async with running_stack(tmp_path, **variables) as stack:
        await System(stack, "sqlite").post({"type": "remote", "callback_url": receiver.url("/hook")})
        await receiver.arrived()
        assert [] == collector.spans

    expected = {"POST /v1/queues/{queue}/tasks", "queue.enqueue", "queue.receive", "queue.process_task", "callback"}
    assert expected == {span.name for span in collector.spans}
    assert {"mine"} == {span.service for span in collector.spans}
