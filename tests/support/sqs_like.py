"""Queues in memory that promise as little as SQS does."""

from collections.abc import Sequence
from datetime import timedelta

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import MAX_SQS_DELAY, Backend, QueueKind, QueueSpec, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.clock import NOW


class SqsLike(InMemoryQueue):
    """Holds no long delay, on FIFO none at all, and drops a duplicate without a word.

    The next sends end with ``answers``, one each: an error, or ``None``, which lets it through.
    """

    def __init__(self, clock: FakeClock, name: str = "orders", *, fifo: bool = True, **members: object) -> None:
        """Be empty."""
        kind = QueueKind.FIFO if fifo else QueueKind.STANDARD
        spec = QueueSpec(name=name, kind=kind, backend=Backend.SQS, **members)  # type: ignore[arg-type]  # named by tests
        super().__init__(spec, clock=clock, serializer=JsonTaskSerializer())
        self.answers: list[QueueError | None] = []
        self.sends: list[Task] = []

    @property
    def traits(self) -> QueueTraits:
        """What SQS does by itself."""
        return QueueTraits(max_delay=NOW if self.spec.fifo else MAX_SQS_DELAY, rewrites=not self.spec.fifo)

    async def enqueue(self, task: Task) -> Accepted:
        """Answer as the test says."""
        self.sends.append(task)
        error = self.answers.pop(0) if self.answers else None
        if error is not None:
            raise error
        return Accepted((await super().enqueue(task)).message_id)

    async def waiting(self) -> list[str]:
        """Return the ids of the tasks that can be received, each once."""
        received = await self.receive(10, timedelta(0))
        return [delivery.task.id for delivery in received if delivery.task is not None]


def ids(tasks: Sequence[Task]) -> list[str]:
    """Return the ids of tasks."""
    return [task.id for task in tasks]
