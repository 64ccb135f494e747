"""How many dead letters wait is one figure, wherever it is shown."""

from dataclasses import replace

import pytest

from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.queues import QueueStats
from tests.support.dead_letters import DeadLetterKit, dead_letters
from tests.support.queues.doubles import FailingQueue
from tests.support.tasks import a_task


class AtSqs(FailingQueue):
    """A queue that cannot tell whose dead letters lie in a shared dead-letter queue."""

    async def stats(self) -> QueueStats:
        """Count without dead letters."""
        return replace(await super().stats(), dead_letters=None)


@pytest.fixture
def at_sqs(kit: DeadLetterKit) -> DeadLetterKit:
    """Return the kit with queues as SQS has them."""
    for queue in kit.queues.values():
        queue.__class__ = AtSqs
        queue.at_sqs = True
    return kit


async def test_rest_of_a_shared_queue_counts_under_its_own_name(at_sqs: DeadLetterKit) -> None:
    """Each source counts what is stored of it, and no dead letter is counted twice."""
    await at_sqs.store(*dead_letters(2), *dead_letters(1, queue="orders"))
    await at_sqs.bury(a_task())
    figures = {name: await at_sqs.depth(name) for name in ("tasks", "orders", "dlq")}
    assert {"tasks": 2, "orders": 1, "dlq": 1} == figures


async def test_queue_of_ones_own_counts_for_its_source(at_sqs: DeadLetterKit) -> None:
    """Stored or not, a dead letter waits."""
    await at_sqs.store(*dead_letters(2, queue="jobs"))
    await at_sqs.bury(a_task(queue="jobs"))
    assert (3, None) == (await at_sqs.depth("jobs"), await at_sqs.depth("jobs-dlq"))


async def test_embedded_queue_knows_whose_dead_letters_it_holds(kit: DeadLetterKit) -> None:
    """Shared or not, nothing is left to count under its own name."""
    await kit.store(*dead_letters(2))
    await kit.bury(a_task())
    await kit.bury(a_task(queue="orders"))
    assert (3, 1, None) == (await kit.depth("tasks"), await kit.depth("orders"), await kit.depth("dlq"))


async def test_part_of_the_figure_is_no_figure(kit: DeadLetterKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the ledger is away nobody knows; the queue can be looked at all the same."""
    assert kit.ledger is not None

    async def away(_: object) -> int:
        raise LedgerUnavailableError

    monkeypatch.setattr(kit.ledger.dead_letters, "count_dead_letters", away)
    await kit.bury(a_task())
    assert await kit.depth("tasks") is None
