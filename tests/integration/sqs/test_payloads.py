"""Large payloads, by way of LocalStack's S3."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from aiobotocore.session import AioSession

from mcp_queue.adapters.s3 import S3PayloadStore
from mcp_queue.domain.errors import BackendUnavailableError, InvalidTaskError, NotFoundError, TaskTooLargeError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.ports import PayloadPointer
from tests.support.sqs.client import create_queue, sqs_backend, sqs_client, sqs_spec
from tests.support.sqs.localstack import LocalStack
from tests.support.tasks import a_task

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

pytestmark = pytest.mark.usefixtures("localstack")

MEGABYTE = 1024 * 1024
WAIT = timedelta(seconds=3)


async def create_bucket(s3: "S3Client") -> str:
    """Create a bucket under a name of its own."""
    name = f"payloads-{uuid4().hex[:12]}"
    await s3.create_bucket(Bucket=name)
    return name


async def tags_of(s3: "S3Client", pointer: PayloadPointer) -> dict[str, str]:
    """Return the tags of an object."""
    answer = await s3.get_object_tagging(Bucket=pointer.bucket, Key=pointer.key)
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


async def test_a_payload_of_five_megabytes_goes_through_s3_and_back() -> None:
    """The queue carries a pointer in the form of the Extended Client Library; the object stays after completion."""
    async with AioSession().create_client("s3") as s3, sqs_client() as sqs:
        bucket, url = await create_bucket(s3), await create_queue(sqs)
        spec = sqs_spec("work", url, payload_bucket=bucket, max_task_bytes=16 * MEGABYTE)
        async with (
            S3PayloadStore([bucket], max_bytes=16 * MEGABYTE) as store,
            sqs_backend(spec, payload_store=store) as backend,
        ):
            queue = backend.queue("work")
            task = a_task("t-1", payload="x" * 5 * MEGABYTE)
            await queue.enqueue(task)
            (delivery,) = await queue.receive(1, WAIT)
            assert task == delivery.task
            await queue.complete(delivery)
        (stored,) = (await s3.list_objects_v2(Bucket=bucket))["Contents"]
        assert stored["Size"] > 5 * MEGABYTE
        head = await s3.head_object(Bucket=bucket, Key=stored["Key"])
        assert head["ServerSideEncryption"], "by the setting of the bucket"
        assert {"mcp-queue": "passing"} == await tags_of(s3, PayloadPointer(bucket, stored["Key"]))


async def test_a_large_dead_letter_is_kept_from_the_lifecycle_rule() -> None:
    """Its object carries another tag than the rule's."""
    async with AioSession().create_client("s3") as s3, sqs_client() as sqs:
        bucket, url, dlq_url = await create_bucket(s3), await create_queue(sqs), await create_queue(sqs)
        spec = sqs_spec("work", url, payload_bucket=bucket, max_task_bytes=16 * MEGABYTE, dead_letter_queue="dlq")
        async with (
            S3PayloadStore([bucket], max_bytes=16 * MEGABYTE) as store,
            sqs_backend(spec, sqs_spec("dlq", dlq_url), payload_store=store) as backend,
        ):
            queue = backend.queue("work")
            await queue.enqueue(a_task("t-1", payload="x" * 2 * MEGABYTE))
            (delivery,) = await queue.receive(1, WAIT)
            assert delivery.task is not None
            await queue.dead_letter(delivery, dead_letter_message(delivery.task, "boom", datetime.now(UTC), "work"))
            (dead_letter,) = await backend.queue("dlq").receive(1, WAIT)
        assert dead_letter.task is not None
        assert "boom" == dead_letter.task.metadata["failure_reason"]
        pointers = [
            PayloadPointer(bucket, entry["Key"]) for entry in (await s3.list_objects_v2(Bucket=bucket))["Contents"]
        ]
        tags = [(await tags_of(s3, pointer))["mcp-queue"] for pointer in pointers]
        assert ["kept", "passing"] == sorted(tags)


async def test_without_a_bucket_a_large_task_is_refused_with_both_sizes() -> None:
    """The limit is SQS's, less the room for retries."""
    async with sqs_client() as sqs:
        url = await create_queue(sqs)
    async with sqs_backend(sqs_spec("work", url)) as backend:
        with pytest.raises(TaskTooLargeError) as refusal:
            await backend.queue("work").enqueue(a_task("t-1", payload="x" * (MEGABYTE - 1000)))
    assert (MEGABYTE - 8192) == refusal.value.limit
    assert refusal.value.actual > refusal.value.limit


class TestStore:
    """The store alone."""

    async def test_a_kept_object_is_tagged_so(self) -> None:
        """At first, or later."""
        async with AioSession().create_client("s3") as s3:
            bucket = await create_bucket(s3)
            async with S3PayloadStore([bucket], max_bytes=MEGABYTE) as store:
                passing, kept = await store.put(bucket, "a"), await store.put(bucket, "b", keep=True)
                assert [{"mcp-queue": "passing"}, {"mcp-queue": "kept"}] == [
                    await tags_of(s3, passing),
                    await tags_of(s3, kept),
                ]
                await store.keep(passing)
                assert {"mcp-queue": "kept"} == await tags_of(s3, passing)

    async def test_an_object_that_is_gone_is_not_found(self) -> None:
        """And needs no keeping."""
        async with AioSession().create_client("s3") as s3:
            bucket = await create_bucket(s3)
        async with S3PayloadStore([bucket], max_bytes=MEGABYTE) as store:
            with pytest.raises(NotFoundError):
                await store.get(PayloadPointer(bucket, "gone"))
            await store.keep(PayloadPointer(bucket, "gone"))

    async def test_other_buckets_are_not_read(self) -> None:
        """Whoever may write to a queue must not read by our rights."""
        async with AioSession().create_client("s3") as s3:
            bucket, other = await create_bucket(s3), await create_bucket(s3)
            await s3.put_object(Bucket=other, Key="secret", Body=b"{}")
        async with S3PayloadStore([bucket], max_bytes=MEGABYTE) as store:
            with pytest.raises(NotFoundError, match="no bucket of this configuration"):
                await store.get(PayloadPointer(other, "secret"))

    @pytest.mark.parametrize("content", [b"x" * 101, b"\xff"])
    async def test_an_object_that_can_be_no_body_is_refused(self, content: bytes) -> None:
        """Larger than any task may be, or no text."""
        async with AioSession().create_client("s3") as s3:
            bucket = await create_bucket(s3)
            await s3.put_object(Bucket=bucket, Key="odd", Body=content)
        async with S3PayloadStore([bucket], max_bytes=100) as store:
            with pytest.raises(InvalidTaskError):
                await store.get(PayloadPointer(bucket, "odd"))

    async def test_a_store_that_does_not_answer_is_unavailable(self, localstack: LocalStack) -> None:
        """Neither is one that refuses us."""
        async with S3PayloadStore(["none"], max_bytes=100, endpoint_url="http://127.0.0.1:9") as store:
            with pytest.raises(BackendUnavailableError):
                await store.put("none", "x")
        async with S3PayloadStore(["none"], max_bytes=100, endpoint_url=localstack.url) as store:
            with pytest.raises(BackendUnavailableError):
                await store.put("none", "x")
            with pytest.raises(BackendUnavailableError):
                await store.get(PayloadPointer("none", "x"))
