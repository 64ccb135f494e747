"""Remembers paused queues in memory."""

from typing_extensions import override

from mcp_queue.ports import PauseSwitch


class InMemoryPauseSwitch(PauseSwitch):
    """Remembers which queues are paused, for one process."""

    def __init__(self) -> None:
        self._paused: set[str] = set()

    @override
    async def pause(self, queue: str) -> None:
        self._paused.add(queue)

    @override
    async def resume(self, queue: str) -> None:
        self._paused.discard(queue)

    @override
    async def paused(self) -> frozenset[str]:
        return frozenset(self._paused)
