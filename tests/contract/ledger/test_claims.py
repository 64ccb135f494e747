"""What an ``IdempotencyStore`` promises, on every database."""

import asyncio
from datetime import timedelta

import pytest

from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.domain.enqueueing.claims import (
    Claimed,
    ClaimKind,
    ClaimOutcome,
    ClaimRequest,
    InProgress,
    KeyReused,
    Replay,
)
from mcp_queue.testing import FakeClock
from tests.support.clock import HOUR, MINUTE, SECOND
from tests.support.ledger import LedgerHarness

ANSWER = b'{"id": "\x00\xff"}'


def a_request(task_id: str, **members: str) -> ClaimRequest:
    """Return a wish for one key."""
    given = {"queue": "tasks", "key": "k", "request_hash": "h", **members}
    return ClaimRequest(kind=ClaimKind(given.pop("kind", "idempotency")), task_id=task_id, **given)


async def test_first_request_gets_the_key(ledger: Ledger) -> None:
    """A free key is claimed for the task of whoever asks."""
    expected = Claimed(kind=ClaimKind.IDEMPOTENCY, queue="tasks", key="k", task_id="a", token="a")
    assert expected == await _claim(ledger, a_request("a"))


async def test_second_request_learns_when_the_first_claim_ends(ledger: Ledger, clock: FakeClock) -> None:
    """While the first is under way, the second is to come back later."""
    await _claim(ledger, a_request("a"))
    await clock.advance(SECOND * 10)
    assert InProgress(SECOND * 20) == await _claim(ledger, a_request("b"))


async def test_confirmed_claim_is_replayed(ledger: Ledger) -> None:
    """The answer that the first request got comes back, byte for byte."""
    claimed = await _claim(ledger, a_request("a"))
    assert isinstance(claimed, Claimed)
    await ledger.claims.confirm([(claimed, ANSWER)])
    assert Replay("a", ANSWER) == await _claim(ledger, a_request("b"))


async def test_key_is_not_for_another_request(ledger: Ledger, clock: FakeClock) -> None:
    """Another body under the same key is a mistake, confirmed or not, lapsed or not."""
    claimed = await _claim(ledger, a_request("a"))
    assert isinstance(claimed, Claimed)
    assert KeyReused() == await _claim(ledger, a_request("b", request_hash="other"))
    await clock.advance(MINUTE)
    assert KeyReused() == await _claim(ledger, a_request("c", request_hash="other"))
    await ledger.claims.confirm([(claimed, ANSWER)])
    assert KeyReused() == await _claim(ledger, a_request("d", request_hash="other"))


async def test_keys_of_queues_and_kinds_are_apart(ledger: Ledger) -> None:
    """A key belongs to its queue, and is no deduplication id."""
    requests = [a_request("a"), a_request("b", queue="other"), a_request("c", kind="deduplication")]
    outcomes = await ledger.claims.claim(requests)
    assert ["a", "b", "c"] == [outcome.task_id for outcome in outcomes if isinstance(outcome, Claimed)]


async def test_lapsed_claim_is_taken_over_with_its_task(ledger: Ledger, clock: FakeClock) -> None:
    """A gateway died between claiming and answering: its task may have been sent, so the next one has the same id."""
    await _claim(ledger, a_request("a"))
    await clock.advance(SECOND * 30)
    taken = await _claim(ledger, a_request("b"))
    assert isinstance(taken, Claimed)
    assert ("a", "b") == (taken.task_id, taken.token)
    assert InProgress(SECOND * 30) == await _claim(ledger, a_request("c"))


async def test_refused_task_frees_its_key(ledger: Ledger) -> None:
    """A definite no is not remembered: the next request begins anew."""
    claimed = await _claim(ledger, a_request("a"))
    assert isinstance(claimed, Claimed)
    await ledger.claims.free([claimed])
    outcome = await _claim(ledger, a_request("b", request_hash="other"))
    assert isinstance(outcome, Claimed)
    assert "b" == outcome.task_id


