"""Carries redrives on in the background, in any process that adopts them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from typing_extensions import override

from mcp_queue.domain.dead_letters.dead_letter import Redrive, RedriveStatus
from mcp_queue.domain.dead_letters.reading import RedriveRefusal
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.ports import Clock, RedriveStore
from mcp_queue.services.dead_letters.redrive import RedrivePace, Redriver, is_outage, redrive_all

logger = logging.getLogger(__name__)

#: A redrive is taken over when its process was silent for so long. To read, send and mark a page takes less.
LEASE = timedelta(seconds=60)
#: How often a process asks for redrives that nobody works on.
ADOPT_INTERVAL = timedelta(seconds=5)
#: Redrives that one process works on side by side.
AT_ONCE = 8
_STOP_TIME = timedelta(seconds=30)
_BACKOFF = ExponentialBackoff(timedelta(seconds=1), timedelta(seconds=30))


class RedriveRunner:
    """Adopts redrives and carries them on; any number of processes may do so side by side."""

    def __init__(self, store: RedriveStore, redriver: Redriver, *, clock: Clock, random: Callable[[], float]) -> None:
        """Adopt redrives from ``store``; ``redriver`` reads and sends their dead letters."""
        self._store = store
        self._redriver = redriver
        self._clock = clock
        self._random = random
        self._wanted = asyncio.Event()
        self._stopping = asyncio.Event()

    def wake(self) -> None:
        """Adopt at once: a redrive was made."""
        self._wanted.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work on redrives while the context is open; at its end pages under way are finished, the rest given back."""
        loop = asyncio.create_task(self._run(), name="redrives")
        try:
            yield
        finally:
            self._stopping.set()
            self._wanted.set()
            try:
                await asyncio.wait([loop], timeout=_STOP_TIME.total_seconds())
            finally:
                loop.cancel()
                await asyncio.gather(loop, return_exceptions=True)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            free = asyncio.Semaphore(AT_ONCE)
            while not self._stopping.is_set():
                await free.acquire()
                redrive = await self._adopted()
                if redrive is None:
                    free.release()
                    await _until(self._wanted, ADOPT_INTERVAL, self._clock)
                    self._wanted.clear()
                else:
                    group.create_task(self._carry_on(redrive)).add_done_callback(lambda _: free.release())

    async def _adopted(self) -> Redrive | None:
        try:
            return await self._store.adopt(LEASE)
        except QueueError as error:
            logger.warning("redrives wait: %s", error)
            return None

    async def _carry_on(self, redrive: Redrive) -> None:
        logger.info("redriving dead letters", extra=_fields(redrive))
        pace = _Background(redrive, self._store, self._stopping, self._clock, self._random)
        try:
            ended = await redrive_all(redrive, self._redriver, pace)
            if ended.status is RedriveStatus.COMPLETED:
                await self._store.advance(ended, timedelta(0))
                logger.info("redrive completed", extra=_fields(ended))
        except QueueError as error:
            # Its lease ends, and then somebody goes on from what was stored last.
            logger.warning("a redrive is interrupted: %s", error, extra=_fields(redrive))
        except Exception:  # a defect is logged; the redrive is taken up again when its lease ends
            logger.exception("a redrive is interrupted", extra=_fields(redrive))


class _Background(RedrivePace):
    """Keeps the rate of a redrive and waits for its queue, until it is canceled or this process ends."""

    def __init__(  # one call, and each argument of a type of its own
        self, redrive: Redrive, store: RedriveStore, stopping: asyncio.Event, clock: Clock, random: Callable[[], float]
    ) -> None:
        super().__init__()
        self._rate = redrive.max_per_second
        self._store = store
        self._stopping = stopping
        self._clock = clock
        self._random = random
        self._page_began = clock.monotonic()
        self._tries = 0

    @override
    async def after_send(self, redrive: Redrive, refusals: Sequence[RedriveRefusal]) -> bool:
        if not is_outage(refusals):
            self._tries = 0
            return True
        pause = max(_BACKOFF.delay(self._tries, self._random()), _BACKOFF.base)
        self._tries += 1
        await _until(self._stopping, pause, self._clock)
        return await self._hold(redrive)

    @override
    async def after_page(self, redrive: Redrive, count: int) -> bool:
        pause = timedelta(0)
        if self._rate is not None:
            taken = self._clock.monotonic() - self._page_began
            pause = timedelta(seconds=max(0.0, count / self._rate - taken))
        goes_on = await self._hold(redrive, pause)
        if goes_on and pause:
            await _until(self._stopping, pause, self._clock)
            goes_on = await self._hold(redrive)
        self._page_began = self._clock.monotonic()
        return goes_on

    async def _hold(self, redrive: Redrive, pause: timedelta = timedelta(0)) -> bool:
        """Store how far ``redrive`` came; return whether to go on: not when it was canceled, or this process ends."""
        stopping = self._stopping.is_set()
        # Given back, another process takes it at once.
        running = await self._store.advance(redrive, timedelta(0) if stopping else LEASE + pause)
        return running and not stopping


async def _until(event: asyncio.Event, limit: timedelta, clock: Clock) -> None:
    """Return when ``event`` is set, after ``limit`` at the latest."""
    waits = [asyncio.create_task(event.wait()), asyncio.create_task(clock.sleep(limit.total_seconds()))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _fields(redrive: Redrive) -> dict[str, object]:
    return {
        "redrive": redrive.id,
        "queue": redrive.filter.queue,
        "redriven": redrive.redriven,
        "matched": redrive.matched,
    }
