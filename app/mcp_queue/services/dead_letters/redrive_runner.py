"""Redrives that go on in the background, in whichever process takes them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, Redrive, RedriveStatus
from mcp_queue.domain.errors import NotFoundError, QueueError, TryLaterError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.ports import Clock, DeadLetterStore, RedriveJobs
from mcp_queue.services.dead_letters.redrive import Redriver
from mcp_queue.services.dead_letters.topology import DeadLetterTopology

logger = logging.getLogger(__name__)

#: Dead letters that are read, sent and marked at a time: what is in memory of a redrive, however large it is.
PAGE = 50
#: A job is taken over when its process was silent for so long. To read, send and mark a page takes less, however slow.
LEASE = timedelta(seconds=60)
#: How often a process looks for jobs that nobody works on.
LOOK = timedelta(seconds=5)
#: Jobs that one process works on side by side.
AT_ONCE = 8
_STOP_TIME = timedelta(seconds=30)
_PER_SECOND = 4  # pages of a limited redrive
_BACKOFF = ExponentialBackoff(timedelta(seconds=1), timedelta(seconds=30))


class RedriveRunner:
    """Adopts jobs and carries them on; any number of processes may do so side by side."""

    def __init__(
        self,
        jobs: RedriveJobs,
        store: DeadLetterStore,
        redriver: Redriver,
        sources: DeadLetterTopology,
        *,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        """Read dead letters from ``store`` and send them by ``redriver``."""
        self._jobs = jobs
        self._store = store
        self._redriver = redriver
        self._sources = sources
        self._clock = clock
        self._random = random
        self._wanted = asyncio.Event()
        self._stopping = asyncio.Event()

    def wake(self) -> None:
        """Look for a job at once: one was made."""
        self._wanted.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work on jobs while the context is open; at its end pages under way are finished and jobs are given back."""
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
                job = await self._adopted()
                if job is None:
                    free.release()
                    await self._until(self._wanted, LOOK)
                    self._wanted.clear()
                else:
                    group.create_task(self._carry_on(job)).add_done_callback(lambda _: free.release())

    async def _adopted(self) -> Redrive | None:
        try:
            return await self._jobs.adopt(LEASE)
        except QueueError as error:
            logger.warning("redrives wait: %s", error)
            return None

    async def _carry_on(self, job: Redrive) -> None:
        logger.info("redriving dead letters", extra=_fields(job))
        try:
            await self._work(job)
        except QueueError as error:
            # Its lease ends, and then somebody goes on from what was stored last.
            logger.warning("a redrive is interrupted: %s", error, extra=_fields(job))
        except Exception:  # a defect is logged; the job is taken up again when its lease ends
            logger.exception("a redrive is interrupted", extra=_fields(job))

    async def _work(self, job: Redrive) -> None:
        while True:
            began = self._clock.monotonic()
            page = await self._store.read_dead_letters(
                job.filter, limit=_page_size(job.max_per_second), cursor=job.cursor
            )
            sent = await self._send(job, page.items)
            if sent is None:
                return
            job = replace(sent, cursor=page.next_cursor)
            if page.next_cursor is None:
                await self._jobs.advance(replace(job, status=RedriveStatus.COMPLETED), timedelta(0))
                logger.info("redrive completed", extra=_fields(job))
                return
            pause = _pause(job, len(page.items), self._clock.monotonic() - began)
            if not await self._hold(job, pause):
                return
            if pause:
                await self._until(self._stopping, pause)
                if not await self._hold(job):
                    return

    async def _send(self, job: Redrive, dead_letters: Sequence[DeadLetter]) -> Redrive | None:
        """Send all of ``dead_letters``, however long it takes; return ``None`` where the job is over or given back."""
        tries = 0
        while dead_letters:
            verdicts = await self._redrive(job, dead_letters)
            later = [
                dead_letter
                for dead_letter, error in zip(dead_letters, verdicts, strict=True)
                if isinstance(error, TryLaterError)
            ]
            sent = sum(error is None for error in verdicts)
            refused = len(dead_letters) - len(later) - sent
            job = replace(job, redriven=job.redriven + sent, failed=job.failed + refused)
            dead_letters = later
            if later:
                pause = max(_BACKOFF.delay(tries, self._random()), _BACKOFF.base)
                tries += 1
                await self._until(self._stopping, pause)
                if not await self._hold(job):
                    return None
        return job

    async def _redrive(self, job: Redrive, dead_letters: Sequence[DeadLetter]) -> list[QueueError | None]:
        try:
            source = self._sources.of(job.filter.queue)
        except NotFoundError as error:
            return [error] * len(dead_letters)
        return await self._redriver.redrive(source, dead_letters, job.actor)

    async def _hold(self, job: Redrive, pause: timedelta = timedelta(0)) -> bool:
        """Store how far ``job`` came, and return whether to go on: not when it was canceled, or this process ends."""
        stopping = self._stopping.is_set()
        # Given back, another process takes it at once.
        running = await self._jobs.advance(job, timedelta(0) if stopping else LEASE + pause)
        return running and not stopping

    async def _until(self, event: asyncio.Event, limit: timedelta) -> None:
        """Return when ``event`` is set, after ``limit`` at the latest."""
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(self._clock.sleep(limit.total_seconds()))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _page_size(rate: float | None) -> int:
    return PAGE if rate is None else max(1, min(PAGE, int(rate / _PER_SECOND)))


def _pause(job: Redrive, count: int, taken: float) -> timedelta:
    """Return how long to wait after ``count`` dead letters that took ``taken`` seconds, to keep the rate of ``job``."""
    if job.max_per_second is None:
        return timedelta(0)
    return timedelta(seconds=max(0.0, count / job.max_per_second - taken))


def _fields(job: Redrive) -> dict[str, object]:
    return {"redrive": job.id, "queue": job.filter.queue, "redriven": job.redriven, "matched": job.matched}
