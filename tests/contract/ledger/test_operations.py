"""What the ledger promises about background redrives, notices, marks of queues, destinations and the audit log."""

import asyncio
from dataclasses import replace

import pytest

from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter, DeadLetterNotice, Redrive, RedriveStatus
from mcp_queue.domain.errors import TryLaterError
from mcp_queue.domain.operators.audit import AuditEntry, DestinationReport, DestinationView
from mcp_queue.testing import FakeClock
from tests.support.clock import HOUR, MINUTE, SECOND, START
from tests.support.ledger import LedgerHarness
from tests.support.tasks import a_dead_letter, a_task

QUERY = DeadLetterFilter(queue="tasks", type="t", failed_after=START, ids=("a", "b"))


def a_job(job_id: str = "job", **members: object) -> Redrive:
    """Return a redrive that nobody has begun."""
    given = {"filter": QUERY, "actor": "ann", "created_at": START, "matched": 7, "max_per_second": 2.5, **members}
    return Redrive(id=job_id, **given)  # type: ignore[arg-type]  # tests name the members they mean


async def test_redrive_is_remembered_whole(ledger: Ledger) -> None:
    """Whoever carries a job on needs all of it."""
    await ledger.redrives.create(a_job())
    assert a_job() == await ledger.redrives.get("job")
    assert await ledger.redrives.get("nobody") is None


async def test_redrive_is_with_one_process_and_goes_on_after_a_crash(ledger: Ledger, clock: FakeClock) -> None:
    """A job is adopted once, held while it advances, and adopted from where it was when its process is gone."""
    await ledger.redrives.create(a_job())
    job = await ledger.redrives.adopt(MINUTE)
    assert a_job() == job
    assert await ledger.redrives.adopt(MINUTE) is None
    await clock.advance(SECOND * 50)
    advanced = replace(job, redriven=3, failed=1, cursor="c")
    assert await ledger.redrives.advance(advanced, MINUTE)
    await clock.advance(SECOND * 50)
    assert await ledger.redrives.adopt(MINUTE) is None
    await clock.advance(SECOND * 10)
    assert advanced == await ledger.redrives.adopt(MINUTE)


async def test_finished_redrive_is_adopted_by_nobody(ledger: Ledger, clock: FakeClock) -> None:
    """Its end is remembered."""
    await ledger.redrives.create(a_job())
    await ledger.redrives.advance(a_job(status=RedriveStatus.COMPLETED, redriven=7), MINUTE)
    await clock.advance(HOUR)
    assert await ledger.redrives.adopt(MINUTE) is None
    stored = await ledger.redrives.get("job")
    assert stored is not None
    assert (RedriveStatus.COMPLETED, 7, START) == (stored.status, stored.redriven, stored.ended_at)


async def test_canceled_redrive_stops_and_still_counts_what_was_sent(ledger: Ledger) -> None:
    """Its process learns of the cancel at its next step."""
    await ledger.redrives.create(a_job())
    assert await ledger.redrives.cancel("job")
    assert not await ledger.redrives.cancel("job")
    assert not await ledger.redrives.advance(a_job(redriven=4), MINUTE)
    stored = await ledger.redrives.get("job")
    assert stored is not None
    assert (RedriveStatus.CANCELED, 4) == (stored.status, stored.redriven)


async def test_failures_of_one_type_are_one_notice_for_each_notifier(ledger: Ledger, clock: FakeClock) -> None:
    """A thousand failures are not a thousand messages."""
    dead_letters = [a_dead_letter(a_task(), failed_at=START - SECOND * number) for number in range(20)]
    await ledger.dead_letters.store_dead_letters([*dead_letters, a_dead_letter(a_task(type="other"))])
    await clock.advance(SECOND)
    assert 21 == await ledger.notices.gather(["log", "slack"], clock.now())
    assert 0 == await ledger.notices.gather(["log", "slack"], clock.now())
    notices = await ledger.notices.due(10, MINUTE)
    assert sorted(
        [("log", "embedding", 20), ("slack", "embedding", 20), ("log", "other", 1), ("slack", "other", 1)]
    ) == [*sorted((notice.notifier, str(notice.type), notice.count) for notice in notices)]
    [slack] = [notice for notice in notices if notice.count == 20 and notice.notifier == "slack"]
    assert (START - SECOND * 19, START, 5) == (slack.first_failed_at, slack.last_failed_at, len(slack.examples))
    assert "it broke" == slack.examples[0]["reason"]


async def test_dead_letters_that_are_too_fresh_wait_for_company(ledger: Ledger, clock: FakeClock) -> None:
    """What was stored just now is gathered with what follows."""
    await ledger.dead_letters.store_dead_letters([a_dead_letter(a_task())])
    assert 0 == await ledger.notices.gather(["log"], START)