async def test_late_refusal_frees_nothing_that_was_taken_over(ledger: Ledger, clock: FakeClock) -> None:
    """Whoever was taken over has no say any more."""
    slow = await _claim(ledger, a_request("a"))
    assert isinstance(slow, Claimed)
    await clock.advance(SECOND * 30)
    await _claim(ledger, a_request("b"))
    await ledger.claims.free([slow])
    assert isinstance(await _claim(ledger, a_request("c")), InProgress)


async def test_late_answer_of_a_claim_that_was_taken_over_still_counts(ledger: Ledger, clock: FakeClock) -> None:
    """Both sent the same task: whichever answers first is right."""
    slow = await _claim(ledger, a_request("a"))
    assert isinstance(slow, Claimed)
    await clock.advance(SECOND * 30)
    quick = await _claim(ledger, a_request("b"))
    assert isinstance(quick, Claimed)
    await ledger.claims.confirm([(slow, ANSWER)])
    await ledger.claims.confirm([(quick, b"later")])
    assert Replay("a", ANSWER) == await _claim(ledger, a_request("c"))


@pytest.mark.parametrize(("kind", "lifetime"), [("idempotency", HOUR * 24), ("deduplication", MINUTE * 5)])
async def test_key_is_remembered_for_its_time_and_no_longer(
    ledger: Ledger, clock: FakeClock, kind: str, lifetime: timedelta
) -> None:
    """Idempotency keys last a day, deduplication ids five minutes, both from the acceptance."""
    claimed = await _claim(ledger, a_request("a", kind=kind))
    assert isinstance(claimed, Claimed)
    await clock.advance(SECOND * 20)
    await ledger.claims.confirm([(claimed, ANSWER)])
    await clock.advance(lifetime - SECOND)
    assert isinstance(await _claim(ledger, a_request("b", kind=kind)), Replay)
    await clock.advance(SECOND)
    again = await _claim(ledger, a_request("c", kind=kind, request_hash="other"))
    assert isinstance(again, Claimed)
    assert "c" == again.task_id


async def test_expired_keys_are_forgotten(ledger: Ledger, clock: FakeClock) -> None:
    """Retention removes keys that mean nothing any more."""
    await _claim(ledger, a_request("a"))
    await clock.advance(HOUR * 25)
    assert 1 == await ledger.tasks.prune(clock.now() - HOUR, None)


async def test_same_key_twice_in_one_batch_has_one_winner(ledger: Ledger) -> None:
    """A batch that names a key twice, or two requests in one statement, are told apart."""
    outcomes = await ledger.claims.claim(
        [a_request("a"), a_request("b"), a_request("c", request_hash="other"), a_request("d", key="k2")]
    )
    first, second, third, fourth = outcomes
    assert isinstance(first, Claimed)
    assert isinstance(second, InProgress)
    assert isinstance(third, KeyReused)
    assert isinstance(fourth, Claimed)


async def test_of_many_requests_in_two_processes_one_wins(harness: LedgerHarness) -> None:
    """Two gateways, the same key, the same moment: one task."""
    async with harness.another() as other:
        outcomes = await asyncio.gather(
            *(
                (harness.ledger, other)[number % 2].claims.claim([a_request(f"t{number}", key=f"k{number % 5}")])
                for number in range(100)
            )
        )
    winners = [outcome for [outcome] in outcomes if isinstance(outcome, Claimed)]
    assert ["k0", "k1", "k2", "k3", "k4"] == sorted(winner.key for winner in winners)
    assert 95 == sum(isinstance(outcome, InProgress) for [outcome] in outcomes)


async def test_of_many_that_take_over_one_wins(harness: LedgerHarness) -> None:
    """A lapsed claim has one heir."""
    await _claim(harness.ledger, a_request("dead"))
    await harness.clock.advance(MINUTE)
    async with harness.another() as other:
        outcomes = await asyncio.gather(
            *((harness.ledger, other)[number % 2].claims.claim([a_request(f"t{number}")]) for number in range(20))
        )
    winners = [outcome for [outcome] in outcomes if isinstance(outcome, Claimed)]
    assert ["dead"] == [winner.task_id for winner in winners]


async def _claim(ledger: Ledger, request: ClaimRequest) -> ClaimOutcome:
    [outcome] = await ledger.claims.claim([request])
    return outcome
