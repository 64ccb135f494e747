"""Deletes what the ledger has kept for long enough."""

from datetime import timedelta

from mcp_queue.ports import Clock, TaskStore
from mcp_queue.services.periodic import PeriodicJob

#: Between two batches, so that pruning never stalls the writes of the main job.
PAUSE = timedelta(milliseconds=100)


class Retention:
    """Prunes ended tasks and dead letters past their time, one small batch after the other."""

    def __init__(self, store: TaskStore, *, clock: Clock, ended: timedelta, dead_letters: timedelta | None) -> None:
        """Keep ended tasks for ``ended``, and dead letters for ``dead_letters``; ``None`` keeps them."""
        self._store = store
        self._clock = clock
        self._ended = ended
        self._dead_letters = dead_letters

    async def prune(self) -> None:
        """Forget everything that is past its time."""
        now = self._clock.now()
        failed_before = None if self._dead_letters is None else now - self._dead_letters
        while await self._store.prune(now - self._ended, failed_before):
            await self._clock.sleep(PAUSE.total_seconds())


def pruning(retention: Retention) -> PeriodicJob:
    """Prune every five minutes."""
    return PeriodicJob("prune-ledger", timedelta(minutes=5), retention.prune)
