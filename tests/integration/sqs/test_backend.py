"""The backend as a whole, on LocalStack."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from aiobotocore.session import AioSession

from mcp_queue.adapters.sqs.backend import SqsBackend
from mcp_queue.domain.delivery import Accepted, Delivery
from mcp_queue.domain.errors import QueueNotFoundError, QueueSetupError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.queues import QueueKind
from mcp_queue.ports import Queue
from tests.support.metrics import CountedCalls
from tests.support.sqs.client import arn_of, create_queue, sqs_backend, sqs_client, sqs_spec
from tests.support.sqs.localstack import LocalStack
from tests.support.tasks import a_task

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import MessageAttributeValueTypeDef

pytestmark = pytest.mark.usefixtures("localstack")

WAIT = timedelta(seconds=3)
NOW = timedelta(0)


async def drain(queue: Queue, number: int) -> list[Delivery]:
    """Receive and complete ``number`` messages."""
    drained: list[Delivery] = []
    while len(drained) < number:
        deliveries = await queue.receive(10, WAIT)
        assert deliveries, f"only {len(drained)} of {number} came"
        await asyncio.gather(*(queue.complete(delivery) for delivery in deliveries))
        drained += deliveries
    return drained


class TestStart:
    """Connecting."""

    async def test_queues_are_found_by_url_arn_and_name(self) -> None:
        """All three lead to the same queue."""
        async with sqs_client() as sqs:
            url = await create_queue(sqs)
            arn = await arn_of(sqs, url)
        specs = [sqs_spec(f"by-{index}", address) for index, address in enumerate([url, arn, url.rpartition("/")[2]])]
        async with sqs_backend(*specs) as backend:
            for spec in specs:
                await backend.queue(spec.name).enqueue(a_task(spec.name))
            received = await drain(backend.queue("by-0"), 3)
        assert {"by-0", "by-1", "by-2"} == {delivery.task.id for delivery in received if delivery.task}

    async def test_the_endpoint_counts_for_more_than_the_host_of_a_url(self) -> None:
        """A URL that another host was given leads to the same emulator."""
        async with sqs_client() as sqs:
            url = await create_queue(sqs)
        elsewhere = f"http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/{url.rpartition('/')[2]}"
        async with sqs_backend(sqs_spec("work", elsewhere)) as backend:
            assert isinstance(await backend.queue("work").enqueue(a_task("t-1")), Accepted)

    async def test_the_endpoint_and_region_may_be_given(
        self, localstack: LocalStack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Then AWS's own variables are not asked."""
        async with sqs_client() as sqs:
            url = await create_queue(sqs)
        for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name)
        async with sqs_backend(sqs_spec("work", url), region="us-east-1", endpoint_url=localstack.url) as backend:
            await backend.queue("work").ping()

    async def test_an_emulator_takes_no_set_up_of_aws(
        self, localstack: LocalStack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its address is enough: any region and any credentials will do."""
        async with sqs_client() as sqs:
            url = await create_queue(sqs)
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        async with sqs_backend(sqs_spec("work", url), endpoint_url=localstack.url) as backend:
            await backend.queue("work").enqueue(a_task("t-1"))

    async def test_a_missing_region_stops_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """AWS cannot be reached without."""
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name)
        with pytest.raises(QueueSetupError, match="region"):
            async with sqs_backend(sqs_spec("work", "work")):
                pass

    async def test_a_queue_that_is_not_there_stops_the_start(self) -> None:
        """By name, and with its address."""
        with pytest.raises(QueueSetupError, match=r"queue 'work' .*nowhere"):
            async with sqs_backend(sqs_spec("work", "nowhere")):
                pass

    async def test_a_queue_of_another_kind_stops_the_start(self) -> None:
        """Neither is a FIFO queue a standard queue nor the other way round."""
        async with sqs_client() as sqs:
            url = await create_queue(sqs, fifo=True)
        with pytest.raises(QueueSetupError, match="configured as standard"):
            async with sqs_backend(sqs_spec("work", url, kind=QueueKind.STANDARD)):
                pass

    async def test_oddities_are_warnings(self) -> None:
        """They stop nothing, and are there to be shown."""
        async with sqs_client() as sqs:
            url, dlq = await create_queue(sqs), await create_queue(sqs)
        async with sqs_backend(sqs_spec("work", url, dead_letter_queue="dlq"), sqs_spec("dlq", dlq)) as backend:
            (warning,) = backend.warnings
        assert "no redrive policy" in warning

    async def test_an_unknown_name_is_no_queue(self) -> None:
        """Priority queues and embedded ones are not here either."""
        with pytest.raises(QueueNotFoundError):
            SqsBackend([], clock=None, random=None, serializer=None, metrics=None).queue("x")  # type: ignore[arg-type]  # none of them is used

    async def test_an_idle_queue_sends_a_task_at_once_in_one_call(self) -> None:
        """No task waits for company."""
        metrics = CountedCalls()
        async with sqs_client() as sqs:
            url = await create_queue(sqs)
        async with sqs_backend(sqs_spec("work", url), metrics=metrics) as backend:
            await backend.queue("work").enqueue(a_task("t-1"))
        assert [("SendMessageBatch", 1)] == metrics.batches


class TestTraffic:
    """Many tasks."""

    async def test_a_thousand_tasks_of_one_batch_are_accepted(self) -> None:
        """In a hundred calls."""
        metrics = CountedCalls()
        async with sqs_client() as sqs:
            url = await create_queue(sqs)
        async with sqs_backend(sqs_spec("work", url), metrics=metrics) as backend:
            verdicts = await backend.queue("work").enqueue_batch([a_task(f"t-{n}") for n in range(1000)])
            received = await drain(backend.queue("work"), 1000)
        assert [Accepted] * 1000 == [type(verdict) for verdict in verdicts]
        assert 100 == len(metrics.outcomes("SendMessageBatch"))
        assert 1000 == len({delivery.task.id for delivery in received if delivery.task})

    async def test_fifty_groups_keep_their_order(self) -> None:
        """While the groups themselves mix."""
        async with sqs_client() as sqs:
            url = await create_queue(sqs, fifo=True)
        async with sqs_backend(sqs_spec("work", url)) as backend:
            tasks = [a_task(f"{group}-{number}", group=str(group)) for number in range(6) for group in range(50)]
            await backend.queue("work").enqueue_batch(tasks)
            received = await drain(backend.queue("work"), len(tasks))
        order = [delivery.task.id.split("-") for delivery in received if delivery.task]
        for group in range(50):
            numbers = [int(number) for name, number in order if name == str(group)]
            assert all(earlier < later for earlier, later in pairwise(numbers))
            assert 6 == len(numbers)

    async def test_a_hop_comes_back_before_it_is_due(self) -> None:
        """The consumer sends it on; the task says when it is due."""
        async with sqs_client() as sqs:
            url = await create_queue(sqs, attributes={"VisibilityTimeout": "30"})
        async with sqs_backend(sqs_spec("work", url)) as backend:
            queue = backend.queue("work")
            due = datetime.now(UTC) + timedelta(hours=1)
            await queue.enqueue(a_task("t-1"))
            (delivery,) = await queue.receive(1, WAIT)
            await queue.retry(delivery, a_task("t-1", scheduled_for=due), timedelta(seconds=1))
            (again,) = await queue.receive(1, WAIT)
        assert again.task is not None
        assert due == again.task.scheduled_for


class TestDeadLetters:
    """Letters across kinds."""

    async def test_a_fifo_queue_may_dead_letter_to_a_standard_queue(self) -> None:
        """By our own doing; SQS's redrive policy could not."""
        async with sqs_client() as sqs:
            url, dlq_url = await create_queue(sqs, fifo=True), await create_queue(sqs)
        async with sqs_backend(sqs_spec("work", url, dead_letter_queue="dlq"), sqs_spec("dlq", dlq_url)) as backend:
            queue, dlq = backend.queue("work"), backend.queue("dlq")
            await queue.enqueue(a_task("t-1", group="g"))
            (delivery,) = await queue.receive(1, WAIT)
            assert delivery.task is not None
            await queue.dead_letter(delivery, dead_letter_message(delivery.task, "boom", datetime.now(UTC), "work"))
            assert 1 == (await queue.stats()).dead_letters
            (dead_letter,) = await dlq.receive(1, WAIT)
        assert dead_letter.task is not None
        assert "boom" == dead_letter.task.metadata["failure_reason"]

    async def test_a_message_that_sqs_moved_back_says_that_it_had_died(self) -> None:
        """The redrive of AWS's console knows nothing of our counters."""
        async with sqs_client() as sqs:
            dlq_url = await create_queue(sqs)
            url = await create_queue(sqs, dead_letters=dlq_url)
            work = sqs_spec("work", url, dead_letter_queue="dlq")
            async with sqs_backend(work, sqs_spec("dlq", dlq_url)) as backend:
                queue = backend.queue("work")
                await queue.enqueue(a_task("t-1"))
                (delivery,) = await queue.receive(1, WAIT)
                assert delivery.task is not None
                await queue.dead_letter(delivery, dead_letter_message(delivery.task, "boom", datetime.now(UTC), "work"))
                source, target = await arn_of(sqs, dlq_url), await arn_of(sqs, url)
                await sqs.start_message_move_task(SourceArn=source, DestinationArn=target)
                (again,) = await queue.receive(1, timedelta(seconds=20))
        assert again.task is not None
        assert "failed_at" in again.task.metadata


async def test_the_age_of_the_oldest_message_is_cloudwatchs_where_it_is_asked() -> None:
    """It is a metric there, and no attribute of the queue."""
    async with sqs_client() as sqs:
        url = await create_queue(sqs)
    now = datetime.now(UTC)
    async with AioSession().create_client("cloudwatch") as cloudwatch:
        await cloudwatch.put_metric_data(
            Namespace="AWS/SQS",
            MetricData=[
                {
                    "MetricName": "ApproximateAgeOfOldestMessage",
                    "Dimensions": [{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
                    "Timestamp": now - timedelta(seconds=90),
                    "Value": 77.0,
                }
            ],
        )
    async with sqs_backend(sqs_spec("work", url, cloudwatch_age=True)) as backend:
        queue = backend.queue("work")
        assert (await queue.stats()).oldest_message_age is None
        await queue.enqueue(a_task("t-1"))
        assert timedelta(seconds=77) == (await queue.stats()).oldest_message_age


async def test_a_message_keeps_its_foreign_binary_attributes_when_it_is_sent_again() -> None:
    """They are received in base64, and sent as bytes."""
    async with sqs_client() as sqs:
        url = await create_queue(sqs)
        binary: dict[str, MessageAttributeValueTypeDef] = {"Blob": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}
        await sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"type": "echo"}), MessageAttributes=binary)
        async with sqs_backend(sqs_spec("work", url, max_receive_count=1)) as backend:
            queue = backend.queue("work")
            (delivery,) = await queue.receive(1, WAIT)
            await queue.release(delivery)
        answer = await sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=3)
    (message,) = answer["Messages"]
    assert binary["Blob"] == message["MessageAttributes"]["Blob"]
