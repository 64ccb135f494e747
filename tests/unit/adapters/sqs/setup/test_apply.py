"""What queues at SQS should be, and what has to be set for that."""

import asyncio
import json
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from mcp_queue.adapters.sqs.setup.apply import AttributeDefaults, QueueProvisioner, differences, wanted_attributes
from mcp_queue.domain.errors import QueueSetupError
from mcp_queue.domain.queues import QueueKind
from tests.support.aws.strict_world import ServiceWorld
from tests.support.sqs.client import sqs_spec
from tests.support.sqs.strict_queues import StrictWorld
from tests.support.sqs.strict_server import client_error

ARN = "arn:aws:sqs:us-east-1:111122223333:"
TASKS = sqs_spec("tasks", "tasks", dead_letter_queue="dlq", visibility_timeout=timedelta(seconds=30))


def policy(target: str, receives: int | str) -> str:
    """Return a redrive policy as SQS writes it."""
    return json.dumps({"maxReceiveCount": receives, "deadLetterTargetArn": target})


class TestWanted:
    """The attributes of a queue."""

    def test_a_task_queue_follows_its_configuration(self) -> None:
        """Lease, long poll and redrive policy; SQS owns the keys."""
        wanted = wanted_attributes(TASKS, f"{ARN}dlq", AttributeDefaults(wait_time=timedelta(seconds=5)))

        redrive = {"deadLetterTargetArn": f"{ARN}dlq", "maxReceiveCount": 10}
        assert redrive == json.loads(wanted.pop("RedrivePolicy"))
        expected = {
            "VisibilityTimeout": "30",
            "MessageRetentionPeriod": "864000",
            "ReceiveMessageWaitTimeSeconds": "5",
            "MaximumMessageSize": "1048576",
            "SqsManagedSseEnabled": "true",
        }
        assert expected == wanted

    def test_a_dead_letter_queue_keeps_what_it_gets_as_long_as_sqs_can(self) -> None:
        """It moves nothing on."""
        wanted = wanted_attributes(sqs_spec("dlq", "dlq"), None, AttributeDefaults())

        assert "1209600" == wanted["MessageRetentionPeriod"]
        assert "RedrivePolicy" not in wanted

    def test_a_fifo_queue_has_high_throughput(self) -> None:
        """Its limits hold for each group."""
        wanted = wanted_attributes(sqs_spec("orders", "orders.fifo"), None, AttributeDefaults())

        assert ("messageGroup", "perMessageGroupId") == (wanted["DeduplicationScope"], wanted["FifoThroughputLimit"])

    def test_a_key_of_ones_own_takes_the_place_of_sqs_own(self) -> None:
        """SQS takes one kind of encryption."""
        wanted = wanted_attributes(TASKS, None, AttributeDefaults(kms_key="alias/tasks"))

        assert "alias/tasks" == wanted["KmsMasterKeyId"]
        assert "SqsManagedSseEnabled" not in wanted


class TestDifferences:
    """What is set of it."""

    def test_nothing_is_set_that_is_as_wanted(self) -> None:
        """A redrive policy is compared by its meaning: emulators write its count as a text."""
        wanted = wanted_attributes(TASKS, f"{ARN}dlq", AttributeDefaults())
        found = {**wanted, "RedrivePolicy": policy(f"{ARN}dlq", "10"), "DelaySeconds": "0"}

        assert {} == differences(wanted, found)

    def test_only_what_differs_is_set(self) -> None:
        """The rest belongs to whoever set it."""
        wanted = wanted_attributes(TASKS, f"{ARN}dlq", AttributeDefaults())
        found = {**wanted, "RedrivePolicy": policy(f"{ARN}other", 3), "VisibilityTimeout": "31", "DelaySeconds": "9"}

        assert {"VisibilityTimeout", "RedrivePolicy"} == differences(wanted, found).keys()

    def test_a_longer_retention_is_left_alone(self) -> None:
        """Shortening it would delete messages."""
        wanted = wanted_attributes(TASKS, None, AttributeDefaults())

        assert {} == differences(wanted, {**wanted, "MessageRetentionPeriod": "1209600"})
        shorter = {**wanted, "MessageRetentionPeriod": "60"}
        assert {"MessageRetentionPeriod": "864000"} == differences(wanted, shorter)

    def test_a_queue_with_a_key_keeps_it(self) -> None:
        """No key in the configuration is no wish for weaker encryption."""
        wanted = wanted_attributes(TASKS, None, AttributeDefaults())
        found = {name: value for name, value in wanted.items() if name != "SqsManagedSseEnabled"}

        assert {} == differences(wanted, {**found, "KmsMasterKeyId": "alias/theirs"})


async def test_a_queue_of_another_kind_is_left_alone_and_so_are_the_others() -> None:
    """SQS cannot change it, and half of a set-up helps nobody."""
    world = StrictWorld()
    world.sqs.create("orders")
    specs = [sqs_spec("tasks", "tasks"), sqs_spec("orders", "orders", kind=QueueKind.FIFO)]

    with pytest.raises(QueueSetupError, match="queue 'orders': SQS cannot make orders a fifo queue"):
        await QueueProvisioner(world.client, specs, AttributeDefaults(), world.clock).run(dry_run=False)

    assert [] == world.sqs.made("CreateQueue")


class TestPatience:
    """SQS does not know everywhere at once what it has created or deleted."""

    SPECS = (sqs_spec("dlq", "dlq"), TASKS)

    async def run(self, world: ServiceWorld) -> None:
        """Apply, with a minute for it."""
        provisioner = QueueProvisioner(world.client, self.SPECS, AttributeDefaults(), world.clock)
        run = asyncio.create_task(provisioner.run(dry_run=False))
        for _ in range(40):
            await world.clock.advance(timedelta(seconds=2))
        await run

    @pytest.mark.parametrize(
        ("operation", "error"),
        [
            ("GetQueueAttributes", client_error("AWS.SimpleQueueService.NonExistentQueue")),
            ("CreateQueue", client_error("AWS.SimpleQueueService.QueueDeletedRecently")),
            (
                "CreateQueue",
                client_error("InvalidParameterValue", "Reason: Dead letter target does not exist."),
            ),
        ],
        ids=["not visible yet", "deleted recently", "redrive target not visible yet"],
    )
    async def test_what_passes_is_waited_for(self, operation: str, error: ClientError) -> None:
        """Half of a set-up helps nobody."""
        world = ServiceWorld()
        world.sqs.fail(operation, *[error] * 20)
        await self.run(world)
        assert {"dlq", "tasks"} == world.sqs.queues.keys()

    async def test_what_does_not_pass_is_told_after_a_minute(self) -> None:
        """With the words of SQS."""
        world = ServiceWorld()
        world.sqs.fail("CreateQueue", *[client_error("AWS.SimpleQueueService.QueueDeletedRecently")] * 100)
        with pytest.raises(QueueSetupError, match=r"queue 'dlq' .*QueueDeletedRecently"):
            await self.run(world)
        assert 31 == len(world.sqs.made("CreateQueue"))
