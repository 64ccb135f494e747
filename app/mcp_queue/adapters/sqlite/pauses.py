"""Remembers in the file which queues are paused."""

from typing_extensions import override

from mcp_queue.adapters.sqlite.engine.reader import Reader, paused_queues
from mcp_queue.adapters.sqlite.engine.writer import Writer
from mcp_queue.adapters.sqlite.purge import SetPaused
from mcp_queue.ports import PauseSwitch


class SqlitePauseSwitch(PauseSwitch):
    """Pauses queues for every process that uses the file."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    @override
    async def pause(self, queue: str) -> None:
        await self._writer.submit(SetPaused(queue, paused=True))

    @override
    async def resume(self, queue: str) -> None:
        await self._writer.submit(SetPaused(queue, paused=False))

    @override
    async def paused(self) -> frozenset[str]:
        return await self._reader.run(paused_queues)
