"""Opens the embedded queue's file for one process."""

import asyncio
import sqlite3
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from mcp_queue.adapters.sqlite.dead_letters import DeadLetterTarget
from mcp_queue.adapters.sqlite.engine.file import QueueFile
from mcp_queue.adapters.sqlite.engine.reader import Reader
from mcp_queue.adapters.sqlite.engine.schema import check_sqlite
from mcp_queue.adapters.sqlite.engine.watcher import Watcher
from mcp_queue.adapters.sqlite.engine.writer import Writer
from mcp_queue.adapters.sqlite.leftovers import Reveal
from mcp_queue.adapters.sqlite.pauses import SqlitePauseSwitch
from mcp_queue.adapters.sqlite.queue import SqliteContext, SqliteQueue
from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.domain.formats.serialization import TaskSerializer
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.ports import Clock, DeadLetterSink
from mcp_queue.services.queues.long_polling import LongPolling


class SqliteBackend:
    """All queues of one file, for one event loop. An async context manager.

    Times are kept by the machine's time of day, the one clock that its processes share and that outlives them. When it
    steps, leases and waits of a given length keep that length; what is scheduled for a moment waits for that moment.
    The order of FIFO groups does not depend on it.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        serializer: TaskSerializer,
        busy_timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        """Use the file at ``path``, which is created if missing; wait ``busy_timeout`` for other processes."""
        self._path = path
        self._clock = clock
        self._file = QueueFile(path, clock, busy_timeout)
        self._polling: dict[str, LongPolling] = {}
        self._specs: dict[str, QueueSpec] = {}
        self._writer = Writer(self._file, clock=clock, on_arrival=self._wake)
        self._reader = Reader(self._file)
        self._watcher = Watcher(path, on_change=self._wake_all)
        self._context = SqliteContext(self._file, self._writer, self._reader, self._watcher, clock, serializer)
        self.pauses = SqlitePauseSwitch(self._writer, self._reader)

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            NotSupportedError: this SQLite is too old, or the file is from a newer version of the product.
            BackendUnavailableError: the file is damaged, locked or cannot be written.

        """
        check_sqlite()
        try:
            await asyncio.to_thread(self._file.open)
        except (OSError, sqlite3.Error) as error:
            message = f"cannot open the embedded queue's file {self._path}: {error}"
            raise BackendUnavailableError(message) from error
        self._writer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what was asked for, then close the file. Waiting receivers get ``BackendUnavailableError``."""
        self._writer.refuse()
        self._wake_all()
        self._watcher.close()
        await self._writer.close()
        await self._reader.close()

    def queue(self, spec: QueueSpec, dead_letters: DeadLetterSink | None = None) -> SqliteQueue:
        """Return the queue of ``spec``. Its dead-letter queue is ``dead_letters``, or that of this file.

        No redrive policy moves messages out of the file: there the consumer enforces ``max_receive_count``.
        """
        self._specs[spec.name] = spec
        polling = self._polling.setdefault(spec.name, LongPolling(self._clock))
        target = dead_letters or (lambda: self._dead_letter_target(spec))
        return SqliteQueue(spec, self._context, polling, target)

    async def reveal(self, queue: str) -> None:
        """Let everything be received that waits in ``queue`` unleased, whenever it is due."""
        await self._writer.submit(Reveal(queue))

    def _dead_letter_target(self, spec: QueueSpec) -> DeadLetterTarget | None:
        if spec.dead_letter_queue is None:
            return None
        dead_letters = self._specs.get(spec.dead_letter_queue)
        return DeadLetterTarget(spec.dead_letter_queue, None if dead_letters is None else dead_letters.group_of(None))

    def _wake(self, queues: Iterable[str]) -> None:
        for name in queues:
            if (polling := self._polling.get(name)) is not None:
                polling.wake()

    def _wake_all(self) -> None:
        self._wake(list(self._polling))
