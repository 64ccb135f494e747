"""Knows which dead-letter queue holds the dead letters of which queue."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mcp_queue.domain.errors import NotFoundError, NotSupportedError, QueueNotFoundError
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.ports import Queue
from mcp_queue.services.enqueueing.validation import MAX_NAME
from mcp_queue.services.queues.priority import ProducerQueue


@dataclass(frozen=True, slots=True)
class SourceQueue:
    """A queue that tasks come from. ``siblings`` are all queues that share its dead-letter queue."""

    queue: ProducerQueue
    holder: Queue | None
    siblings: frozenset[str]

    @property
    def spec(self) -> QueueSpec:
        """The configuration of the queue."""
        return self.queue.spec

    @property
    def name(self) -> str:
        """The name that clients use."""
        return self.queue.spec.public_name

    @property
    def shared(self) -> bool:
        """Whether other queues put their dead letters into the same dead-letter queue."""
        return self.holder is not None and len(self.siblings) > 1

    @property
    def shared_dead_letter_queue(self) -> str | None:
        """The dead-letter queue, where other queues share it: dead letters of unknown source are stored under it."""
        return self.dead_letters().spec.name if self.shared else None

    @property
    def stored_under(self) -> Sequence[str]:
        """The names under which the ledger stores the dead letters of this queue."""
        shared = self.shared_dead_letter_queue
        return [self.name] if shared is None else [self.name, shared]

    def dead_letters(self) -> Queue:
        """Return the dead-letter queue.

        Raises:
            NotSupportedError: there is none.

        """
        if self.holder is None:
            message = f"the queue {self.name!r} has no dead-letter queue"
            raise NotSupportedError(message)
        return self.holder


class DeadLetterTopology:
    """Every queue that has dead letters, by the name that clients use."""

    def __init__(self, public: Mapping[str, ProducerQueue], by_name: Mapping[str, Queue]) -> None:
        """Join the ``public`` queues with their dead-letter queues, which are in ``by_name``."""
        holders = {name: queue.spec.dead_letter_queue for name, queue in public.items()}
        self._holders = frozenset(filter(None, holders.values()))
        self._sources = {
            name: SourceQueue(
                queue=public[name],
                holder=None if holder is None else by_name[holder],
                siblings=frozenset(other for other, theirs in holders.items() if theirs == holder),
            )
            for name, holder in holders.items()
            if name not in self._holders
        }

    def names(self) -> Iterable[str]:
        """Return the names of all."""
        return self._sources.keys()

    def of(self, name: str) -> SourceQueue:
        """Return the source ``name``.

        Raises:
            QueueNotFoundError: there is no such queue.
            NotFoundError: it holds dead letters itself.

        """
        source = self._sources.get(name)
        if source is not None:
            return source
        if name in self._holders:
            message = f"{name!r} holds the dead letters of other queues: look at theirs"
            raise NotFoundError(message)
        raise QueueNotFoundError(name[:MAX_NAME])
