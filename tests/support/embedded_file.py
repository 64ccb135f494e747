"""What else may happen to the embedded queue's file."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mcp_queue.adapters.sqlite.engine.command import Transaction, WriteCommand
from mcp_queue.domain.queues import Backend, QueueKind
from tests.support.queues import make_spec

STANDARD = make_spec(backend=Backend.SQLITE, dead_letter_queue="dlq")
FIFO = make_spec("ordered", backend=Backend.SQLITE, kind=QueueKind.FIFO, dead_letter_queue="dlq")


def content(path: Path) -> bytes:
    """Return all that lies in a file."""
    return path.read_bytes()


def overwrite(path: Path, data: bytes) -> None:
    """Replace what lies in a file, or make one."""
    path.write_bytes(data)


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
