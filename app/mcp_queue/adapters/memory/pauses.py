"""Paused queues, remembered by one process."""


class MemoryPauseSwitch:
    """Implements ``PauseSwitch`` for one process."""

    def __init__(self) -> None:
        """Start with nothing paused."""
        self._paused: set[str] = set()

    async def pause(self, queue: str) -> None:
        """Remember that ``queue`` is paused."""
        self._paused.add(queue)

    async def resume(self, queue: str) -> None:
        """Forget that ``queue`` was paused."""
        self._paused.discard(queue)

    async def paused(self) -> frozenset[str]:
        """Return the paused queues."""
        return frozenset(self._paused)
