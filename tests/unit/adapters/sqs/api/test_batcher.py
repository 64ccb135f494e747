"""Concurrent single calls in few batch calls."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from mcp_queue.adapters.sqs.api.batcher import Batcher, BatchLimits
from mcp_queue.adapters.sqs.api.errors import ThrottledError, UnansweredError
from mcp_queue.domain.errors import BackendUnavailableError, InvalidTaskError, OverloadedError, QueueError
from mcp_queue.testing import FakeClock
from tests.support.clock import MINUTE


class Calls:
    """Batch calls that end when the test lets them."""

    def __init__(self) -> None:
        """Start with none."""
        self.batches: list[list[str]] = []
        self.begun = asyncio.Event()  #: set by the first call
        self.answers: list[asyncio.Future[list[str | QueueError]]] = []

    async def __call__(self, entries: Sequence[str]) -> Sequence[str | QueueError]:
        """Wait for the test's answer."""
        self.batches.append(list(entries))
        self.begun.set()
        answer: asyncio.Future[list[str | QueueError]] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return await answer

    def accept(self, index: int) -> None:
        """Accept every entry of one call, answering with its name in capitals."""
        self.answers[index].set_result([entry.upper() for entry in self.batches[index]])

    def answer(self, index: int, *verdicts: str | QueueError) -> None:
        """Answer one call."""
        self.answers[index].set_result(list(verdicts))


class Bench:
    """A batcher on scripted calls."""

    def __init__(self, **limits: object) -> None:
        """Bound it by ``limits``."""
        self.calls = Calls()
        self.clock = FakeClock()
        self.batcher: Batcher[str, str] = Batcher(
            self.calls,
            clock=self.clock,
            limits=BatchLimits(**limits),  # type: ignore[arg-type]  # the tests name them rightly
            random=lambda: 1.0,
        )

    def submit(self, *entries: str, group: str | None = None, size: int = 0) -> list[asyncio.Task[str]]:
        """Submit entries at the same time."""
        return [asyncio.create_task(self.batcher.submit(entry, group=group, size=size)) for entry in entries]


