"""The heart of the consumer: slots, what fills them, and how they empty when the process ends."""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from contextvars import Context
from datetime import timedelta

from mcp_queue.consumer.admission import Admitter
from mcp_queue.consumer.alarm import Alarm
from mcp_queue.consumer.attempts import AttemptRunner
from mcp_queue.consumer.deferrals import Deferrals
from mcp_queue.consumer.poll_planning import Poll, choose, plan_polls
from mcp_queue.consumer.receiver import Receiver
from mcp_queue.consumer.settlement import Settlement
from mcp_queue.consumer.visibility import VisibilityExtender
from mcp_queue.consumer.work import Lane, Stop, Work
from mcp_queue.domain.execution.retry import revived
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock

logger = logging.getLogger(__name__)

#: How long work that was stopped may take to be given back, once the grace period is over.
RELEASE_TIME = timedelta(seconds=5)
#: How long what is cancelled after that may take to notice.
CANCEL_TIME = timedelta(seconds=1)


class WorkerPool:
    """Runs deliveries of all lanes in a fixed number of slots.

    Everything that changes (a poll answered, a slot freed, a queue resumed) asks for one more round of ``_pump``,
    which fills free slots from what is held and opens the polls that ``intake`` plans. It runs on one event loop and
    needs no lock.

    What may not call its destination now takes no slot, and does not count as held: it waits with ``deferrals``, or
    is given back to come again later.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        *,
        slots: int,
        batch_size: int,
        clock: Clock,
        receiver: Receiver,
        admitter: Admitter,
        runner: AttemptRunner,
        settlement: Settlement,
        extender: VisibilityExtender,
        deferrals: Deferrals,
    ) -> None:
        """Take up to ``batch_size`` messages a receive, and run up to ``slots`` tasks at a time."""
        self.lanes = lanes
        self._slots = slots
        self._batch_size = batch_size
        self._threshold = min(batch_size, max(1, slots // 2))
        self._clock = clock
        self._receiver = receiver
        self._admitter = admitter
        self._runner = runner
        self._settlement = settlement
        self._extender = extender
        self._deferrals = deferrals
        self._busy = 0
        self._held: list[Work] = []
        self._running: dict[Work, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._polls: set[asyncio.Task[None]] = set()
        self._draining = False
        self._stopping = False
        self._pump_asked = False
        self._alarm = Alarm(clock, self._ask_pump)
        deferrals.on_change(self._ask_pump)

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return self._busy

    @property
    def left_behind(self) -> int:
        """How many handlers still run after a drain, since they do not let themselves be cancelled."""
        return len(self._tasks)

    @property
    def running(self) -> Iterable[Work]:
        """What runs at the moment."""
        return self._running.keys()

    def start(self) -> None:
        """Begin to receive."""
        now = self._clock.monotonic()
        for lane in self.lanes:
            lane.progress_at = now
        self._ask_pump()

    def set_paused(self, names: frozenset[str]) -> None:
        """Stop receiving from the queues of these names, and receive from all others."""
        changed = [lane for lane in self.lanes if lane.paused != (lane.name in names)]
        for lane in changed:
            lane.paused = not lane.paused
            lane.progress_at = self._clock.monotonic()
        if changed:
            self._give_back([work for work in self._unstarted() if work.lane.paused])
            self._ask_pump()

    def lose(self, work: Work) -> None:
        """Stop what runs on a lost lease; the queue is not touched again for it."""
        if work in self._running:
            self._interrupt(work)
        elif work in self._held or work.waits_until is not None:
            self._unhold(work)
            self._advance(work, gone=False)
            self._ask_pump()

    def cancel(self, task_id: str) -> None:
        """Cancel a running task at its next await; it ends ``canceled``. One that is being settled already is not.

        One that calls somebody is let finish, since nobody could tell what the other side has done of it.
        """
        for work in self._running:
            task = work.delivery.task
            if task is not None and task.id == task_id and work.stop is None and work.target is None:
                work.stop = Stop.CANCELED
                self._interrupt(work)

    async def drain(self, grace: timedelta, hurry: asyncio.Event) -> None:
        """Receive no more, let running work finish, give the rest back.

        Open polls that the backend cannot end are awaited, not cancelled: a cancelled one would hide what it was about
        to bring for a whole visibility timeout. After ``grace``, or at once when ``hurry`` is set, what still runs is
        cancelled and released.
        """
        self._draining = True
        self._alarm.set(None)
        for lane in self.lanes:
            lane.queue.stop_waiting()
        self._give_back(self._unstarted())
        logger.info("draining: %d running, %d polls open", len(self._running), sum(lane.polls for lane in self.lanes))
        timers = {asyncio.create_task(hurry.wait()), asyncio.create_task(self._clock.sleep(grace.total_seconds()))}
        try:
            while self._tasks and not any(timer.done() for timer in timers):
                await asyncio.wait({*self._tasks, *timers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for timer in timers:
                timer.cancel()
            await asyncio.gather(*timers, return_exceptions=True)
        await self._stop_rest()

    async def _stop_rest(self) -> None:
        self._stopping = True
        for work in self._running:
            work.stop = work.stop or Stop.DRAIN
            self._interrupt(work)
        # What is released may come back to a poll of ours that is still open, and is then released once more.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RELEASE_TIME.total_seconds()
        while (giving_back := self._tasks - self._polls) and (left := deadline - loop.time()) > 0:
            await asyncio.wait(giving_back, timeout=left)
        for task in self._tasks:
            task.cancel()
        if self._tasks:  # a handler may refuse to be cancelled; nobody waits for it any longer
            await asyncio.wait(self._tasks, timeout=CANCEL_TIME.total_seconds())
        if self._running:  # its process is about to end, and others may run its task
            given_back = [asyncio.create_task(self._settlement.release(work)) for work in self._running]
            await asyncio.wait(given_back, timeout=RELEASE_TIME.total_seconds())

    def _interrupt(self, work: Work) -> None:
        if work.interruptible:
            self._running[work].cancel()

    def _ask_pump(self) -> None:
        # Once a round of the loop: slots that free together are filled by one receive.
        if not self._pump_asked:
            self._pump_asked = True
            # In a context of its own: what it opens belongs to no trace, least of all to that of the attempt that asks.
            asyncio.get_running_loop().call_soon(self._pump, context=Context())

    def _pump(self) -> None:
        self._pump_asked = False
        if self._draining:
            return
        self._fill_slots()
        polls, again_at = plan_polls(
            self.lanes,
            free_slots=self._slots - self._busy,
            batch_size=self._batch_size,
            threshold=self._threshold,
            now=self._clock.monotonic(),
        )
        for poll in polls:
            opened = self._spawn(self._poll(poll))
            self._polls.add(opened)
            opened.add_done_callback(self._polls.discard)
        moments = [moment for moment in (again_at, self._deferrals.next_moment()) if moment is not None]
        self._alarm.set(min(moments, default=None))

    def _fill_slots(self) -> None:
        for work, delay in self._deferrals.leaving():
            self._put_off(work, delay)
        # With no slot free, what a limit keeps stays where it is: it holds nobody up, and no more is received.
        kept_from = self._deferrals.refused if self._busy < self._slots else self._deferrals.barred
        for work in [work for work in self._held if kept_from(work)]:
            self._defer(work)
        starting = []
        while self._busy < self._slots and (startable := self._deferrals.startable(self._held)):
            work = choose(startable)
            if self._deferrals.refused(work):
                self._defer(work)
                continue
            self._unhold(work)
            self._deferrals.enter(work)
            self._busy += 1
            starting.append(work)
        if starting:
            self._spawn(self._start(starting))

    def _defer(self, work: Work) -> None:
        self._unhold(work)
        delay = self._deferrals.keep(work)
        if delay is not None:
            self._put_off(work, delay)

    def _put_off(self, work: Work, delay: timedelta) -> None:
        assert work.delivery.task is not None
        work.lane.deferring += 1
        self._spawn(self._postpone(work, revived(work.delivery.task), delay))

    async def _postpone(self, work: Work, task: Task, delay: timedelta) -> None:
        try:
            await self._settlement.postpone(work, task, delay)
        finally:
            work.lane.deferring -= 1
            self._extender.forget(work)
            self._advance(work, gone=False)
            self._ask_pump()

    async def _poll(self, poll: Poll) -> None:
        works = await self._receiver.receive(poll)
        for work in works:
            self._hold(work)
        if self._draining or poll.lane.paused:
            self._give_back(works)
        self._ask_pump()

    async def _start(self, works: Sequence[Work]) -> None:
        poison = [work for work in works if work.delivery.task is None]
        for work in poison:
            self._run(work, self._runner.settle_poison(work))
        try:
            attempts = await self._admitter.admit(works)
        except BaseException:  # cancellation included: the slots are freed, and it is raised again
            for work in works:
                if work not in poison:
                    self._free_slot(work, gone=False)
            raise
        for attempt in attempts:
            self._run(attempt.work, self._runner.settle(attempt))

    def _run(self, work: Work, settling: Coroutine[None, None, bool]) -> None:
        if self._stopping:
            work.stop = work.stop or Stop.DRAIN
        self._running[work] = self._spawn(self._occupy_slot(work, settling))

    async def _occupy_slot(self, work: Work, settling: Coroutine[None, None, bool]) -> None:
        gone = False
        try:
            gone = await settling
        finally:
            del self._running[work]
            self._free_slot(work, gone=gone)

    def _free_slot(self, work: Work, *, gone: bool) -> None:
        work.end_call()
        self._extender.forget(work)
        self._busy -= 1
        self._advance(work, gone=gone)
        self._ask_pump()

    def _advance(self, work: Work, *, gone: bool) -> None:
        """Let the next of the group follow once the one before is gone; otherwise give the others back in order."""
        followers, work.followers = work.followers, deque()
        if not followers:
            return
        head = followers.popleft()
        head.followers = followers
        self._hold(head)
        if not gone or head.lost or self._draining:
            self._give_back([head])

    def _hold(self, work: Work) -> None:
        self._deferrals.locate(work)
        self._held.append(work)
        work.lane.held += 1

    def _unhold(self, work: Work) -> None:
        if work.waits_until is not None:
            self._deferrals.remove(work)
        else:
            self._held.remove(work)
            work.lane.held -= 1

    def _unstarted(self) -> list[Work]:
        return [*self._held, *self._deferrals.waiting()]

    def _give_back(self, works: Iterable[Work]) -> None:
        for work in works:
            self._unhold(work)
            self._spawn(self._release([work, *work.followers]))
            work.followers = deque()

    async def _release(self, works: Sequence[Work]) -> None:
        # At once, and in order: they then go in one batch, between whose entries nobody receives.
        await asyncio.gather(*(self._settlement.release(work) for work in works))

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A defect of ours: the delivery comes back when its lease ends.
            logger.error("a task of the worker pool failed", exc_info=error)
            self._ask_pump()
