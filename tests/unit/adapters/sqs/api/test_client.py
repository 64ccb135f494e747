"""Deadlines, and polls that hang."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError, ReadTimeoutError
from botocore.parsers import ResponseParserError

from mcp_queue.adapters.sqs.api.client import POLL_GRACE, ClientFactory, PollingClient, Repeats, SqsClient
from mcp_queue.adapters.sqs.api.errors import ThrottledError, UnansweredError
from mcp_queue.domain.errors import BackendUnavailableError, QueueSetupError
from mcp_queue.testing import FakeClock
from tests.support.clock import NOW
from tests.support.metrics import CountedCalls
from tests.support.sqs.strict_server import client_error

# A wait whose deadline is over before it begins: what hangs is noticed at once.
OVER = -POLL_GRACE
ANSWER = {"Messages": [{"MessageId": "m"}]}


class Service:
    """Stands for botocore's client: its calls end as the test orders."""

    def __init__(self) -> None:
        """Answer at once."""
        self.act: Callable[[], Awaitable[dict[str, Any]]] = answer

    async def receive_message(self, **_: object) -> dict[str, Any]:
        """Act."""
        return await self.act()

    send_message_batch = get_queue_attributes = purge_queue = receive_message


class Clients:
    """Makes clients that remember whether they are closed."""

    def __init__(self) -> None:
        """Start with none."""
        self.metrics = CountedCalls()
        self.service = Service()
        self.made: list[SqsClient] = []
        self.closed: list[SqsClient] = []

    async def make(self) -> SqsClient:
        """Make a client."""

        async def close() -> None:
            self.closed.append(client)

        client = SqsClient(self.service, self.metrics, close)  # type: ignore[arg-type]  # it stands for botocore's
        self.made.append(client)
        return client


async def _close() -> None:
    return


async def hang() -> dict[str, Any]:
    """Never answer."""
    await asyncio.get_running_loop().create_future()
    return {}


async def answer() -> dict[str, Any]:
    """Answer at once."""
    return ANSWER


