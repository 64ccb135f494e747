"""The commands that look at, create and correct queues at SQS, on LocalStack."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.config import load_settings
from mcp_queue.wiring.queues import open_queues
from tests.support.metrics import CountedCalls
from tests.support.processes.cli import Finished, run_cli
from tests.support.sqs.client import create_queue, sqs_client
from tests.support.sqs.localstack import LocalStack


@pytest.fixture
def prefix() -> str:
    """Return the beginning of names that no other test uses."""
    return f"t{uuid4().hex[:10]}"


@pytest.fixture
def config(tmp_path: Path, prefix: str) -> Path:
    """Return a configuration of a standard, a FIFO and two dead-letter queues, given by name."""
    path = tmp_path / "queue.yaml"
    queues = [
        {"name": "tasks", "url": f"{prefix}-tasks", "type": "standard", "visibility_timeout": 75},
        {"name": "orders", "url": f"{prefix}-orders.fifo", "type": "fifo", "dead_letter_queue": "orders-dlq"},
        {"name": "dlq", "url": f"{prefix}-dlq", "type": "standard"},
        {"name": "orders-dlq", "url": f"{prefix}-orders-dlq.fifo", "type": "fifo"},
    ]
    path.write_text(json.dumps({"queue": {"sqs": {"queues": queues, "tags": {"team": "payments"}}}}))
    return path


async def run(*arguments: str, at: LocalStack, **variables: str) -> Finished:
    """Run a command against an emulator."""
    settings: dict[str, Any] = {**at.environment(), **variables}
    return await run_cli(*arguments, **settings)


async def apply(at: LocalStack, config: Path, *options: str, **variables: str) -> Finished:
    """Run the command."""
    return await run("queues", "apply", *options, at=at, QUEUE_CONFIG=str(config), **variables)


async def attributes_of(name: str) -> dict[str, str]:
    """Return what SQS says of a queue."""
    async with sqs_client() as sqs:
        url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
        found = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        tags = await sqs.list_queue_tags(QueueUrl=url)
    return {**found["Attributes"], **{f"tag {name}": value for name, value in tags.get("Tags", {}).items()}}  # type: ignore[dict-item]  # names of attributes are literals there


class TestApply:
    """``mcp-queue queues apply``."""

    async def test_queues_that_are_missing_are_created(self, localstack: LocalStack, config: Path, prefix: str) -> None:
        """With their redrive policies, retention, kind and tags; the consumer finds nothing odd about them."""
        done = await apply(localstack, config)

        assert (0, 4) == (done.exit_code, done.out.count(": created\n")), done.err
        tasks, orders = await attributes_of(f"{prefix}-tasks"), await attributes_of(f"{prefix}-orders.fifo")
        dead_letters = await attributes_of(f"{prefix}-orders-dlq.fifo")
        assert ("75", "864000", "payments") == (
            tasks["VisibilityTimeout"],
            tasks["MessageRetentionPeriod"],
            tasks["tag team"],
        )
        assert ("true", "perMessageGroupId") == (orders["FifoQueue"], orders["FifoThroughputLimit"])
        redrive = {"deadLetterTargetArn": dead_letters["QueueArn"], "maxReceiveCount": 107}
        assert redrive == json.loads(orders["RedrivePolicy"])
        assert "1209600" == dead_letters["MessageRetentionPeriod"]
        check = await run("config", "check", "--json", at=localstack, QUEUE_CONFIG=str(config))
        assert [] == [warning for warning in json.loads(check.out)["warnings"] if "LEDGER_URL" not in warning]

    async def test_a_second_time_there_is_nothing_to_do(self, localstack: LocalStack, config: Path) -> None:
        """It may run at every deployment."""
        await apply(localstack, config)

        done = await apply(localstack, config)

        assert (0, 4) == (done.exit_code, done.out.count(": as configured"))

    async def test_a_dry_run_shows_the_difference_and_makes_none(
        self, localstack: LocalStack, config: Path, prefix: str
    ) -> None:
        """Before and after of every attribute, ARNs by the names of their queues."""
        await apply(localstack, config)

        done = await apply(localstack, config, "--dry-run", SQS_VISIBILITY_TIMEOUT="60", SQS_MAX_RECEIVE_COUNT="7")

        expected = [
            f"tasks ({prefix}-tasks): would be changed",
            "  VisibilityTimeout  75 -> 60",
            "  RedrivePolicy      to dlq after 10 receives -> to dlq after 14 receives",
        ]
        assert expected == done.out.splitlines()[:3]
        assert "75" == (await attributes_of(f"{prefix}-tasks"))["VisibilityTimeout"]

    async def test_what_differs_is_corrected(self, localstack: LocalStack, config: Path, prefix: str) -> None:
        """And nothing else is touched: a delay of the queue's own stays."""
        async with sqs_client() as sqs:
            await sqs.create_queue(QueueName=f"{prefix}-tasks", Attributes={"DelaySeconds": "3"})

        done = await apply(localstack, config)

        assert f"tasks ({prefix}-tasks): changed" == done.out.splitlines()[0]
        tasks = await attributes_of(f"{prefix}-tasks")
        assert ("75", "3", "payments") == (tasks["VisibilityTimeout"], tasks["DelaySeconds"], tasks["tag team"])
        assert f"{prefix}-dlq" in tasks["RedrivePolicy"]

    @pytest.mark.parametrize(
        "address", ["{url}/000000000000/{prefix}-no", "arn:aws:sqs:us-east-1:000000000000:{prefix}-no"]
    )
    async def test_a_queue_that_is_somebodys_is_not_created(
        self, localstack: LocalStack, prefix: str, address: str
    ) -> None:
        """A URL or an ARN says where it should be; before that is cleared up, nothing is changed."""
        url = address.format(url=localstack.url, prefix=prefix)

        done = await run("queues", "apply", at=localstack, SQS_QUEUE_URL=url, SQS_DLQ_URL=f"{prefix}-dlq")

        assert 1 == done.exit_code
        assert "only queues that are given by name are created" in done.err
        async with sqs_client() as sqs:
            assert [] == (await sqs.list_queues(QueueNamePrefix=prefix)).get("QueueUrls", [])

    async def test_without_a_queue_at_sqs_it_says_what_is_missing(self) -> None:
        """Queues that are embedded need no creating."""
        done = await run_cli("queues", "apply")

        assert 1 == done.exit_code
        assert "SQS_QUEUE_URL" in done.err


