"""Every call of a queue with every fault: nothing is lost, every call ends, and SQS gets few requests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import BackendUnavailableError, TryLaterError
from mcp_queue.ports import Queue
from tests.support.aws.faults import (
    DENIED,
    FAILING,
    KMS_DENIED,
    KMS_DISABLED,
    KMS_NOT_FOUND,
    KMS_THROTTLED,
    NO_QUEUE,
    REQUEST_THROTTLED,
    THROTTLED,
    UNAVAILABLE,
    AppliedThenReset,
    Fault,
    FaultProxy,
    NoAnswer,
    Refuse,
    Reset,
    fault_proxy,
    first,
    without_header,
)
from tests.support.clock import SECOND
from tests.support.sqs.client import create_queue, sqs_backend, sqs_client, sqs_spec
from tests.support.sqs.localstack import LocalStack
from tests.support.tasks import a_task

WAIT = timedelta(seconds=3)


@dataclass(frozen=True)
class Subject:
    """A queue behind a fault proxy, with one message in it that was received."""

    proxy: FaultProxy
    queue: Queue
    delivery: Delivery


async def send(subject: Subject) -> None:
    """Enqueue a task."""
    await subject.queue.enqueue(a_task("sent"))


async def receive(subject: Subject) -> None:
    """Poll for a moment."""
    await subject.queue.receive(1, timedelta(0))


async def delete(subject: Subject) -> None:
    """Complete the delivery."""
    await subject.queue.complete(subject.delivery)


async def hide(subject: Subject) -> None:
    """Extend the delivery's lease."""
    await subject.queue.extend(subject.delivery, 60 * SECOND)


async def count(subject: Subject) -> None:
    """Ask for the counts."""
    await subject.queue.stats()


async def purge(subject: Subject) -> None:
    """Empty the queue."""
    await subject.queue.purge()


Act = Callable[[Subject], Awaitable[None]]
ACTS = [
    pytest.param("SendMessageBatch", send, id="send"),
    pytest.param("ReceiveMessage", receive, id="receive"),
    pytest.param("DeleteMessageBatch", delete, id="delete"),
    pytest.param("ChangeMessageVisibilityBatch", hide, id="hide"),
    pytest.param("GetQueueAttributes", count, id="count"),
    pytest.param("PurgeQueue", purge, id="purge"),
]
DEFINITE = [
    pytest.param(Refuse(DENIED), id="denied"),
    pytest.param(Refuse(KMS_DISABLED), id="key disabled"),
    pytest.param(Refuse(KMS_DENIED), id="key denied"),
    pytest.param(without_header(KMS_NOT_FOUND), id="key gone, without the header"),
    pytest.param(Refuse(NO_QUEUE), id="no queue"),
    pytest.param(without_header(NO_QUEUE), id="no queue, without the header"),
]
PASSING = [
    pytest.param(Refuse(THROTTLED), id="throttled"),
    pytest.param(Refuse(REQUEST_THROTTLED), id="request throttled"),
    pytest.param(Refuse(KMS_THROTTLED), id="key throttled"),
    pytest.param(Refuse(FAILING), id="500"),
    pytest.param(Refuse(UNAVAILABLE), id="503"),
    pytest.param(Reset(), id="reset"),
    pytest.param(AppliedThenReset(), id="applied, then reset"),
]


@pytest.fixture
async def subject(localstack: LocalStack) -> AsyncIterator[Subject]:
    """Provide a queue whose message was received, and whose calls were all made once, so that botocore is passed by."""
    async with sqs_client() as sqs:
        spec = sqs_spec("work", await create_queue(sqs, "work"), visibility_timeout=60 * SECOND)
    async with fault_proxy(localstack.url) as proxy, sqs_backend(spec, endpoint_url=proxy.url) as backend:
        queue = backend.queue("work")
        await queue.enqueue(a_task("held"))
        (delivery,) = await queue.receive(1, WAIT)
        proxy.start_counting()
        yield Subject(proxy, queue, delivery)


async def assert_nothing_is_lost(subject: Subject) -> None:
    """Release the delivery and receive it again."""
    subject.proxy.heal()
    await subject.queue.release(subject.delivery)
    (again,) = await subject.queue.receive(1, WAIT)
    assert again.task is not None
    assert "held" == again.task.id


@pytest.mark.parametrize("fault", DEFINITE)
@pytest.mark.parametrize(("operation", "act"), ACTS)
async def test_a_definite_refusal_is_told_at_once(subject: Subject, operation: str, act: Act, fault: Fault) -> None:
    """It is asked for at most twice: once directly, once by botocore, which may have newer credentials."""
    subject.proxy.inject(operation, fault)
    with pytest.raises(BackendUnavailableError):
        await act(subject)
    assert subject.proxy.journal.count(operation) <= 2
    await assert_nothing_is_lost(subject)


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize(("operation", "act"), ACTS)
async def test_a_passing_fault_is_got_over_or_told(subject: Subject, operation: str, act: Act, fault: Fault) -> None:
    """A call that SQS did not do, or did without saying so, ends well or with an error that says to try again."""
    subject.proxy.inject(operation, fault, first(1))
    with contextlib.suppress(TryLaterError):
        await act(subject)
    assert subject.proxy.journal.count(operation) <= 4
    if act not in (delete, purge):
        await assert_nothing_is_lost(subject)


async def test_calls_without_an_answer_end(subject: Subject) -> None:
    """Each within its own deadline, and none waits for another."""
    subject.proxy.inject("*", NoAnswer())
    acts = (send, delete, hide, count, purge)
    async with asyncio.timeout(25):
        results = await asyncio.gather(*(act(subject) for act in acts), return_exceptions=True)
    assert [True] * len(acts) == [isinstance(result, BackendUnavailableError) for result in results]
    assert subject.proxy.journal.count() <= 4 * len(acts)
    await assert_nothing_is_lost(subject)