def failing(error: Exception) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return an act that raises ``error``."""

    async def fail() -> dict[str, Any]:
        raise error

    return fail


class TestClient:
    """One call."""

    async def test_a_call_that_hangs_ends_at_its_deadline(self) -> None:
        """No call waits for ever."""
        clients = Clients()
        client = await clients.make()
        clients.service.act = hang
        with pytest.raises(UnansweredError):
            await client.call("SendMessageBatch", {}, deadline=timedelta(0))
        assert [("SendMessageBatch", "unanswered")] == clients.metrics.calls

    @pytest.mark.parametrize(
        "error",
        [
            ReadTimeoutError(endpoint_url="https://x"),
            NoCredentialsError(),
            ResponseParserError("no JSON"),
            FileNotFoundError("token"),
        ],
    )
    async def test_a_call_without_an_answer_is_unavailability(self, error: Exception) -> None:
        """Whether the network, the search for credentials or the reading of the answer failed."""
        clients = Clients()
        client = await clients.make()
        clients.service.act = failing(error)
        with pytest.raises(UnansweredError):
            await client.call("SendMessageBatch", {})

    async def test_an_error_answer_is_counted_under_what_it_means(self) -> None:
        """Alerts are set on it."""
        clients = Clients()
        client = await clients.make()
        clients.service.act = failing(client_error("RequestThrottled"))
        with pytest.raises(ThrottledError):
            await client.call("SendMessageBatch", {})
        clients.service.act = answer
        assert ANSWER == await client.call("SendMessageBatch", {})
        assert ["throttled", "ok"] == clients.metrics.outcomes("SendMessageBatch")


class TestRepeats:
    """The one place that makes a single call again."""

    @staticmethod
    async def outcomes(operation: str, error: Exception) -> list[str]:
        """Return how the tries of a call ended that always fails."""
        metrics, service = CountedCalls(), Service()
        service.act = failing(error)
        clock = FakeClock()
        client = SqsClient(service, metrics, _close, repeats=Repeats(clock, lambda: 1.0))  # type: ignore[arg-type]  # it stands for botocore's
        call = asyncio.create_task(client.call(operation, {}))
        for _ in range(5):
            await clock.advance(timedelta(seconds=2))
        with pytest.raises(BackendUnavailableError):
            await call
        return metrics.outcomes(operation)

    async def test_a_call_without_an_answer_is_made_three_times(self) -> None:
        """A connection that was idle for too long is the common reason."""
        assert ["unanswered"] * 3 == await self.outcomes("SendMessageBatch", ReadTimeoutError(endpoint_url="https://x"))

    async def test_a_throttled_batch_is_left_to_its_batcher(self) -> None:
        """Two places that repeat multiply their tries."""
        assert ["throttled"] == await self.outcomes("SendMessageBatch", client_error("RequestThrottled"))

    async def test_another_throttled_call_is_made_three_times(self) -> None:
        """No batcher stands behind it."""
        assert ["throttled"] * 3 == await self.outcomes("GetQueueAttributes", client_error("RequestThrottled"))

    async def test_a_purge_is_made_once(self) -> None:
        """The second would be told that the first is under way."""
        assert ["unanswered"] == await self.outcomes("PurgeQueue", ReadTimeoutError(endpoint_url="https://x"))


class TestSettings:
    """What every client needs, and may lack."""

    @pytest.fixture(autouse=True)
    def _bare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Leave the process without settings of AWS."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    @staticmethod
    def factory(queues_region: str | None = None) -> ClientFactory:
        """Return a factory that is told nothing."""
        return ClientFactory(
            region=None,
            endpoint_url=None,
            metrics=CountedCalls(),
            clock=FakeClock(),
            random=lambda: 0.5,
            queues_region=queues_region,
        )

    async def test_a_missing_region_is_named(self) -> None:
        """With what to do about it."""
        with pytest.raises(QueueSetupError, match="no AWS region is set: set AWS_REGION"):
            await self.factory().client(connections=1)

    async def test_missing_credentials_are_named(self) -> None:
        """At the start, not at the first call."""
        with pytest.raises(QueueSetupError, match="no AWS credentials were found"):
            await self.factory("eu-west-1").client(connections=1)

    async def test_the_region_of_the_queues_is_used_where_none_is_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Their URLs and ARNs say it."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        client = await self.factory("eu-west-1").client(connections=1)
        try:
            assert "eu-west-1" == client._sqs.meta.region_name
        finally:
            await client.aclose()


class TestPolls:
    """The client of the long polls."""

    async def test_a_poll_that_hangs_is_abandoned_and_its_client_replaced(self) -> None:
        """Its connections cannot be trusted."""
        clients = Clients()
        clients.service.act = hang
        async with PollingClient(clients.make, clients.metrics) as polls:
            with pytest.raises(UnansweredError):
                await polls.receive({}, OVER)
            clients.service.act = answer
            assert ANSWER == await polls.receive({}, NOW)
            assert clients.made[:1] == clients.closed
            assert 2 == len(clients.made)
        assert ["unanswered", "abandoned", "ok"] == clients.metrics.outcomes("ReceiveMessage")
        assert set(clients.made) == set(clients.closed)

    async def test_a_replaced_client_is_closed_when_its_last_poll_has_ended(self) -> None:
        """The polls beside the one that hung go on."""
        clients = Clients()
        reached, opened = asyncio.Event(), asyncio.Event()

        async def wait() -> dict[str, Any]:
            reached.set()
            await opened.wait()
            return ANSWER

        async with PollingClient(clients.make, clients.metrics) as polls:
            clients.service.act = wait
            other = asyncio.create_task(polls.receive({}, timedelta(seconds=20)))
            await reached.wait()
            clients.service.act = hang
            with pytest.raises(UnansweredError):
                await polls.receive({}, OVER)
            assert [] == clients.closed
            opened.set()
            assert ANSWER == await other
            assert clients.made[:1] == clients.closed

    async def test_polls_that_hang_together_replace_their_client_once(self) -> None:
        """A network that is down is no reason for a client for each poll."""
        clients = Clients()
        clients.service.act = hang
        async with PollingClient(clients.make, clients.metrics) as polls:
            results = await asyncio.gather(*(polls.receive({}, OVER) for _ in range(5)), return_exceptions=True)
        assert [UnansweredError] * 5 == [type(result) for result in results]
        assert 2 == len(clients.made)

    async def test_a_poll_that_is_refused_keeps_its_client(self) -> None:
        """An answer came, so that the connection is good."""
        clients = Clients()
        clients.service.act = failing(client_error("QueueDoesNotExist"))
        async with PollingClient(clients.make, clients.metrics) as polls:
            with pytest.raises(BackendUnavailableError, match="QueueDoesNotExist"):
                await polls.receive({}, NOW)
            assert 1 == len(clients.made)
