"""Turns concurrent single calls into batch calls."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Final, Generic, TypeVar

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
    """Bounds of a batcher.

    ``partial_calls``: while so many calls are under way, only full batches start. Fewer leave an idle queue's first
    entries without company; more spread a busy queue's entries over many small calls.
    ``budget``: the longest an entry waits for its verdict, tries included. ``tries`` counts the first one.
    """

    entries: int = MAX_BATCH_ENTRIES
    size: int = MAX_MESSAGE_BYTES
    calls: int = 16
    partial_calls: int = 2
    waiting: int = 10_000
    waiting_size: int = 64 * MAX_MESSAGE_BYTES
    budget: timedelta = timedelta(seconds=20)
    tries: int = 5


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Entry, Answer]):
    entry: Entry
    size: int
    lane: "_Lane[Entry, Answer]"
    verdict: asyncio.Future[Answer]


@dataclass(slots=True, eq=False)
class _Lane(Generic[Entry, Answer]):
    key: Hashable
    waiting: deque[_Waiting[Entry, Answer]] = field(default_factory=deque)


class Batcher(Generic[Entry, Answer]):
    """Collects entries while calls are under way; an idle one sends at once.

    Entries of one lane are sent in order, with one call of it under way; entries without a lane are free. An entry
    that SQS throttled is tried again, unless a later one of its lane was accepted: that would change their order.
    """

    def __init__(
        self,
        call: Call[Entry, Answer],
        *,
        clock: Clock,
        limits: BatchLimits,
        random: Callable[[], float],
    ) -> None:
        """Send batches by ``call``; ``random`` in [0, 1) spreads further tries."""
        self._call = call
        self._clock = clock
        self._limits = limits
        self._random = random
        self._lanes: dict[Hashable, _Lane[Entry, Answer]] = {}
        self._ready: deque[_Lane[Entry, Answer]] = deque()
        self._count = 0
        self._size = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._woken = False
        self._closed = False

    async def submit(self, entry: Entry, *, size: int = 0, lane: Hashable = None) -> Answer:
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
        loop = asyncio.get_running_loop()
        waiting = self._add(entry, size, lane, loop.create_future())
        patience = loop.call_later(self._limits.budget.total_seconds(), self._give_up, waiting)
        try:
            return await waiting.verdict
        finally:
            patience.cancel()

    async def aclose(self) -> None:
        """Refuse what waits, and return when the calls under way have ended."""
        self._closed = True
        for lane in self._lanes.values():
            for waiting in lane.waiting:
                _fail(waiting, BackendUnavailableError("the connection to SQS is closing"))
            lane.waiting.clear()
        self._ready.clear()
        if self._calls:
            await asyncio.wait(self._calls)

    def _add(self, entry: Entry, size: int, key: Hashable, verdict: asyncio.Future[Answer]) -> _Waiting[Entry, Answer]:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
            self._ready.append(lane)
        waiting = _Waiting(entry, size, lane, verdict)
        lane.waiting.append(waiting)
        self._count += 1
        self._size += size
        if not self._woken:
            # A turn of the loop later, so that everything that comes in this turn goes in one call.
            self._woken = True
            asyncio.get_running_loop().call_soon(self._start)
        return waiting

    def _give_up(self, waiting: _Waiting[Entry, Answer]) -> None:
        _fail(waiting, UnansweredError(f"SQS gave no answer within {self._limits.budget}"))

    def _start(self) -> None:
        self._woken = False
        while self._ready and len(self._calls) < self._limits.calls:
            if len(self._calls) >= self._limits.partial_calls and not self._fills_a_batch():
                return
            if batch := self._take():
                call = asyncio.get_running_loop().create_task(self._run(batch))
                self._calls.add(call)
                call.add_done_callback(self._ended)

    def _fills_a_batch(self) -> bool:
        count = size = 0
        for lane in self._ready:
            for waiting in islice(lane.waiting, self._limits.entries):
                count += 1
                size += waiting.size
                if count == self._limits.entries or size >= self._limits.size:
                    return True
        return False

    def _take(self) -> list[_Waiting[Entry, Answer]]:
        batch: list[_Waiting[Entry, Answer]] = []
        room = self._limits.size
        while self._ready and len(batch) < self._limits.entries:
            lane = self._ready.popleft()
            before = len(batch)
            room = self._fill(batch, lane, room)
            under_way = lane.key is not None and len(batch) > before
            if lane.waiting:  # the batch is full; a lane under way is ready again when this call has ended
                if not under_way:
                    self._ready.appendleft(lane)
                break
            if not under_way:
                del self._lanes[lane.key]
        return batch

    def _fill(self, batch: list[_Waiting[Entry, Answer]], lane: _Lane[Entry, Answer], room: int) -> int:
        """Move what fits from ``lane`` to ``batch``; return the bytes left."""
        while lane.waiting and len(batch) < self._limits.entries:
            waiting = lane.waiting[0]
            gone = waiting.verdict.done()  # its caller waits no more
            if not gone and batch and waiting.size > room:
                break
            lane.waiting.popleft()
            self._count -= 1
            self._size -= waiting.size
            if not gone:
                batch.append(waiting)
                room -= waiting.size
        return room

    async def _run(self, batch: list[_Waiting[Entry, Answer]]) -> None:
        left = batch
        try:
            for attempt in range(self._limits.tries):
                last = attempt == self._limits.tries - 1
                left = _settle(left, await self._answers(left), last=last)
                if not left:
                    break
                await self._clock.sleep(_BACKOFF.delay(attempt, self._random()).total_seconds())
                left = [waiting for waiting in left if not waiting.verdict.done()]
        finally:
            for waiting in left:
                _fail(waiting, UnansweredError())
            self._free(batch)

    async def _answers(self, batch: list[_Waiting[Entry, Answer]]) -> Sequence[Answer | QueueError]:
        try:
            return await self._call([waiting.entry for waiting in batch])
        except QueueError as error:
            return [error] * len(batch)

    def _free(self, batch: list[_Waiting[Entry, Answer]]) -> None:
        for lane in {waiting.lane for waiting in batch if waiting.lane.key is not None}:
            if lane.waiting:
                self._ready.append(lane)
            else:
                del self._lanes[lane.key]

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._start()


def _settle(
    batch: list[_Waiting[Entry, Answer]], answers: Sequence[Answer | QueueError], *, last: bool
) -> list[_Waiting[Entry, Answer]]:
    """Give each entry its verdict; return those to be tried again, in order."""
    again: list[_Waiting[Entry, Answer]] = []
    accepted: set[_Lane[Entry, Answer]] = set()
    for waiting, answer in zip(reversed(batch), reversed(answers), strict=True):
        if isinstance(answer, ThrottledError) and not last and waiting.lane not in accepted:
            again.append(waiting)
        elif isinstance(answer, QueueError):
            _fail(waiting, answer)
        else:
            if waiting.lane.key is not None:
                accepted.add(waiting.lane)
            if not waiting.verdict.done():
                waiting.verdict.set_result(answer)
    again.reverse()
    return again


def _fail(waiting: _Waiting[Entry, Answer], error: QueueError) -> None:
    if not waiting.verdict.done():
        waiting.verdict.set_exception(error)
