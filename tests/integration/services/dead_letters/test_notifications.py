"""People are told of dead letters: once for many, until it worked, and without delaying anybody."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

import pytest

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterNotice
from mcp_queue.domain.errors import CallbackFailedError, CallbackRejectedError, LedgerUnavailableError
from mcp_queue.ports import Notifier
from mcp_queue.services.dead_letters.notifications import MOST_TRIES, TIME_LIMIT, WINDOW, NotificationSender, notifying
from tests.support.clock import HOUR, MINUTE, SECOND
from tests.support.dead_letters import DeadLetterKit, dead_letters


class Recorder:
    """A notifier that remembers, or fails as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        """Fail with each of ``failures`` first."""
        self.failures = list(failures)
        self.told: list[DeadLetterNotice] = []

    async def notify(self, notice: DeadLetterNotice) -> None:
        """Fail or remember."""
        if self.failures:
            raise self.failures.pop(0)
        self.told.append(notice)


class Silent:
    """A notifier that never answers."""

    async def notify(self, notice: DeadLetterNotice) -> None:
        """Hang."""
        await asyncio.Event().wait()


Make = Callable[..., NotificationSender]


@pytest.fixture
def make(kit: DeadLetterKit) -> Make:
    """Return what makes the service for some notifiers."""

    def service(**notifiers: Notifier) -> NotificationSender:
        assert kit.ledger is not None
        return NotificationSender(
            kit.ledger.notices, notifiers, clock=kit.clock, random=lambda: 1.0, metrics=kit.metrics
        )

    return service


async def test_failures_of_a_minute_are_one_notice(kit: DeadLetterKit, make: Make) -> None:
    """However many there are, and however they are spread over the minute; other types have their own."""
    recorder = Recorder()
    service = make(log=recorder)
    for _ in range(50):
        await kit.store(*dead_letters(20, type="job"))
        await service.notify()
        await kit.clock.advance(SECOND)
    await kit.store(*dead_letters(1, type="other"))
    assert [] == recorder.told
    await kit.clock.advance(WINDOW + SECOND)
    await service.notify()
    assert [("job", 1000), ("other", 1)] == sorted((str(notice.type), notice.count) for notice in recorder.told)
    assert {"id", "reason"} == set(recorder.told[0].examples[0])
    await kit.clock.advance(HOUR)
    await service.notify()
    assert 2 == len(recorder.told)


async def test_notice_of_one_type_does_not_cut_the_minute_of_another_short(kit: DeadLetterKit, make: Make) -> None:
    """Each queue and type has its own minute, from its own first failure."""
    recorder = Recorder()
    service = make(log=recorder)
    await kit.store(*dead_letters(1, type="early"))
    await kit.clock.advance(WINDOW - SECOND)
    await kit.store(*dead_letters(1, type="late"))
    await kit.clock.advance(2 * SECOND)
    await service.notify()
    await kit.store(*dead_letters(1, type="late"))
    await kit.clock.advance(WINDOW)
    await service.notify()
    assert [("early", 1), ("late", 2)] == [(notice.type, notice.count) for notice in recorder.told]


async def test_every_notifier_is_told(kit: DeadLetterKit, make: Make) -> None:
    """One that fails delays no other, and is tried again."""
    good, bad = Recorder(), Recorder(CallbackFailedError(), CallbackRejectedError())
    service = make(good=good, bad=bad)
    await kit.store(*dead_letters(2))
    await kit.clock.advance(WINDOW + SECOND)
    await service.notify()
    assert (1, 0) == (len(good.told), len(bad.told))
    await service.notify()
    assert 1 == len(bad.failures)
    for wait in (30 * SECOND, MINUTE):
        await kit.clock.advance(wait)
        await service.notify()
    assert (1, 1) == (len(good.told), len(bad.told))
    assert [("bad", "failed"), ("bad", "failed"), ("bad", "sent"), ("good", "sent")] == sorted(kit.metrics.outcomes)


async def test_notifier_that_never_answers_is_given_up_in_time(
    kit: DeadLetterKit, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again later, like one that fails."""
    monkeypatch.setattr("mcp_queue.services.dead_letters.notifications.TIME_LIMIT", timedelta(0))
    assert timedelta(0) < TIME_LIMIT < MINUTE
    await kit.store(*dead_letters(1))
    await kit.clock.advance(WINDOW + SECOND)
    await make(silent=Silent()).notify()
    assert [("silent", "failed")] == kit.metrics.outcomes


async def test_broken_notifier_breaks_nothing_else(kit: DeadLetterKit, make: Make) -> None:
    """A defect is logged and counts as a failure."""
    await kit.store(*dead_letters(1))
    await kit.clock.advance(WINDOW + SECOND)
    await make(broken=Recorder(RuntimeError("a defect"))).notify()
    assert [("broken", "failed")] == kit.metrics.outcomes


async def test_notifier_that_fails_for_a_day_is_given_up(
    kit: DeadLetterKit, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """What was not told stands in the log."""
    service = make(bad=Recorder(*[CallbackFailedError("gone")] * (MOST_TRIES + 5)))
    await kit.store(*dead_letters(3))
    await kit.clock.advance(WINDOW + SECOND)
    for _ in range(MOST_TRIES + 2):
        await service.notify()
        await kit.clock.advance(HOUR)
    assert [("bad", "failed")] * (MOST_TRIES - 1) + [("bad", "given_up")] == kit.metrics.outcomes
    assert "nobody was told of 3 dead letters: gone" in caplog.text


async def test_notice_for_a_notifier_that_is_gone_is_dropped(kit: DeadLetterKit, make: Make) -> None:
    """It was taken out of the configuration."""
    await kit.store(*dead_letters(1))
    await kit.clock.advance(WINDOW + SECOND)
    await make(former=Recorder(CallbackFailedError())).notify()
    await kit.clock.advance(HOUR)
    now = Recorder()
    await make(now=now).notify()
    await make(former=now).notify()
    assert [] == now.told


async def test_notice_that_could_not_be_settled_comes_again(
    kit: DeadLetterKit, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Told twice is better than not told."""
    assert kit.ledger is not None
    caplog.set_level(logging.WARNING)
    recorder = Recorder()
    service = make(log=recorder)
    await kit.store(*dead_letters(1))
    await kit.clock.advance(WINDOW + SECOND)

    async def away(*_: object) -> None:
        raise LedgerUnavailableError

    with monkeypatch.context() as patched:
        patched.setattr(kit.ledger.notices, "settle", away)
        await service.notify()
    await kit.clock.advance(2 * MINUTE)
    await service.notify()
    assert 2 == len(recorder.told)
    assert "comes again" in caplog.text


async def test_two_processes_tell_once(kit: DeadLetterKit, make: Make) -> None:
    """A notice is with one of them at a time."""
    recorder = Recorder()
    await kit.store(*dead_letters(5))
    await kit.clock.advance(WINDOW + SECOND)
    await asyncio.gather(make(log=recorder).notify(), make(log=recorder).notify())
    assert [5] == [notice.count for notice in recorder.told]


def test_job_looks_often(make: Make) -> None:
    """A notice is out soon after its minute."""
    assert timedelta(seconds=15) >= notifying(make()).interval
