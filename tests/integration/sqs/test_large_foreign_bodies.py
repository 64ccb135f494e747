"""Bodies of other clients that leave no room for what a retry adds, at a strict SQS and with a real ledger."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mcp_queue.domain.errors import CallbackFailedError
from mcp_queue.domain.execution.retry import RetryPolicy
from mcp_queue.domain.task import TaskStatus
from mcp_queue.services.execution.admission import Admitter, Disposition, Received
from mcp_queue.services.execution.settlement import Settlement
from tests.support.clock import MINUTE, NOW
from tests.support.ledger import LedgerHarness, ledger_harness, sqlite_url
from tests.support.metrics import CountingMetrics
from tests.support.sqs.strict_queues import StrictWorld

LIMIT = 1_048_576
UNAVAILABLE = CallbackFailedError("the receiver answered 503", response_status=503)
#: Written as ASCII, the CJK text is over the limit.
CJK = json.dumps({"type": "echo", "id": "t-1", "payload": "漢" * 200_000}, ensure_ascii=False)


def full_body(**members: int) -> str:
    """Return a task of exactly 1 MiB."""
    empty = json.dumps({"type": "echo", "id": "t-1", **members, "payload": ""})
    return empty.replace('""', f'"{"x" * (LIMIT - len(empty))}"')


FULL = full_body()


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LedgerHarness]:
    """Provide a ledger."""
    async with sqlite_url(tmp_path) as url, ledger_harness(url) as opened:
        yield opened


async def run_until_it_ends(world: StrictWorld, harness: LedgerHarness, body: str, **members: Any) -> list[int]:
    """Let every attempt at ``body`` fail with 503; return their numbers."""
    queue = await world.queue(**members)
    await world.put("work", body)
    log = harness.ledger.executions
    admitter = Admitter(clock=world.clock, log=log)
    settlement = Settlement(
        clock=world.clock, random=lambda: 0.5, metrics=CountingMetrics(), log=log, policy=RetryPolicy()
    )
    attempts: list[int] = []
    while world.sqs.bodies("work"):
        assert len(attempts) < 10
        for delivery in await queue.receive(1, NOW):
            (attempt,) = await admitter.admit([Received(queue, delivery)])
            match attempt.disposition:
                case Disposition.RUN:
                    attempts.append(attempt.number)
                    await settlement.fail(attempt, UNAVAILABLE)
                case Disposition.DEAD_LETTER:
                    await settlement.dead_letter(attempt, "received too often")
                case Disposition.DISCARD:
                    await settlement.discard(attempt)
        for clock in (world.clock, harness.clock):
            await clock.advance(MINUTE)
    return attempts


@pytest.mark.parametrize("body", [CJK, FULL], ids=["600 KB of CJK text", "1 MiB"])
async def test_a_large_foreign_body_has_all_its_attempts_and_then_is_a_dead_letter(
    harness: LedgerHarness, body: str
) -> None:
    """Whether its retries can be sent as tasks, or only be hidden while the ledger counts."""
    world = StrictWorld()

    attempts = await run_until_it_ends(world, harness, body, max_receive_count=10)

    assert [1, 2, 3, 4] == attempts
    (dead_letter,) = world.sqs.bodies("dlq")
    assert json.loads(body)["payload"] == json.loads(dead_letter)["payload"]
    recorded = await harness.ledger.tasks.get("t-1")
    assert recorded is not None
    assert TaskStatus.DEAD_LETTERED is recorded.status


async def test_a_body_that_can_only_be_hidden_is_dead_lettered_when_its_receives_are_used_up(
    harness: LedgerHarness,
) -> None:
    """Each hidden retry takes a receive, of 7 more than may crash; the body itself is what arrives."""
    world, body = StrictWorld(), full_body(max_retries=50)

    attempts = await run_until_it_ends(world, harness, body, max_receive_count=2)

    assert list(range(1, 10)) == attempts
    assert [body] == world.sqs.bodies("dlq")


async def test_a_body_of_cjk_text_is_sent_again_with_its_count() -> None:
    """SQS takes the characters as they are, at half of their escapes."""
    world = StrictWorld()
    queue = await world.queue()
    await world.put("work", CJK)
    (delivery,) = await queue.receive(1, NOW)
    assert delivery.rewritable
    assert delivery.task is not None

    await queue.retry(delivery, delivery.task.next_attempt(), NOW)

    (body,) = world.sqs.bodies("work")
    assert (1, "漢" * 200_000) == (json.loads(body)["retry_count"], json.loads(body)["payload"])


async def test_a_deferral_of_a_body_that_can_only_be_hidden_uses_up_no_receive() -> None:
    """It is sent again unchanged before SQS would give up on it."""
    world = StrictWorld()
    queue = await world.queue(max_receive_count=2)
    await world.put("work", FULL)
    for _ in range(5):
        (delivery,) = await queue.receive(1, NOW)
        assert delivery.task is not None
        assert delivery.receive_count <= 2
        await queue.defer(delivery, delivery.task, MINUTE)
        await world.clock.advance(MINUTE)
    assert [FULL] == world.sqs.bodies("work")
