"""The embedded queue's file from outside: what lies in it, what others write into it, and what goes wrong with it."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqlite.backend import SqliteBackend
from mcp_queue.adapters.sqlite.engine.command import Transaction, WriteCommand
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task
from tests.support.queues.harness import RawSerializer, spec_of

STANDARD = spec_of("work", backend=Backend.SQLITE, dead_letter_queue="dlq")
FIFO = spec_of("ordered", backend=Backend.SQLITE, kind=QueueKind.FIFO, dead_letter_queue="dlq")


def content(path: Path) -> bytes:
    """Return all that lies in a file."""
    return path.read_bytes()


def overwrite(path: Path, data: bytes) -> None:
    """Replace what lies in a file, or make one."""
    path.write_bytes(data)


async def put_raw(data_dir: Path, queue: str, bodies: list[str]) -> None:
    """Put message bodies into a queue that no task is behind."""
    clock = SystemClock()
    async with SqliteBackend(data_dir / "queue.db", clock=clock, serializer=RawSerializer()) as backend:
        target = backend.queue(QueueSpec(name=queue, kind=QueueKind.STANDARD, backend=Backend.SQLITE))
        for number, body in enumerate(bodies):
            await target.enqueue(
                Task(id=f"raw-{number}", type="raw", queue=queue, created_at=clock.now(), payload=body)
            )


async def dead_letters(data_dir: Path, queue: str = "dlq") -> list[Delivery]:
    """Return everything that lies in the dead-letter queue."""
    found: list[Delivery] = []
    clock = SystemClock()
    async with SqliteBackend(data_dir / "queue.db", clock=clock, serializer=JsonTaskSerializer()) as backend:
        source = backend.queue(QueueSpec(name=queue, kind=QueueKind.STANDARD, backend=Backend.SQLITE))
        while received := await source.receive(10, timedelta(0)):
            found += received
    return found


class Lock:
    """Another connection that writes for as long as a test wants."""

    def __init__(self, path: Path) -> None:
        """Connect; take nothing yet."""
        self._connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> Self:
        """Hold nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what is held."""
        self._connection.close()

    def take(self) -> None:
        """Begin to write."""
        self._connection.execute("BEGIN IMMEDIATE")

    def give_back(self) -> None:
        """Stop writing."""
        self._connection.execute("ROLLBACK")


@dataclass(frozen=True, slots=True, eq=False)
class DiskSize(WriteCommand[int]):
    """Let the file have so many pages more than it has; a negative number takes the limit away."""

    more_pages: int

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> Sequence[int | Exception]:
        """Set the limit, for the writer's connection."""
        (used,) = transaction.connection.execute("PRAGMA page_count").fetchone()
        limits = [used + command.more_pages if command.more_pages >= 0 else 2**30 for command in commands]
        return [transaction.connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()[0] for pages in limits]


@dataclass(frozen=True, slots=True, eq=False)
class Defect(WriteCommand[None]):
    """A command that fails as no command should."""

    @classmethod
    def apply_all(cls, transaction: Transaction, commands: Sequence[Self]) -> Sequence[Exception | None]:
        """Write something, then fail."""
        transaction.connection.execute("INSERT INTO paused_queues VALUES ('half done')")
        raise ZeroDivisionError
