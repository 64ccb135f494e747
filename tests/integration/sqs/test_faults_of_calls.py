"""Calls that SQS refuses, throttles or breaks off, as one queue of the adapter meets them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from aiobotocore.session import AioSession

from mcp_queue.adapters.s3 import S3PayloadStore
from mcp_queue.domain.errors import BackendUnavailableError, QueueSetupError
from mcp_queue.domain.queues import QueueSpec
from tests.support.aws.emulators import use_endpoint
from tests.support.aws.faults import (
    THROTTLED,
    AppliedThenReset,
    FaultProxy,
    ResetAfter,
    fault_proxy,
    first,
)
from tests.support.aws.iam import Account, roles_of
from tests.support.aws.iam_proxy import iam_proxy
from tests.support.clock import NOW, SECOND
from tests.support.sqs.client import create_queue, sqs_backend, sqs_client, sqs_spec
from tests.support.sqs.localstack import LocalStack
from tests.support.tasks import a_task
from tests.support.tools import ROOT

WAIT = timedelta(seconds=3)


@pytest.fixture
async def proxy(localstack: LocalStack) -> AsyncIterator[FaultProxy]:
    """Run a fault proxy in front of LocalStack. Clients that the test makes by itself do not pass through it."""
    async with fault_proxy(localstack.url) as running:
        yield running


async def a_queue(**members: object) -> QueueSpec:
    """Create a standard queue; return its spec."""
    async with sqs_client() as sqs:
        return sqs_spec("work", await create_queue(sqs, "work"), **members)


class TestReceives:
    """Polls that do not end as they should."""

    async def test_a_poll_that_breaks_is_not_asked_again(self, proxy: FaultProxy) -> None:
        """The second one's message would go to nobody: its caller no longer waits when it comes."""
        spec = await a_queue()
        async with sqs_backend(spec, endpoint_url=proxy.url) as backend:
            queue = backend.queue("work")
            await queue.receive(1, NOW)  # a process's first call goes through botocore, further ones past it
            proxy.start_counting()
            proxy.inject("ReceiveMessage", ResetAfter(0.2), first(1))
            with pytest.raises(BackendUnavailableError):
                await queue.receive(1, WAIT)
        assert 1 == proxy.journal.count("ReceiveMessage")

    async def test_a_receive_whose_answer_is_lost_delivers_after_the_lease(self, proxy: FaultProxy) -> None:
        """The message is hidden, for nobody, but not lost."""
        spec = await a_queue(visibility_timeout=SECOND)
        async with sqs_backend(spec, endpoint_url=proxy.url) as backend:
            queue = backend.queue("work")
            await queue.enqueue(a_task("t-1"))
            lost = proxy.inject("ReceiveMessage", AppliedThenReset(), first(2))
            for _ in range(3):
                try:
                    deliveries = await queue.receive(1, WAIT)
                except BackendUnavailableError:
                    continue
                if deliveries:
                    break
            assert ["t-1"] == [delivery.task.id for delivery in deliveries if delivery.task]
            assert lost.struck


class TestThrottling:
    """SQS asks for a pause."""

    async def test_a_throttled_send_makes_few_requests(self, proxy: FaultProxy) -> None:
        """One place backs off. More requests are what SQS asked not to get."""
        spec = await a_queue()
        async with sqs_backend(spec, endpoint_url=proxy.url) as backend:
            await backend.queue("work").enqueue(a_task("first"))
            proxy.start_counting()
            proxy.inject("SendMessageBatch", THROTTLED)
            with pytest.raises(BackendUnavailableError):
                await backend.queue("work").enqueue(a_task("t-1"))
        assert proxy.journal.count("SendMessageBatch") <= 6


class TestDeadLetterQueues:
    """A queue that dead letters are read from."""

    async def test_a_release_never_sends_a_dead_letter_again(self, proxy: FaultProxy) -> None:
        """However often the ledger is away, it stays the message that SQS moved here."""
        async with sqs_client() as sqs:
            dlq = await create_queue(sqs, "dlq")
            work = await create_queue(sqs, "work", dead_letters=dlq)
        specs = sqs_spec("work", work, dead_letter_queue="dlq"), sqs_spec("dlq", dlq)
        async with sqs_backend(*specs, endpoint_url=proxy.url) as backend:
            queue = backend.queue("dlq")
            await queue.enqueue(a_task("t-1"))
            proxy.start_counting()
            for _ in range(4):
                (delivery,) = await queue.receive(1, WAIT)
                await queue.release(delivery)
        assert 0 == proxy.journal.count("SendMessageBatch")


class TestAddresses:
    """Queues that are given by ARN or URL."""

    @pytest.mark.usefixtures("localstack")
    async def test_a_queue_of_another_region_is_refused(self) -> None:
        """A queue of the same name in the region of the settings is another queue."""
        spec = await a_queue()
        assert spec.url is not None
        elsewhere = replace(spec, url=f"arn:aws:sqs:us-west-2:000000000000:{spec.url.rpartition('/')[2]}")
        with pytest.raises(QueueSetupError, match=r"us-west-2.*us-east-1|us-east-1.*us-west-2"):
            async with sqs_backend(elsewhere):
                pass


class TestPayloads:
    """Bodies in S3, with the rights that the consumer has."""

    async def test_a_payload_that_is_gone_makes_its_message_poison(
        self, localstack: LocalStack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """S3 answers 403 for a missing key to those who may not list the bucket; the message must not circulate."""
        spec = await a_queue()
        assert spec.url is not None
        name, bucket = spec.url.rpartition("/")[2], f"payloads-{uuid4().hex[:12]}"
        async with AioSession().create_client("s3") as s3:
            await s3.create_bucket(Bucket=bucket)
        spec = replace(spec, payload_bucket=bucket, max_task_bytes=2_000_000)
        account = Account(tasks=[name], dead_letters=[], bucket=bucket)
        async with iam_proxy(localstack.url, roles_of(ROOT / "deploy" / "terraform", account), account) as proxy:
            use_endpoint(monkeypatch, proxy.url, key="consumer")
            async with (
                S3PayloadStore([bucket], max_bytes=2_000_000) as store,
                sqs_backend(spec, payload_store=store) as backend,
            ):
                await backend.queue("work").enqueue(a_task("t-1", payload="x" * 1_100_000))
                use_endpoint(monkeypatch, localstack.url)
                await _empty(bucket)
                (delivery,) = await backend.queue("work").receive(1, WAIT)
        assert delivery.poison


async def _empty(bucket: str) -> None:
    async with AioSession().create_client("s3") as s3:
        for found in (await s3.list_objects_v2(Bucket=bucket))["Contents"]:
            await s3.delete_object(Bucket=bucket, Key=found["Key"])