@pytest.mark.usefixtures("localstack")
async def test_what_is_odd_about_a_queue_is_logged_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody has to ask for it."""
    async with sqs_client() as sqs:
        url, dlq = await create_queue(sqs), await create_queue(sqs)
    settings = load_settings({"SQS_QUEUE_URL": url, "SQS_DLQ_URL": dlq})

    async with open_queues(settings, SystemClock(), CountedCalls()):
        assert "queue 'tasks' has no redrive policy at SQS" in caplog.text


class TestCheck:
    """``mcp-queue config check``."""

    async def test_what_is_odd_about_a_queue_is_a_warning(self, localstack: LocalStack) -> None:
        """As SQS describes it."""
        async with sqs_client() as sqs:
            url, dlq = await create_queue(sqs), await create_queue(sqs)

        done = await run("config", "check", at=localstack, SQS_QUEUE_URL=url, SQS_DLQ_URL=dlq)

        assert 0 == done.exit_code
        assert "Warning: queue 'tasks' has no redrive policy at SQS" in done.out

    async def test_a_queue_that_is_not_there_is_a_warning_that_says_what_to_do(self, localstack: LocalStack) -> None:
        """The configuration itself is right."""
        done = await run("config", "check", at=localstack, SQS_QUEUE_URL="nowhere", SQS_DLQ_URL="nowhere-dlq")

        assert 0 == done.exit_code
        assert "mcp-queue queues apply creates it" in done.out

    async def test_an_sqs_that_does_not_answer_is_a_warning(self) -> None:
        """One line, and the settings are shown all the same."""
        done = await run_cli(
            "config", "check", SQS_QUEUE_URL="tasks", SQS_DLQ_URL="dlq", AWS_ENDPOINT_URL_SQS="http://127.0.0.1:9"
        )

        assert 0 == done.exit_code
        assert "Warning: SQS was not looked at:" in done.out
        assert "QUEUE_WORKER_COUNT" in done.out
