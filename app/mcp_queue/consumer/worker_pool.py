"""Fills the consumer's slots with deliveries, and empties them when the process ends."""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextvars import Context
from datetime import timedelta

from mcp_queue.consumer.deferrals import Deferrals
from mcp_queue.consumer.held_delivery import HeldDelivery, Phase
from mcp_queue.consumer.poll_planning import Poll, plan_polls
from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.consumer.receiver import Receiver
from mcp_queue.consumer.unstarted import Unstarted
from mcp_queue.consumer.visibility import VisibilityExtender
from mcp_queue.domain.delivery import Delivery, DeliveryState
from mcp_queue.ports import Clock
from mcp_queue.services.execution.admission import Admitter
from mcp_queue.services.execution.attempts import AttemptRunner, Stop
from mcp_queue.services.execution.settlement import Settlement

logger = logging.getLogger(__name__)

#: How long what is cancelled, once the grace period is over, may take to notice.
CANCEL_TIME = timedelta(seconds=1)
#: How long work that was stopped may take to be released after that.
RELEASE_TIME = timedelta(seconds=5)


class WorkerPool:
    """Runs deliveries of all queues in a fixed number of slots.

    Everything that changes (a poll answered, a slot freed, a queue resumed) asks for one more round of ``_schedule``,
    which fills free slots from what is held and opens the polls that ``poll_planning`` decides on. What a delivery goes
    through is drawn in ``held_delivery``. What may not call its destination now takes no slot, and does not count as
    held: it waits with ``deferrals``, or is given back to come again later.
    """

    def __init__(
        self,
        polled: Sequence[PolledQueue],
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
        self.polled = polled
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
        self._unstarted = Unstarted(deferrals)
        self._running: dict[HeldDelivery, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._polls: set[asyncio.Task[None]] = set()
        self._draining = False
        self._stopping = False
        self._round_asked = False
        self._timer: tuple[float, asyncio.Task[None]] | None = None
        deferrals.on_change(self._ask_round)
        settlement.confirmer.on_stall(self._stall)
        runner.on_suspect(self._stall)

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return self._busy

    @property
    def left_behind(self) -> int:
        """How many handlers still run after a drain, since they do not let themselves be cancelled."""
        return len(self._tasks)

    @property
    def failing(self) -> Mapping[tuple[str, str], str]:
        """Why settlements were postponed, by queue and settlement."""
        return self._settlement.confirmer.failing

    @property
    def running(self) -> Iterable[HeldDelivery]:
        """What runs at the moment."""
        return self._running.keys()

    def start(self) -> None:
        """Begin to receive."""
        now = self._clock.monotonic()
        for polled in self.polled:
            polled.progress_at = now
        self._ask_round()

    def set_paused(self, names: frozenset[str]) -> None:
        """Stop receiving from the queues of these names, and receive from all others."""
        changed = [polled for polled in self.polled if polled.paused != (polled.name in names)]
        for polled in changed:
            polled.paused = not polled.paused
            polled.progress_at = self._clock.monotonic()
        if changed:
            self._release_unstarted([held for held in self._unstarted if held.polled.paused])
            self._ask_round()

    def lose(self, held: HeldDelivery) -> None:
        """Stop what runs on a lost lease; the queue is not touched again for it."""
        if held.phase is Phase.RUNNING:
            self._interrupt(held)
        elif held.phase in {Phase.HELD, Phase.WAITING}:
            self._unstarted.remove(held)
            self._end(held)

    def cancel(self, task_id: str) -> None:
        """Cancel a running task at its next await; it ends ``canceled``. One that is being settled already is not.

        One that calls somebody is let finish, since nobody could tell what the other side has done of it.
        """
        for held in self._running:
            task = held.delivery.task
            stopped = held.stop is not None or held.delivery.lost
            if task is not None and task.id == task_id and held.target is None and not stopped:
                held.stop = Stop.CANCELED
                self._interrupt(held)

    async def drain(self, grace: timedelta, hurry: asyncio.Event) -> None:
        """Receive no more, let running work finish, release the rest.

        Open polls that the backend cannot end are awaited, not cancelled: a cancelled one would hide what it was about
        to bring for a whole visibility timeout. After ``grace``, or at once when ``hurry`` is set, what still runs is
        cancelled and released.
        """
        self._draining = True
        self._ask_round_at(None)
        for polled in self.polled:
            polled.queue.stop_waiting()
        self._release_unstarted(self._unstarted)
        polls = sum(polled.open_polls for polled in self.polled)
        logger.info("draining: %d running, %d polls open", len(self._running), polls)
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
        for held in self._running:
            held.stop = held.stop or Stop.DRAIN
            self._interrupt(held)
        if cancelled := self._tasks - self._polls:
            await asyncio.wait(cancelled, timeout=CANCEL_TIME.total_seconds())
        # A handler that refuses to be cancelled ends with the process; others may run its task.
        stubborn = {held: task for held, task in self._running.items() if held.interruptible}
        for held in stubborn:
            self._spawn(self._abandon(held))
        # What is released may come back to a poll of ours that is still open, and is then released once more.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RELEASE_TIME.total_seconds()
        left_behind = set(stubborn.values())
        while (releasing := self._tasks - self._polls - left_behind) and (left := deadline - loop.time()) > 0:
            await asyncio.wait(releasing, timeout=left)
        for task in self._tasks:
            task.cancel()
        if rest := self._tasks - left_behind:
            await asyncio.wait(rest, timeout=CANCEL_TIME.total_seconds())

    async def _abandon(self, held: HeldDelivery) -> None:
        await self._settlement.release(held.received)
        held.delivery.state = DeliveryState.LOST  # whatever its handler still returns

    def _interrupt(self, held: HeldDelivery) -> None:
        if held.interruptible:
            self._running[held].cancel()

    def _ask_round(self) -> None:
        # Once a round of the loop: slots that free together are filled by one receive.
        if not self._round_asked:
            self._round_asked = True
            # In a context of its own: what it opens belongs to no trace, least of all to that of the attempt that asks.
            asyncio.get_running_loop().call_soon(self._schedule, context=Context())

    def _ask_round_at(self, moment: float | None) -> None:
        if self._timer is not None:
            if self._timer[0] == moment:
                return
            self._timer[1].cancel()
        self._timer = None if moment is None else (moment, asyncio.create_task(self._wait_until(moment)))

    async def _wait_until(self, moment: float) -> None:
        await self._clock.sleep(max(moment - self._clock.monotonic(), 0))
        self._timer = None
        self._ask_round()

    def _schedule(self) -> None:
        self._round_asked = False
        if self._draining:
            return
        self._fill_slots()
        now = self._clock.monotonic()
        plan = plan_polls(
            self.polled,
            free_slots=self._slots - self._busy,
            batch_size=self._batch_size,
            threshold=self._threshold,
            now=now,
        )
        for polled, until in plan.lingering.items():
            polled.linger_until = until
        for poll in plan.polls:
            poll.polled.opened(poll.limit, now)
            opened = self._spawn(self._poll(poll))
            self._polls.add(opened)
            opened.add_done_callback(self._polls.discard)
        moments = [moment for moment in (plan.again_at, self._deferrals.next_moment()) if moment is not None]
        self._ask_round_at(min(moments, default=None))

    def _fill_slots(self) -> None:
        starting, deferred = self._unstarted.take(self._slots - self._busy)
        for held, delay in deferred:
            self._defer(held, delay)
        self._busy += len(starting)
        if starting:
            self._spawn(self._start(starting))

    def _defer(self, held: HeldDelivery, delay: timedelta) -> None:
        held.move_to(Phase.RETURNING)
        held.polled.deferring += 1
        self._spawn(self._settle_deferral(held, delay))

    async def _settle_deferral(self, held: HeldDelivery, delay: timedelta) -> None:
        try:
            await self._settlement.defer(held.received, delay)
        finally:
            held.polled.deferring -= 1
            self._end(held)

    async def _poll(self, poll: Poll) -> None:
        received = await self._receiver.receive(poll)
        for held in received:
            self._unstarted.add(held)
        if self._draining or poll.polled.paused:
            self._release_unstarted(received)
        self._ask_round()

    async def _start(self, starting: Sequence[HeldDelivery]) -> None:
        parsed = [held for held in starting if held.delivery.task is not None]
        for held in starting:
            if held.delivery.task is None:
                self._run(held, self._runner.dead_letter_raw(held.received))
        try:
            attempts = await self._admitter.admit([held.received for held in parsed])
        except BaseException:  # cancellation included: the slots are freed, and it is raised again
            for held in parsed:
                self._free_slot(held, gone=False)
            raise
        for held, attempt in zip(parsed, attempts, strict=True):
            self._run(held, self._runner.run(attempt, held))

    def _run(self, held: HeldDelivery, running: Coroutine[None, None, bool]) -> None:
        if self._stopping:
            held.stop = held.stop or Stop.DRAIN
        self._running[held] = self._spawn(self._occupy_slot(held, running))

    async def _occupy_slot(self, held: HeldDelivery, running: Coroutine[None, None, bool]) -> None:
        gone = False
        try:
            gone = await running
        finally:
            del self._running[held]
            self._free_slot(held, gone=gone)

    def _stall(self, delivery: Delivery) -> None:
        """Let a suspect, or what its queue does not settle at once, keep no other from running."""
        for held in self._running:
            if held.delivery is delivery and held.phase is Phase.RUNNING:
                held.move_to(Phase.STALLED)
                held.polled.stalled += 1
                self._busy -= 1
                self._ask_round()

    def _free_slot(self, held: HeldDelivery, *, gone: bool) -> None:
        self._deferrals.end_call(held.delivery)
        if held.phase is Phase.STALLED:
            held.polled.stalled -= 1
        else:
            self._busy -= 1
        self._end(held, gone=gone)

    def _end(self, held: HeldDelivery, *, gone: bool = False) -> None:
        """Let go of a delivery; the next of its group follows if it is ``gone``, else all behind it are released."""
        held.move_to(Phase.ENDED)
        self._extender.forget(held)
        followers, held.followers = held.followers, deque()
        if followers and gone and not followers[0].delivery.lost and not self._draining:
            head = followers.popleft()
            head.followers = followers
            self._unstarted.add(head)
        elif followers:
            self._release(followers)
        self._ask_round()

    def _release_unstarted(self, unstarted: Iterable[HeldDelivery]) -> None:
        for held in unstarted:
            self._unstarted.remove(held)
            followers, held.followers = held.followers, deque()
            self._release([held, *followers])

    def _release(self, group: Iterable[HeldDelivery]) -> None:
        releasing = list(group)
        for held in releasing:
            held.move_to(Phase.RETURNING)
        self._spawn(self._settle_release(releasing))

    async def _settle_release(self, releasing: Sequence[HeldDelivery]) -> None:
        # At once, and in order: they then go in one batch, between whose entries nobody receives. What was hidden with
        # its head is settled already.
        unsettled = [held.received for held in releasing if held.delivery.settlement is None]
        try:
            await asyncio.gather(*(self._settlement.release(received) for received in unsettled))
        finally:
            for held in releasing:
                self._end(held)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A defect of ours: the delivery comes back when its lease ends.
            logger.error("a task of the worker pool failed", exc_info=error)
            self._ask_round()
