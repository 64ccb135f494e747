"""What follows from a purge while SQS may still drop what arrives."""

from datetime import datetime, timedelta

import pytest

from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import BackendUnavailableError, LedgerUnavailableError, RateLimitedError
from mcp_queue.services.queues.purges import Purges, watch_purges
from mcp_queue.testing import FakeClock
from tests.support.clock import MINUTE, SECOND, START
from tests.support.ledger import LedgerHarness
from tests.support.tasks import a_task


@pytest.fixture
def purges(harness: LedgerHarness) -> Purges:
    """Return what one process knows of the purges of ``tasks``, which lies at SQS."""
    return Purges({"tasks": MINUTE}, harness.ledger.queues, harness.clock)


def delivered(sent_at: datetime | None, queue: str = "tasks") -> Delivery:
    """Return a delivery of a message that was sent then."""
    return Delivery(
        queue=queue, message_id="m", receipt_handle="r", body="", receive_count=1, leased_at=0, sent_at=sent_at
    )


async def test_purged_queue_is_closed_for_a_minute(harness: LedgerHarness, purges: Purges) -> None:
    """Enqueues are told how long to wait, due tasks and redrives wait by themselves."""
    assert START == await purges.begin("tasks")
    await harness.clock.advance(SECOND * 20)
    with pytest.raises(BackendUnavailableError) as caught:
        purges.check_open("tasks")
    assert (SECOND * 40, ["tasks"]) == (caught.value.retry_after, await purges.closed())
    await harness.clock.advance(SECOND * 40)
    purges.check_open("tasks")
    assert [] == await purges.closed()


async def test_second_purge_within_a_minute_is_refused(harness: LedgerHarness, purges: Purges) -> None:
    """SQS allows none, whichever process asks: also one that has not heard of the first yet."""
    await purges.begin("tasks")
    await harness.clock.advance(SECOND * 15)
    for asked in (purges, Purges({"tasks": MINUTE}, harness.ledger.queues, harness.clock)):
        with pytest.raises(RateLimitedError) as caught:
            await asked.begin("tasks")
        assert SECOND * 45 == caught.value.retry_after
    await harness.clock.advance(SECOND * 45)
    assert START + MINUTE == await purges.begin("tasks")


async def test_every_process_learns_of_a_purge(harness: LedgerHarness, purges: Purges) -> None:
    """The ledger tells it, and keeps telling it."""
    other = Purges({"tasks": MINUTE}, harness.ledger.queues, harness.clock)
    await purges.begin("tasks")
    other.check_open("tasks")
    await watch_purges(other).do()
    with pytest.raises(BackendUnavailableError):
        other.check_open("tasks")


async def test_purge_needs_the_ledger_where_there_is_one(harness: LedgerHarness, purges: Purges) -> None:
    """Others could not learn of it."""
    harness.ledger._database.set_away("the test says so")
    with pytest.raises(LedgerUnavailableError):
        await purges.begin("tasks")


async def test_without_a_ledger_only_this_process_knows() -> None:
    """It keeps to the minute by itself."""
    clock = FakeClock(START)
    purges = Purges({"tasks": MINUTE}, NoLedger(clock).queues, clock)
    await purges.begin("tasks")
    await purges.refresh()
    with pytest.raises(RateLimitedError):
        await purges.begin("tasks")
    with pytest.raises(BackendUnavailableError):
        purges.check_open("tasks")


async def test_embedded_queues_are_never_closed(harness: LedgerHarness, purges: Purges) -> None:
    """Their purge is over when it returns, and may follow the last at once."""
    assert [START, START] == [await purges.begin("local") for _ in range(2)]
    purges.check_open("local")
    assert not purges.withdrew(a_task(created_at=START - MINUTE), delivered(START - MINUTE, "local"))


@pytest.mark.parametrize(
    ("created", "sent", "expected"),
    [
        pytest.param(-MINUTE, -MINUTE, True, id="it was there"),
        pytest.param(-MINUTE, None, True, id="it was there as far as anybody knows"),
        pytest.param(-MINUTE, SECOND * 2, True, id="a retry of a consumer that had not heard of the purge"),
        pytest.param(SECOND, SECOND, False, id="it came later"),
        pytest.param(-MINUTE, MINUTE, False, id="a redrive brought it back"),
    ],
)
async def test_what_was_in_the_queue_is_withdrawn(
    purges: Purges, *, created: timedelta, sent: timedelta | None, expected: bool
) -> None:
    """It must not be sent again; what comes after the purge is another matter."""
    await purges.begin("tasks")
    task = a_task(created_at=START + created)
    assert expected == purges.withdrew(task, delivered(None if sent is None else START + sent))


async def test_nothing_is_withdrawn_from_a_queue_that_was_never_purged(purges: Purges) -> None:
    """Age alone is no reason."""
    assert not purges.withdrew(a_task(created_at=START - MINUTE), delivered(START - MINUTE))
