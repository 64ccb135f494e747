"""Forgetting what was kept for long enough."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta

import pytest

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter
from mcp_queue.domain.task_states import TaskFilter
from mcp_queue.services.operators.retention import PAUSE, Retention, pruning
from tests.support.clock import MINUTE, START
from tests.support.ledger import LedgerHarness
from tests.support.tasks import a_dead_letter, a_task, an_end

DAY = timedelta(days=1)


def retention(harness: LedgerHarness, dead_letters: timedelta | None = None) -> Retention:
    """Return a retention of a week for what ended."""
    return Retention(harness.ledger.tasks, clock=harness.clock, ended=DAY * 7, dead_letters=dead_letters)


async def passing(harness: LedgerHarness, work: Coroutine[None, None, None]) -> None:
    """Do ``work``, moving the clock on while it sleeps."""
    task = asyncio.create_task(work)
    while not task.done():
        await harness.clock.advance(PAUSE)
        await asyncio.wait([task], timeout=0)
    await task


async def test_ended_tasks_are_forgotten_after_their_time_and_no_others(harness: LedgerHarness) -> None:
    """More than one batch holds, too: the work goes on until nothing is left."""
    old, waiting, recent = [a_task() for _ in range(1100)], a_task(), a_task()
    await harness.ledger.tasks.record_enqueued([*old, waiting, recent])
    await asyncio.gather(*(harness.ledger.executions.record(an_end(task)) for task in old))
    await harness.ledger.executions.record(an_end(recent, started_at=START + DAY))
    await harness.clock.advance(DAY * 7 + MINUTE)
    await passing(harness, retention(harness).prune())
    left = await harness.ledger.tasks.list_tasks(TaskFilter(), limit=200)
    assert {waiting.id, recent.id} == {view.task.id for view in left.items}


@pytest.mark.parametrize(("kept", "left"), [(None, 1), (DAY * 30, 0)])
async def test_dead_letters_wait_for_as_long_as_they_are_kept(
    harness: LedgerHarness, kept: timedelta | None, left: int
) -> None:
    """By default for ever: somebody has to decide about them."""
    task = a_task()
    await harness.ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    await harness.clock.advance(DAY * 31)
    await passing(harness, retention(harness, kept).prune())
    assert left == await harness.ledger.dead_letters.count_dead_letters(DeadLetterFilter(queue="tasks"))


def test_pruning_is_no_hurry(harness: LedgerHarness) -> None:
    """Every few minutes is enough."""
    assert MINUTE * 5 == pruning(retention(harness)).interval