async def turns() -> None:
    """Let everybody act."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_idle_batcher_sends_at_once() -> None:
    """Nobody waits for company that may never come."""
    bench = Bench()
    (submitted,) = bench.submit("a")
    await turns()
    assert [["a"]] == bench.calls.batches
    bench.calls.accept(0)
    assert "A" == await submitted


async def test_what_comes_at_the_same_time_goes_in_one_call() -> None:
    """Entries of one turn of the loop share a call."""
    bench = Bench()
    submitted = bench.submit("a", "b", "c")
    await turns()
    bench.calls.accept(0)
    assert ["A", "B", "C"] == await asyncio.gather(*submitted)
    assert [["a", "b", "c"]] == bench.calls.batches


async def test_a_busy_batcher_collects() -> None:
    """What comes while calls are under way fills the next one."""
    bench = Bench(partial_calls=1)
    first = bench.submit("a")
    await turns()
    second = [*bench.submit("b"), *bench.submit("c")]
    await turns()
    assert [["a"]] == bench.calls.batches
    bench.calls.accept(0)
    await turns()
    bench.calls.accept(1)
    assert ["A", "B", "C"] == await asyncio.gather(*first, *second)
    assert [["a"], ["b", "c"]] == bench.calls.batches


async def test_a_full_batch_does_not_wait() -> None:
    """While calls are under way full ones start beside them, up to their limit."""
    bench = Bench(partial_calls=1, calls=3, entries=2)
    submitted = bench.submit("a", "b", "c", "d", "e", "f", "g", "h")
    await turns()
    assert [["a", "b"], ["c", "d"], ["e", "f"]] == bench.calls.batches
    bench.calls.accept(1)
    await turns()
    assert ["g", "h"] == bench.calls.batches[3]
    for index in (0, 2, 3):
        bench.calls.accept(index)
    await asyncio.gather(*submitted)


async def test_a_batch_is_bounded_by_bytes() -> None:
    """The sum of its entries is at most the limit; one entry always goes."""
    bench = Bench(size=100)
    submitted = [*bench.submit("a", "b", "c", size=40), *bench.submit("d", size=200)]
    await turns()
    assert [["a", "b"], ["c"], ["d"]] == bench.calls.batches
    for index in range(3):
        bench.calls.accept(index)
    await asyncio.gather(*submitted)


async def test_each_entry_has_its_own_verdict() -> None:
    """What is wrong with one is no matter to the others."""
    bench = Bench()
    good, bad = bench.submit("a", "b")
    await turns()
    bench.calls.answer(0, "A", InvalidTaskError("no"))
    assert "A" == await good
    with pytest.raises(InvalidTaskError):
        await bad


async def test_a_call_that_fails_fails_all_its_entries() -> None:
    """Without an answer nobody knows."""
    bench = Bench()
    submitted = bench.submit("a", "b")
    await turns()
    bench.calls.answers[0].set_exception(UnansweredError())
    results = await asyncio.gather(*submitted, return_exceptions=True)
    assert [UnansweredError, UnansweredError] == [type(result) for result in results]


async def test_throttled_entries_are_tried_again_after_a_pause() -> None:
    """Only they, and not at once."""
    bench = Bench()
    good, throttled = bench.submit("a", "b")
    await turns()
    bench.calls.answer(0, "A", ThrottledError())
    assert "A" == await good
    await turns()
    assert 1 == len(bench.calls.batches)
    await bench.clock.advance(timedelta(milliseconds=200))
    bench.calls.accept(1)
    assert "B" == await throttled
    assert [["a", "b"], ["b"]] == bench.calls.batches


async def test_tries_are_bounded() -> None:
    """In the end the caller of a throttled entry is told to come back later."""
    bench = Bench(tries=3)
    (submitted,) = bench.submit("a")
    for index in range(3):
        await turns()
        bench.calls.answer(index, ThrottledError())
        await bench.clock.advance(MINUTE)
    with pytest.raises(BackendUnavailableError):
        await submitted
    assert 3 == len(bench.calls.batches)


async def test_too_many_waiting_entries_are_refused() -> None:
    """Memory and patience have an end."""
    bench = Bench(partial_calls=1, waiting=2)
    first = bench.submit("a")
    await turns()
    waiting = bench.submit("b", "c")
    (refused,) = bench.submit("d")
    with pytest.raises(OverloadedError):
        await refused
    bench.calls.accept(0)
    await turns()
    bench.calls.accept(1)
    await asyncio.gather(*first, *waiting)


async def test_too_many_waiting_bytes_are_refused() -> None:
    """A few large entries weigh as much as many small ones."""
    bench = Bench(partial_calls=1, waiting_size=100)
    first = bench.submit("a", size=100)
    await turns()
    waiting = bench.submit("b", size=100)
    (refused,) = bench.submit("c", size=1)
    with pytest.raises(OverloadedError):
        await refused
    bench.calls.accept(0)
    await turns()
    bench.calls.accept(1)
    await asyncio.gather(*first, *waiting)


async def test_an_entry_waits_no_longer_than_its_budget() -> None:
    """A caller is answered in time, also when SQS is not."""
    bench = Bench(budget=timedelta(0))
    (submitted,) = bench.submit("a")
    with pytest.raises(UnansweredError):
        await submitted
    bench.calls.accept(0)
    await bench.batcher.aclose()


async def test_an_entry_whose_caller_has_gone_is_not_sent() -> None:
    """Cancelled before its call it is as if it had never been."""
    bench = Bench(partial_calls=1)
    first = bench.submit("a")
    await turns()
    (gone,) = bench.submit("b")
    last = bench.submit("c")
    await turns()
    gone.cancel()
    await turns()
    bench.calls.accept(0)
    await turns()
    bench.calls.accept(1)
    await asyncio.gather(*first, *last)
    assert [["a"], ["c"]] == bench.calls.batches


class TestLinger:
    """An entry may wait for company."""

    async def test_what_comes_within_the_linger_shares_a_call(self) -> None:
        """Nobody is kept waiting by it but those who allowed it."""
        bench = Bench(linger=timedelta(milliseconds=20), partial_calls=1)
        first = bench.submit("a")
        await turns()
        second = bench.submit("b")
        await turns()
        assert [] == bench.calls.batches
        async with asyncio.timeout(5):
            await bench.calls.begun.wait()
        assert [["a", "b"]] == bench.calls.batches
        bench.calls.accept(0)
        assert ["A", "B"] == await asyncio.gather(*first, *second)

    async def test_a_full_batch_does_not_linger(self) -> None:
        """There is no room for more company."""
        bench = Bench(linger=MINUTE, entries=3)
        submitted = bench.submit("a", "b", "c")
        await turns()
        assert [["a", "b", "c"]] == bench.calls.batches
        bench.calls.accept(0)
        await asyncio.gather(*submitted)

    async def test_in_a_hurry_nothing_lingers(self) -> None:
        """Neither what waits nor what comes."""
        bench = Bench(linger=MINUTE)
        first = bench.submit("a")
        await turns()
        bench.batcher.hurry()
        second = bench.submit("b")
        await turns()
        assert [["a"], ["b"]] == bench.calls.batches
        bench.calls.accept(0)
        bench.calls.accept(1)
        await asyncio.gather(*first, *second)


class TestThrottling:
    """SQS asks for a pause."""

    async def test_one_call_at_a_time_tries_whether_sqs_still_throttles(self) -> None:
        """However many were under way: each that tries by itself is what SQS asked not to get."""
        bench = Bench(entries=1)
        submitted = bench.submit(*"abcdefghijklmnopqrstuvwxyz")
        await turns()
        under_way = len(bench.calls.batches)
        assert under_way > 10
        for index in range(under_way):
            bench.calls.answer(index, ThrottledError("slow down"))
        for tried in range(5):
            await bench.clock.advance(timedelta(seconds=10))
            await turns()
            assert under_way + tried + 1 == len(bench.calls.batches)
            bench.calls.answer(-1, ThrottledError("slow down"))
        for each in submitted:
            each.cancel()

    async def test_calls_grow_again_when_sqs_accepts(self) -> None:
        """One more at first."""
        bench = Bench(entries=1, calls=2)
        submitted = bench.submit("a", "b", "c", "d")
        await turns()
        bench.calls.answer(0, ThrottledError("slow down"))
        bench.calls.answer(1, ThrottledError("slow down"))
        await turns()
        await bench.clock.advance(timedelta(seconds=1))
        assert [["a"], ["b"], ["a"]] == bench.calls.batches
        bench.calls.accept(2)
        await turns()
        assert ["c"] == bench.calls.batches[3]
        await bench.clock.advance(timedelta(seconds=1))
        for index in range(3, 6):
            bench.calls.accept(index)
            await turns()
        assert ["A", "B", "C", "D"] == await asyncio.gather(*submitted)

    async def test_no_call_is_made_for_entries_whose_callers_have_gone(self) -> None:
        """A batch of nothing is refused."""
        bench = Bench()
        (submitted,) = bench.submit("a")
        await turns()
        bench.calls.answer(0, ThrottledError("slow down"))
        await turns()
        submitted.cancel()
        await bench.clock.advance(MINUTE)
        await turns()
        assert [["a"]] == bench.calls.batches


class TestGroups:
    """Entries whose order matters."""

    async def test_one_call_of_a_group_is_under_way(self) -> None:
        """The second waits for the first, in order; other groups do not."""
        bench = Bench(entries=2)
        group = bench.submit("a1", "a2", "a3", "a4", group="a")
        await turns()
        other = bench.submit("b1", group="b")
        await turns()
        assert [["a1", "a2"], ["b1"]] == bench.calls.batches
        bench.calls.accept(1)
        await turns()
        assert 2 == len(bench.calls.batches)
        bench.calls.accept(0)
        await turns()
        bench.calls.accept(2)
        await asyncio.gather(*group, *other)
        assert ["a3", "a4"] == bench.calls.batches[2]

    async def test_groups_share_a_call(self) -> None:
        """Few entries of many groups still fill a batch."""
        bench = Bench()
        submitted = [task for group in "abc" for task in bench.submit(group, group=group)]
        await turns()
        assert [["a", "b", "c"]] == bench.calls.batches
        bench.calls.accept(0)
        await asyncio.gather(*submitted)

    async def test_a_group_that_was_used_once_can_be_used_again(self) -> None:
        """Groups come and go."""
        bench = Bench()
        for index in range(2):
            (submitted,) = bench.submit("a", group="a")
            await turns()
            bench.calls.accept(index)
            assert "A" == await submitted

    async def test_an_entry_behind_which_another_was_accepted_is_not_tried_again(self) -> None:
        """It would come after what it was sent before."""
        bench = Bench()
        early, late = bench.submit("a1", "a2", group="a")
        await turns()
        bench.calls.answer(0, ThrottledError(), "A2")
        assert "A2" == await late
        with pytest.raises(BackendUnavailableError):
            await early
        assert 1 == len(bench.calls.batches)

    async def test_entries_at_the_end_of_a_group_are_tried_again_in_order(self) -> None:
        """Nothing has overtaken them."""
        bench = Bench()
        submitted = bench.submit("a1", "a2", "a3", group="a")
        await turns()
        bench.calls.answer(0, "A1", ThrottledError(), ThrottledError())
        await bench.clock.advance(timedelta(seconds=1))
        bench.calls.accept(1)
        assert ["A1", "A2", "A3"] == await asyncio.gather(*submitted)
        assert ["a2", "a3"] == bench.calls.batches[1]

    async def test_a_group_goes_on_after_entries_whose_callers_have_gone(self) -> None:
        """An abandoned head does not hold its group."""
        bench = Bench(partial_calls=1)
        first = bench.submit("x", group="other")
        await turns()
        (gone,) = bench.submit("a1", group="a")
        await turns()
        gone.cancel()
        await turns()
        bench.calls.accept(0)
        await turns()
        (submitted,) = bench.submit("a2", group="a")
        await turns()
        bench.calls.accept(1)
        assert "A2" == await submitted
        await asyncio.gather(*first)


class TestClosing:
    """The end."""

    async def test_calls_under_way_end_first(self) -> None:
        """What was sent is answered."""
        bench = Bench()
        (submitted,) = bench.submit("a")
        await turns()
        closing = asyncio.create_task(bench.batcher.aclose())
        await turns()
        assert not closing.done()
        bench.calls.accept(0)
        await closing
        assert "A" == await submitted

    async def test_what_waits_is_refused(self) -> None:
        """It was not sent, and its caller is told."""
        bench = Bench(partial_calls=1)
        first = bench.submit("a")
        await turns()
        (waiting,) = bench.submit("b")
        await turns()
        closing = asyncio.create_task(bench.batcher.aclose())
        with pytest.raises(BackendUnavailableError):
            await waiting
        bench.calls.accept(0)
        await asyncio.gather(closing, *first)

    async def test_a_closed_batcher_takes_nothing(self) -> None:
        """Nobody would send it."""
        bench = Bench()
        await bench.batcher.aclose()
        with pytest.raises(BackendUnavailableError):
            await bench.batcher.submit("a")
