"""What stands in for the ledger refuses politely, and gets in nobody's way."""

from datetime import timedelta

import pytest

from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.domain.errors import LedgerDisabledError
from mcp_queue.domain.operators.audit import AuditEntry
from mcp_queue.domain.task_states import TaskFilter
from mcp_queue.testing import FakeClock
from tests.support.clock import START


@pytest.fixture
def ledger() -> NoLedger:
    """Return what a process has that was given no ledger."""
    return NoLedger(FakeClock(START))


async def test_what_only_a_ledger_can_do_says_what_is_missing(ledger: NoLedger) -> None:
    """Each refusal names what needs the ledger."""
    refusals = {
        "nothing remembers tasks": ledger.tasks.list_tasks(TaskFilter(), limit=1),
        "schedules need the ledger": ledger.schedules.get("nightly"),
        "nothing remembers whether 'tasks' is paused": ledger.queues.pause("tasks"),
        "destinations are shared by the ledger": ledger.destinations.resume("billing"),
        "the audit log needs the ledger": ledger.audit.list_entries(limit=1),
    }
    for reason, refused in refusals.items():
        with pytest.raises(LedgerDisabledError, match=f"{reason}.*none is configured"):
            await refused


async def test_what_the_main_work_asks_a_ledger_has_an_answer(ledger: NoLedger) -> None:
    """Nothing is paused, nothing was withdrawn, and what is told is told to nobody."""
    assert frozenset() == await ledger.queues.paused() == await ledger.destinations.paused()
    assert frozenset() == await ledger.tasks.cancel_requests(["t"])
    assert 0 == await ledger.tasks.cancel_waiting("tasks", START)
    assert await ledger.tasks.oldest_waiting("tasks") is None
    await ledger.destinations.publish([])
    await ledger.audit.append(AuditEntry(at=START, actor="ann", action="purge", target="/v1/queues/tasks", count=3))


async def test_purges_are_known_to_this_process(ledger: NoLedger) -> None:
    """Asked again, they are where they were noted."""
    moment = await ledger.queues.begin_purge("tasks", timedelta(minutes=1))
    assert {"tasks": moment} == await ledger.queues.purge_moments()
