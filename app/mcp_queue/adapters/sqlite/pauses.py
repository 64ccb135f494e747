"""Which queues of the file are paused."""

from mcp_queue.adapters.sqlite.engine.reader import Reader, paused_queues
from mcp_queue.adapters.sqlite.engine.writer import Writer
from mcp_queue.adapters.sqlite.purge import SetPaused


class SqlitePauseSwitch:
    """Implements ``PauseSwitch`` for every process that has the file."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        """Keep the names beside the messages."""
        self._writer = writer
        self._reader = reader

    async def pause(self, queue: str) -> None:
        """Remember that ``queue`` is paused."""
        await self._writer.submit(SetPaused(queue, paused=True))

    async def resume(self, queue: str) -> None:
        """Forget that ``queue`` was paused."""
        await self._writer.submit(SetPaused(queue, paused=False))

    async def paused(self) -> frozenset[str]:
        """Return the paused queues."""
        return await self._reader.ask(paused_queues)