async def test_notice_is_repeated_until_it_was_sent(ledger: Ledger, clock: FakeClock) -> None:
    """A notifier that fails, or a process that dies with it, costs no notice."""
    await ledger.dead_letters.store_dead_letters([a_dead_letter(a_task())])
    await clock.advance(SECOND)
    await ledger.notices.gather(["log"], clock.now())
    [notice] = await ledger.notices.due(10, MINUTE)
    assert [] == await _due(ledger)
    await clock.advance(MINUTE)
    assert [notice] == await _due(ledger)
    await ledger.notices.settle(notice.id, clock.now() + HOUR)
    await clock.advance(HOUR)
    assert [replace(notice, tries=1)] == await _due(ledger)
    await ledger.notices.settle(notice.id, None)
    await clock.advance(HOUR)
    assert [] == await _due(ledger)


async def test_two_processes_gather_each_dead_letter_once(harness: LedgerHarness) -> None:
    """Nobody is told twice because two processes looked at the same moment."""
    await harness.ledger.dead_letters.store_dead_letters([a_dead_letter(a_task()) for _ in range(20)])
    await harness.clock.advance(SECOND)
    async with harness.another() as other:
        counts = await asyncio.gather(
            *((harness.ledger, other)[n % 2].notices.gather(["log"], harness.clock.now()) for n in range(8))
        )
    assert 20 == sum(counts)
    assert 20 == sum(notice.count for notice in await _due(harness.ledger))


async def test_paused_queues_are_remembered_until_they_are_resumed(harness: LedgerHarness) -> None:
    """A pause holds in every process; repeating it changes nothing."""
    async with harness.another() as other:
        await harness.ledger.queues.pause("a")
        await harness.ledger.queues.pause("a")
        await other.queues.pause("b")
        assert frozenset({"a", "b"}) == await other.queues.paused()
        await other.queues.resume("a")
        await other.queues.resume("never paused")
        assert frozenset({"b"}) == await harness.ledger.queues.paused()


async def test_second_purge_has_to_wait(ledger: Ledger, clock: FakeClock) -> None:
    """SQS allows one purge a minute: the second learns how long it is to wait."""
    assert START == await ledger.queues.begin_purge("tasks", MINUTE)
    await clock.advance(SECOND * 20)
    with pytest.raises(TryLaterError) as refused:
        await ledger.queues.begin_purge("tasks", MINUTE)
    assert SECOND * 40 == refused.value.retry_after
    assert {"tasks": START} == await ledger.queues.purge_moments()
    await clock.advance(SECOND * 40)
    assert START + MINUTE == await ledger.queues.begin_purge("tasks", MINUTE)


async def test_purge_moment_leaves_a_pause_alone(ledger: Ledger) -> None:
    """What holds for a queue are two things."""
    await ledger.queues.pause("tasks")
    await ledger.queues.begin_purge("tasks", MINUTE)
    assert frozenset({"tasks"}) == await ledger.queues.paused()


async def test_of_two_purges_at_the_same_moment_one_begins(harness: LedgerHarness) -> None:
    """Two gateways, one purge."""
    async with harness.another() as other:
        outcomes = await asyncio.gather(
            *((harness.ledger, other)[n % 2].queues.begin_purge("tasks", MINUTE) for n in range(6)),
            return_exceptions=True,
        )
    assert 1 == sum(not isinstance(outcome, Exception) for outcome in outcomes)


async def test_destinations_show_the_last_report_of_each_consumer_and_the_pauses(ledger: Ledger) -> None:
    """Old reports are not shown, a pause is, with reports or without."""
    old, closed, opened = (
        DestinationReport(name=name, consumer=consumer, state=state, reported_at=at, figures={"failed": 1})
        for name, consumer, state, at in (
            ("a", "c0", "closed", START - HOUR),
            ("a", "c1", "closed", START),
            ("b", "c1", "open", START),
        )
    )
    await ledger.destinations.publish([old, closed])
    await ledger.destinations.publish([opened, replace(closed, state="half_open")])
    await ledger.destinations.publish([])
    await ledger.destinations.pause("b")
    await ledger.destinations.pause("b")
    await ledger.destinations.pause("silent")
    expected = [
        DestinationView("a", paused=False, reports=(replace(closed, state="half_open"),)),
        DestinationView("b", paused=True, reports=(opened,)),
        DestinationView("silent", paused=True),
    ]
    assert expected == list(await ledger.destinations.list_destinations(START - MINUTE))
    await ledger.destinations.resume("silent")
    assert frozenset({"b"}) == await ledger.destinations.paused()


async def test_audit_log_is_shown_newest_first_in_pages(ledger: Ledger) -> None:
    """Every action stays, in the order in which it was written."""
    entries = [
        AuditEntry(at=START, actor="ann", action="purge", target=f"queue-{number}", count=number or None)
        for number in range(5)
    ]
    for entry in entries:
        await ledger.audit.append(entry)
    first = await ledger.audit.list_entries(limit=3)
    second = await ledger.audit.list_entries(limit=3, cursor=first.next_cursor)
    assert entries[::-1] == [*first.items, *second.items]
    assert second.next_cursor is None


async def test_healthy_ledger_answers_a_ping(ledger: Ledger) -> None:
    """Readiness asks, the ledger answers."""
    await ledger.ping()
    assert ledger.healthy
    assert ledger.away is None


async def _due(ledger: Ledger) -> list[DeadLetterNotice]:
    return list(await ledger.notices.due(10, MINUTE))
