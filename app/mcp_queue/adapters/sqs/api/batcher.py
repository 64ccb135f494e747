"""Turns concurrent single calls to SQS into batch calls."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Final, Generic, TypeVar

from mcp_queue.adapters.batching import PendingItem
from mcp_queue.adapters.sqs.api.errors import ThrottledError, UnansweredError
from mcp_queue.adapters.sqs.api.limits import MAX_BATCH_ENTRIES, MAX_MESSAGE_BYTES
from mcp_queue.domain.errors import BackendUnavailableError, OverloadedError, QueueError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.ports import Clock

Entry = TypeVar("Entry")
Answer = TypeVar("Answer")
#: Makes one batch call; answers for each entry, in the order given. An error it raises is the answer for all.
Call = Callable[[Sequence[Entry]], Awaitable[Sequence[Answer | QueueError]]]

_BACKOFF: Final = ExponentialBackoff(timedelta(milliseconds=200), timedelta(seconds=5))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """The limits of a batcher.

    ``partial_calls``: while this many calls are under way, only full batches start. A lower number sends the first
    entries of an idle queue alone; a higher one spreads the entries of a busy queue over many small calls.
    ``linger``: how long the first entry of an idle queue waits for others.
    ``budget``: the longest that an entry waits for its answer, tries included. ``tries`` counts the first one.
    """

    entries: int = MAX_BATCH_ENTRIES
    size: int = MAX_MESSAGE_BYTES
    calls: int = 16
    partial_calls: int = 2
    linger: timedelta = timedelta(0)
    waiting: int = 10_000
    waiting_size: int = 64 * MAX_MESSAGE_BYTES
    budget: timedelta = timedelta(seconds=20)
    tries: int = 5


@dataclass(slots=True, eq=False)
class _Pending(PendingItem[Entry, Answer]):
    group: "_Group[Entry, Answer]"


@dataclass(slots=True, eq=False)
class _Group(Generic[Entry, Answer]):
    key: Hashable
    waiting: deque[_Pending[Entry, Answer]] = field(default_factory=deque)


class Batcher(Generic[Entry, Answer]):
    """Collects entries while calls are under way; an idle batcher sends at once.

    Entries of one group are sent in order, one call at a time; entries without a group have no order. An entry that SQS
    throttled is tried again, unless a later one of its group was accepted: that would change their order.

    While SQS throttles, one call at a time tries whether it still does, and the number of calls under way is halved
    each time that it does. Every accepted call raises it again a little (additive increase, multiplicative decrease).
    """

    def __init__(
        self,
        call: Call[Entry, Answer],
        *,
        clock: Clock,
        limits: BatchLimits,
        random: Callable[[], float],
    ) -> None:
        """Send batches by ``call``; ``random`` in [0, 1) spreads the delays before further tries."""
        self._call = call
        self._clock = clock
        self._limits = limits
        self._random = random
        self._groups: dict[Hashable, _Group[Entry, Answer]] = {}
        self._ready: deque[_Group[Entry, Answer]] = deque()
        self._count = 0
        self._size = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._allowed = float(limits.calls)
        self._trying_again = asyncio.Lock()
        self._scheduled = False
        self._linger = limits.linger.total_seconds()
        self._due = 0.0  # on the loop's clock: when what waits may go in a call that is not full
        self._closed = False

    async def submit(self, entry: Entry, *, size: int = 0, group: Hashable = None) -> Answer:
        """Return SQS's answer for ``entry`` of ``size`` bytes.

        Raises:
            OverloadedError: too many entries wait already.
            BackendUnavailableError: SQS does not answer, or throttles for too long.
            QueueError: SQS refused the entry.

        """
        if self._closed:
            raise BackendUnavailableError("the connection to SQS is closing")
        if self._count >= self._limits.waiting or self._size >= self._limits.waiting_size:
            message = f"{self._count} messages of {self._size} bytes wait for SQS already"
            raise OverloadedError(message)
        pending = self._add(entry, size, group)
        patience = asyncio.get_running_loop().call_later(self._limits.budget.total_seconds(), self._give_up, pending)
        try:
            return await pending.answer
        finally:
            patience.cancel()

    def hurry(self) -> None:
        """Let nothing linger, from now on."""
        self._linger = self._due = 0.0
        self._start()

    async def aclose(self) -> None:
        """Refuse what waits, and return when the calls under way have ended."""
        self._closed = True
        for group in self._groups.values():
            for pending in group.waiting:
                pending.fail(BackendUnavailableError("the connection to SQS is closing"))
            group.waiting.clear()
        self._ready.clear()
        if self._calls:
            await asyncio.wait(self._calls)

    def _add(self, entry: Entry, size: int, key: Hashable) -> _Pending[Entry, Answer]:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(key)
            self._ready.append(group)
        pending = _Pending(entry, asyncio.get_running_loop().create_future(), size, group)
        group.waiting.append(pending)
        self._count += 1
        self._size += size
        if self._linger:
            self._wait_for_company()
        elif not self._scheduled:
            # At the end of this turn of the loop, so that everything submitted in it goes in one call.
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)
        return pending

    def _wait_for_company(self) -> None:
        loop = asyncio.get_running_loop()
        if self._count == 1:
            self._due = loop.time() + self._linger
            loop.call_at(self._due, self._start)
        elif self._fills_a_batch():
            self._start()

    def _give_up(self, pending: _Pending[Entry, Answer]) -> None:
        pending.fail(UnansweredError(f"SQS gave no answer within {self._limits.budget}"))

    def _start(self) -> None:
        self._scheduled = False
        while self._ready and len(self._calls) < self._allowed:
            if not self._may_be_partial() and not self._fills_a_batch():
                return
            if batch := self._take():
                call = asyncio.get_running_loop().create_task(self._run(batch))
                self._calls.add(call)
                call.add_done_callback(self._ended)

    def _may_be_partial(self) -> bool:
        few = len(self._calls) < self._limits.partial_calls
        return few and (not self._linger or asyncio.get_running_loop().time() >= self._due)

    def _fills_a_batch(self) -> bool:
        count = size = 0
        for group in self._ready:
            for pending in islice(group.waiting, self._limits.entries):
                count += 1
                size += pending.size
                if count == self._limits.entries or size >= self._limits.size:
                    return True
        return False

    def _take(self) -> list[_Pending[Entry, Answer]]:
        batch: list[_Pending[Entry, Answer]] = []
        room = self._limits.size
        while self._ready and len(batch) < self._limits.entries:
            group = self._ready.popleft()
            before = len(batch)
            room = self._fill(batch, group, room)
            under_way = group.key is not None and len(batch) > before
            if group.waiting:  # the batch is full; a group under way is ready again when this call has ended
                if not under_way:
                    self._ready.appendleft(group)
                break
            if not under_way:
                del self._groups[group.key]
        return batch

    def _fill(self, batch: list[_Pending[Entry, Answer]], group: _Group[Entry, Answer], room: int) -> int:
        """Move what fits from ``group`` to ``batch``; return the bytes left."""
        while group.waiting and len(batch) < self._limits.entries:
            pending = group.waiting[0]
            gone = pending.answer.done()  # its caller has stopped waiting
            if not gone and batch and pending.size > room:
                break
            group.waiting.popleft()
            self._count -= 1
            self._size -= pending.size
            if not gone:
                batch.append(pending)
                room -= pending.size
        return room

    async def _run(self, batch: list[_Pending[Entry, Answer]]) -> None:
        left = batch
        try:
            left = await self._attempt(batch, last=self._limits.tries == 1)
            for attempt in range(1, self._limits.tries):
                if not left:
                    break
                async with self._trying_again:
                    await self._clock.sleep(_BACKOFF.delay(attempt - 1, self._random()).total_seconds())
                    left = [pending for pending in left if not pending.answer.done()]
                    left = left and await self._attempt(left, last=attempt == self._limits.tries - 1)
        finally:
            for pending in left:
                pending.fail(UnansweredError())
            self._free(batch)

    async def _attempt(self, batch: list[_Pending[Entry, Answer]], *, last: bool) -> list[_Pending[Entry, Answer]]:
        """Make one call; return the entries to be tried again."""
        answers = await self._answers(batch)
        if any(isinstance(answer, ThrottledError) for answer in answers):
            self._allowed = max(1.0, self._allowed / 2)
        elif any(not isinstance(answer, QueueError) for answer in answers):
            self._allowed = min(float(self._limits.calls), self._allowed + 1 / self._allowed)
        return _settle(batch, answers, last=last)

    async def _answers(self, batch: list[_Pending[Entry, Answer]]) -> Sequence[Answer | QueueError]:
        try:
            return await self._call([pending.item for pending in batch])
        except QueueError as error:
            return [error] * len(batch)

    def _free(self, batch: list[_Pending[Entry, Answer]]) -> None:
        for group in {pending.group for pending in batch if pending.group.key is not None}:
            if group.waiting:
                self._ready.append(group)
            else:
                del self._groups[group.key]

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._start()


def _settle(
    batch: list[_Pending[Entry, Answer]], answers: Sequence[Answer | QueueError], *, last: bool
) -> list[_Pending[Entry, Answer]]:
    """Give each entry its answer; return those to be tried again, in order."""
    again: list[_Pending[Entry, Answer]] = []
    accepted: set[_Group[Entry, Answer]] = set()
    for pending, answer in zip(reversed(batch), reversed(answers), strict=True):
        if isinstance(answer, ThrottledError) and not last and pending.group not in accepted:
            again.append(pending)
        elif isinstance(answer, QueueError):
            pending.fail(answer)
        else:
            if pending.group.key is not None:
                accepted.add(pending.group)
            pending.resolve(answer)
    again.reverse()
    return again
