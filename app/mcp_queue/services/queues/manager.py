"""Gives clients their queues: enqueue, describe, count, pause and purge."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mcp_queue.domain.errors import (
    BackendUnavailableError,
    NotFoundError,
    QueueError,
    QueueNotFoundError,
)
from mcp_queue.domain.formats.identifiers import uuid7
from mcp_queue.domain.queues import QueueSpec, QueueStats
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock, Metrics, PauseSwitch, Queue, TaskStore, Tracer
from mcp_queue.services.enqueueing.request import NewTask
from mcp_queue.services.enqueueing.rules import EnqueueRules, Origin, check_batch_size, make_task
from mcp_queue.services.enqueueing.submission import Draft, Enqueued, IdempotencyKey, Replayed, Submission, too_large
from mcp_queue.services.enqueueing.validation import MAX_NAME
from mcp_queue.services.queues.priority import ProducerQueue, leaves
from mcp_queue.services.queues.purges import Purges
from mcp_queue.services.queues.stats import CountDeadLetters, QueueCounts, feeders
from mcp_queue.services.tracing import NO_TRACER


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDescription:
    """A queue as operators see it."""

    spec: QueueSpec
    paused: bool
    holds_dead_letters: bool


class QueueManager:
    """Knows every queue by the name that clients use, and puts tasks into them.

    The levels of a priority queue are reached through it alone. Dead-letter queues are shown, but cannot be enqueued
    to, paused or purged by their own name: their dead letters belong to the queues that they came from.
    """

    def __init__(
        self,
        queues: Mapping[str, ProducerQueue],
        *,
        pauses: Mapping[str, PauseSwitch],
        rules: EnqueueRules,
        clock: Clock,
        metrics: Metrics,
        random_bits: Callable[[int], int],
        submission: Submission,
        purges: Purges,
        store: TaskStore,
        dead_letters: CountDeadLetters,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """Know ``queues`` by name; ``random_bits(n)`` returns ``n`` random bits, for task ids.

        ``pauses`` has a switch for each. ``store`` learns of purges, and knows since when tasks wait;
        ``dead_letters`` counts those of a queue.
        """
        self._queues = queues
        self._pauses = pauses
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._random_bits = random_bits
        self._submission = submission
        self._purges = purges
        self._store = store
        self._tracer = tracer
        self._feeders = feeders(queues)
        self._counts = QueueCounts(queues, clock=clock, store=store, dead_letters=dead_letters)

    @property
    def names(self) -> Collection[str]:
        """The names of all queues."""
        return self._queues.keys()

    async def enqueue(self, name: str, draft: Draft, *, traceparent: str | None = None) -> Enqueued | Replayed:
        """Put a new task into the queue ``name``.

        Raises:
            QueueNotFoundError: there is no such queue.
            InvalidTaskError: the task breaks a rule.
            LedgerDisabledError: an idempotency key needs the ledger.
            ConflictError: the key is under way, or was used for another request.
            TryLaterError: the queue is full or was just purged, or its backend does not answer.

        """
        queue = self._source(name)
        self._purges.check_open(name)
        with self._tracer.enqueue(queue.spec) as span:
            task = self._task(draft.new, queue.spec, span.traceparent or traceparent)
            verdict = await self._submission.submit(queue, task, draft.key)
            if isinstance(verdict, Enqueued):
                span.describe(verdict.task)
            return verdict

    async def enqueue_batch(
        self, name: str, entries: Sequence[Draft | Exception], *, traceparent: str | None = None
    ) -> list[Enqueued | Replayed | Exception]:
        """Put up to 1,000 new tasks into the queue ``name``; each entry has its own verdict, in the order given.

        An entry that was refused before it came here is its error, and keeps that as its verdict.

        Raises:
            QueueNotFoundError: there is no such queue.
            InvalidTaskError: there are no entries, or too many.
            BackendUnavailableError: the queue was just purged, or no answer came for any entry.

        """
        queue = self._source(name)
        check_batch_size(len(entries))
        self._purges.check_open(name)
        with self._tracer.enqueue(queue.spec, len(entries)) as span:
            traceparent = span.traceparent or traceparent
            made = [self._task_or_error(entry, queue.spec, traceparent) for entry in entries]
            verdicts = await self._submission.submit_all(queue, [item for item in made if isinstance(item, tuple)])
            _raise_silence(verdicts)
            refusal = next((verdict for verdict in verdicts if isinstance(verdict, QueueError)), None)
            if refusal is not None:
                span.failed(refusal)
        answers = iter(verdicts)
        return [next(answers) if isinstance(item, tuple) else item for item in made]

    def make(self, name: str, new: NewTask, *, traceparent: str | None = None) -> Task:
        """Return the task that ``new`` asks for in the queue ``name``, without putting it there.

        Raises:
            NotFoundError: there is no such queue, or it takes no tasks.
            InvalidTaskError: the task breaks a rule, or is too large for the queue.

        """
        queue = self._source(name)
        task = self._task(new, queue.spec, traceparent)
        refusal = too_large(queue, task)
        if refusal is not None:
            raise refusal
        return task

    async def describe_all(self) -> list[QueueDescription]:
        """Describe every queue, in the order of the configuration."""
        paused = await self._paused(self._queues)
        return [self._description(name, paused) for name in self._queues]

    async def describe(self, name: str) -> QueueDescription:
        """Describe the queue ``name``."""
        self._any(name)
        return self._description(name, await self._paused([name]))

    async def stats(self, name: str) -> QueueStats:
        """Count what lies in the queue ``name``, as ``QueueCounts`` does."""
        self._any(name)
        stats = replace(await self._counts.of(name), paused=name in await self._paused([name]))
        self._metrics.observe_queue(stats)
        return stats

    async def pause(self, name: str) -> QueueDescription:
        """Stop consumers from receiving from the queue ``name``.

        Raises:
            LedgerDisabledError: nothing remembers whether this queue is paused.

        """
        await self._switch(name).pause(name)
        return await self.describe(name)

    async def resume(self, name: str) -> QueueDescription:
        """Let consumers receive from the queue ``name`` again.

        Raises:
            LedgerDisabledError: nothing remembers whether this queue is paused.

        """
        await self._switch(name).resume(name)
        return await self.describe(name)

    async def purge(self, name: str) -> int | None:
        """Delete what waits in the queue ``name``; return how many tasks, ``None`` where the backend does not say.

        What the ledger holds for later goes too; what is deleted ends ``canceled``.

        Raises:
            TryLaterError: the backend allows no purge yet.

        """
        queue = self._source(name)
        moment = await self._purges.begin(name)
        purged = await queue.purge()
        await self._store.cancel_waiting(name, moment)
        return purged

    def task_queues(self) -> Mapping[str, Queue]:
        """Return the queues that tasks are put into, levels by their own names."""
        queues = [queue for name, queue in self._queues.items() if name not in self._feeders]
        return {leaf.spec.name: leaf for queue in queues for leaf in leaves(queue)}

    def _any(self, name: str) -> ProducerQueue:
        queue = self._queues.get(name)
        if queue is None:
            raise QueueNotFoundError(name[:MAX_NAME])
        return queue

    def _source(self, name: str) -> ProducerQueue:
        """Return a queue that clients put tasks into."""
        queue = self._any(name)
        if name in self._feeders:
            message = f"{name!r} holds the dead letters of other queues: only looking at it is possible"
            raise NotFoundError(message)
        return queue

    def _task(self, new: NewTask, spec: QueueSpec, traceparent: str | None) -> Task:
        now = self._clock.now()
        task_id = uuid7(int(now.timestamp() * 1000), self._random_bits(74))
        return make_task(new, spec, self._rules, Origin(task_id=task_id, created_at=now, traceparent=traceparent))

    def _task_or_error(
        self, entry: Draft | Exception, spec: QueueSpec, traceparent: str | None
    ) -> tuple[Task, IdempotencyKey | None] | Exception:
        if isinstance(entry, Exception):
            return entry
        try:
            return self._task(entry.new, spec, traceparent), entry.key
        except QueueError as error:
            return error

    def _switch(self, name: str) -> PauseSwitch:
        self._source(name)
        return self._pauses[name]

    async def _paused(self, names: Iterable[str]) -> set[str]:
        switches = {self._pauses[name] for name in names}
        answers = [await switch.paused() for switch in switches]
        return {name for answer in answers for name in answer}

    def _description(self, name: str, paused: set[str]) -> QueueDescription:
        return QueueDescription(
            spec=self._queues[name].spec, paused=name in paused, holds_dead_letters=name in self._feeders
        )


def _raise_silence(verdicts: Sequence[object]) -> None:
    """Raise what every entry failed with, where no answer came for any: then the batch as a whole is to be repeated."""
    silent = [verdict for verdict in verdicts if isinstance(verdict, BackendUnavailableError)]
    if silent and len(silent) == len(verdicts):
        raise silent[0]
