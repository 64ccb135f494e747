"""Finding queues, and judging what SQS says of them."""

import json

import pytest

from mcp_queue.adapters.sqs.setup.info import QueueInfo, RedrivePolicy, resolve, warnings_of
from mcp_queue.domain.errors import QueueSetupError
from mcp_queue.domain.queues import QueueKind
from tests.support.clock import SECOND
from tests.support.sqs.client import sqs_spec
from tests.support.sqs.strict_queues import StrictWorld
from tests.support.sqs.strict_server import client_error

ARN = "arn:aws:sqs:us-east-1:111122223333:"


def info(*, fifo: bool = False, target: str | None = None, count: int = 10, size: int = 1_048_576) -> QueueInfo:
    """Return what SQS says of a queue."""
    redrive = None if target is None else RedrivePolicy(target_arn=ARN + target, max_receive_count=count)
    return QueueInfo(url="https://x/work", arn=f"{ARN}work", fifo=fifo, redrive=redrive, max_message_bytes=size)


class TestResolving:
    """By URL, ARN or name."""

    async def test_a_url_is_taken_as_it_is(self) -> None:
        """Nothing has to be looked up."""
        world = StrictWorld()
        url = world.sqs.create("work")
        assert url == (await resolve(world.client, sqs_spec("work", url))).url
        assert [] == world.sqs.made("GetQueueUrl")

    async def test_an_arn_names_the_owner(self) -> None:
        """The queue may belong to another account."""
        world = StrictWorld()
        url = world.sqs.create("work")
        assert url == (await resolve(world.client, sqs_spec("work", f"{ARN}work"))).url
        expected = {"QueueName": "work", "QueueOwnerAWSAccountId": "111122223333"}
        assert [expected] == world.sqs.made("GetQueueUrl")

    async def test_a_name_is_looked_up(self) -> None:
        """In the account of the credentials."""
        world = StrictWorld()
        url = world.sqs.create("work")
        assert url == (await resolve(world.client, sqs_spec("tasks", "work"))).url

    async def test_attributes_are_read(self) -> None:
        """Size limit, kind and redrive policy."""
        world = StrictWorld()
        policy = json.dumps({"deadLetterTargetArn": f"{ARN}dlq.fifo", "maxReceiveCount": 40})
        url = world.sqs.create("work.fifo", MaximumMessageSize="262144", RedrivePolicy=policy)
        found = await resolve(world.client, sqs_spec("work", url))
        expected = QueueInfo(
            url=url,
            arn=f"{ARN}work.fifo",
            fifo=True,
            max_message_bytes=262_144,
            redrive=RedrivePolicy(target_arn=f"{ARN}dlq.fifo", max_receive_count=40),
        )
        assert expected == found

    @pytest.mark.parametrize("address", ["nowhere", f"{ARN}nowhere", "https://sqs.us-east-1.amazonaws.com/1/nowhere"])
    async def test_a_queue_that_is_not_there_stops_the_start(self, address: str) -> None:
        """And is named."""
        with pytest.raises(QueueSetupError, match=r"queue 'work'.*nowhere"):
            await resolve(StrictWorld().client, sqs_spec("work", address))

    async def test_a_queue_that_may_not_be_read_stops_the_start(self) -> None:
        """With the words of AWS."""
        world = StrictWorld()
        url = world.sqs.create("work")
        world.sqs.fail("GetQueueAttributes", client_error("AccessDenied", "not authorized"))
        with pytest.raises(QueueSetupError, match="not authorized"):
            await resolve(world.client, sqs_spec("work", url))

    async def test_a_queue_of_another_kind_stops_the_start(self) -> None:
        """Order is nothing to be mistaken about."""
        world = StrictWorld()
        url = world.sqs.create("work")
        with pytest.raises(QueueSetupError, match=r"configured as fifo, but .* is standard"):
            await resolve(world.client, sqs_spec("work", url, kind=QueueKind.FIFO))

    @pytest.mark.parametrize(
        "address",
        [
            "arn:aws:sqs:us-west-2:111122223333:work",
            "https://sqs.us-west-2.amazonaws.com/111122223333/work",
            "https://sqs.us-east-1.amazonaws.com/444455556666/work",
        ],
    )
    async def test_a_queue_of_another_region_or_account_stops_the_start(self, address: str) -> None:
        """SQS finds one of the same name in the region of the settings."""
        world = StrictWorld()
        world.sqs.create("work")
        with pytest.raises(QueueSetupError, match=r"is 'work' in region .* but SQS answers with 'work' in region"):
            await resolve(world.client, sqs_spec("work", address))


class TestWarnings:
    """What is odd, and no reason to stop."""

    def test_a_lease_that_shortens_the_polls_is_told(self) -> None:
        """Polls are billed."""
        spec = sqs_spec("work", "work", visibility_timeout=30 * SECOND)
        (warning,) = warnings_of(spec, info(target="dlq"), info())
        assert "visibility_timeout 30 s ends each poll after a third" in warning
        assert [] == warnings_of(spec, info(target="dlq"), info(), wait=10 * SECOND)

    def test_a_queue_of_smaller_messages_than_the_largest_task_is_told(self) -> None:
        """As Terraform's provider makes them by default."""
        (warning,) = warnings_of(sqs_spec("work", "work"), info(target="dlq", size=262_144), info())
        assert "MaximumMessageSize is 262144" in warning
        small = sqs_spec("work", "work", max_task_bytes=200_000)
        stored = sqs_spec("work", "work", payload_bucket="bucket")
        for spec in (small, stored):
            assert [] == warnings_of(spec, info(target="dlq", size=262_144), info())

    def test_a_queue_as_it_should_be_has_none(self) -> None:
        """Silence means well."""
        assert [] == warnings_of(sqs_spec("work", "work"), info(target="dlq"), info())

    def test_a_missing_redrive_policy_is_told(self) -> None:
        """SQS itself would let a task kill consumers for days."""
        (warning,) = warnings_of(sqs_spec("work", "work"), info(), info())
        assert "no redrive policy" in warning

    def test_a_policy_to_a_queue_of_another_kind_is_told(self) -> None:
        """SQS could not move anything."""
        (warning,) = warnings_of(sqs_spec("work", "work"), info(target="dlq.fifo"), info())
        assert "another kind" in warning

    def test_too_few_receives_for_the_attempts_of_a_fifo_queue_are_told(self) -> None:
        """Ten for each attempt, retries and the first."""
        spec = sqs_spec("work", "work.fifo", max_retries=3, max_receive_count=100)
        (warning,) = warnings_of(spec, info(fifo=True, target="dlq.fifo", count=39), info(fifo=True))
        assert "39 is under 40" in warning
        assert [] == warnings_of(spec, info(fifo=True, target="dlq.fifo", count=107), info(fifo=True))

    @pytest.mark.parametrize(("count", "told"), [(3, True), (9, True), (10, False), (11, False)])
    def test_a_limit_without_headroom_is_told(self, count: int, *, told: bool) -> None:
        """SQS counts every receive, also those that another task's crash cost."""
        warnings = warnings_of(sqs_spec("work", "work"), info(target="dlq", count=count), info())
        assert [True] * told == [f"{count} is under 10" in warning for warning in warnings]

    def test_a_dead_letter_queue_of_smaller_messages_is_told(self) -> None:
        """What another client sent may not fit in there."""
        (warning,) = warnings_of(sqs_spec("work", "work"), info(target="dlq"), info(size=1000))
        assert "larger messages" in warning
