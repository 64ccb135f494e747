"""Deadlines, and polls that hang."""

import asyncio
from datetime import timedelta

import pytest
from botocore.exceptions import NoCredentialsError, ReadTimeoutError

from app.adapters.sqs.client import POLL_GRACE, Client, Polls
from app.adapters.sqs.errors import ThrottledError, UnansweredError
from tests.support.sqs import CountedCalls
from tests.support.strict_sqs import client_error

# A wait whose deadline is over before it begins: what hangs is noticed at once.
OVER = -POLL_GRACE


class Clients:
    """Makes clients that remember whether they are closed."""

    def __init__(self) -> None:
        """Start with none."""
        self.metrics = CountedCalls()
        self.made: list[Client] = []
        self.closed: list[Client] = []

    async def make(self) -> Client:
        """Make a client of nothing."""

        async def close() -> None:
            self.closed.append(client)

        client = Client(object(), self.metrics, close)  # type: ignore[arg-type]  # the requests do not use it
        self.made.append(client)
        return client


async def hang(_: object) -> None:
    """Never answer."""
    await asyncio.get_running_loop().create_future()


async def answer(_: object) -> str:
    """Answer at once."""
    return "answer"


class TestClient:
    """One call."""

    async def test_a_call_that_hangs_ends_at_its_deadline(self) -> None:
        """No call waits for ever."""
        clients = Clients()
        client = await clients.make()
        with pytest.raises(UnansweredError):
            await client.call("SendMessageBatch", hang, deadline=timedelta(0))
        assert [("SendMessageBatch", "unanswered")] == clients.metrics.calls

    @pytest.mark.parametrize("error", [ReadTimeoutError(endpoint_url="https://x"), NoCredentialsError()])
    async def test_a_call_without_an_answer_is_unavailability(self, error: Exception) -> None:
        """Whether the network, or the search for credentials, failed."""
        clients = Clients()
        client = await clients.make()

        async def fail(_: object) -> None:
            raise error

        with pytest.raises(UnansweredError):
            await client.call("SendMessageBatch", fail)

    async def test_an_error_answer_is_counted_under_what_it_means(self) -> None:
        """Alerts are set on it."""
        clients = Clients()
        client = await clients.make()

        async def refuse(_: object) -> None:
            raise client_error("RequestThrottled")

        with pytest.raises(ThrottledError):
            await client.call("SendMessageBatch", refuse)
        assert "answer" == await client.call("SendMessageBatch", answer)
        assert ["throttled", "ok"] == clients.metrics.outcomes("SendMessageBatch")


class TestPolls:
    """The client of the long polls."""

    async def test_a_poll_that_hangs_is_abandoned_and_its_client_replaced(self) -> None:
        """Its connections cannot be trusted."""
        clients = Clients()
        async with Polls(clients.make, clients.metrics) as polls:
            with pytest.raises(UnansweredError):
                await polls.receive(hang, OVER)
            assert "answer" == await polls.receive(answer, timedelta(0))
            assert clients.made[:1] == clients.closed
            assert 2 == len(clients.made)
        assert ["unanswered", "abandoned", "ok"] == clients.metrics.outcomes("ReceiveMessage")
        assert set(clients.made) == set(clients.closed)

    async def test_a_replaced_client_is_closed_when_its_last_poll_has_ended(self) -> None:
        """The polls beside the one that hung go on."""
        clients = Clients()
        reached, opened = asyncio.Event(), asyncio.Event()

        async def wait(_: object) -> str:
            reached.set()
            await opened.wait()
            return "late"

        async with Polls(clients.make, clients.metrics) as polls:
            other = asyncio.create_task(polls.receive(wait, timedelta(seconds=20)))
            await reached.wait()
            with pytest.raises(UnansweredError):
                await polls.receive(hang, OVER)
            assert [] == clients.closed
            opened.set()
            assert "late" == await other
            assert clients.made[:1] == clients.closed

    async def test_polls_that_hang_together_replace_their_client_once(self) -> None:
        """A network that is down is no reason for a client for each poll."""
        clients = Clients()
        async with Polls(clients.make, clients.metrics) as polls:
            results = await asyncio.gather(*(polls.receive(hang, OVER) for _ in range(5)), return_exceptions=True)
        assert [UnansweredError] * 5 == [type(result) for result in results]
        assert 2 == len(clients.made)

    async def test_a_poll_that_is_refused_keeps_its_client(self) -> None:
        """An answer came, so that the connection is good."""
        clients = Clients()

        async def refuse(_: object) -> None:
            raise client_error("QueueDoesNotExist")

        async with Polls(clients.make, clients.metrics) as polls:
            with pytest.raises(Exception, match="QueueDoesNotExist"):
                await polls.receive(refuse, timedelta(0))
            assert 1 == len(clients.made)
