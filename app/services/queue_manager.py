"""The gateway's only door to queues."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from app.domain.delivery import Accepted
from app.domain.errors import LedgerDisabledError, NotFoundError, QueueError, QueueNotFoundError
from app.domain.identifiers import uuid7
from app.domain.queues import QueueSpec, QueueStats
from app.domain.task import Task, TaskStatus
from app.ports import Clock, Metrics, PauseSwitch
from app.services.enqueueing import EnqueueRules, Origin, check_batch_size, make_task
from app.services.new_task import BatchTask, NewTask
from app.services.priority_queue import PriorityQueue
from app.services.producing import ProducerQueue
from app.services.validation import MAX_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """A task that its queue has. ``visibility_timeout`` is the one that holds: the task's own or the queue's.

    ``deduplicated``: the queue had taken a task with the same deduplication id before; ``task`` carries that one's id.
    """

    task: Task
    status: TaskStatus
    visibility_timeout: timedelta
    deduplicated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDescription:
    """A queue as operators see it."""

    spec: QueueSpec
    paused: bool
    holds_dead_letters: bool


class QueueManager:
    """Knows every queue by the name that clients use, and puts tasks into them.

    The levels of a priority queue are reached through it alone. Dead-letter queues can be looked at, but take no
    tasks, no pause and no purge by their own name: their letters belong to the queues that they came from.
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
    ) -> None:
        """Know ``queues`` by name; ``random_bits(n)`` returns ``n`` random bits, for task ids."""
        self._queues = queues
        self._pauses = pauses
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._random_bits = random_bits
        self._feeders = _feeders(queues)

    async def enqueue(
        self, name: str, new: NewTask, *, idempotency_key: str | None = None, traceparent: str | None = None
    ) -> Enqueued:
        """Put a new task into the queue ``name``.

        Raises:
            QueueNotFoundError: there is no such queue.
            InvalidTaskError: the task breaks a rule.
            LedgerDisabledError: an idempotency key needs the ledger.
            TryLaterError: the queue is full, or its backend does not answer.

        """
        queue = self._source(name)
        task = self._task(new, queue.spec, idempotency_key, traceparent)
        return self._enqueued(task, queue.spec, await queue.enqueue(task))

    async def enqueue_batch(
        self, name: str, entries: Sequence[BatchTask | Exception], *, traceparent: str | None = None
    ) -> list[Enqueued | Exception]:
        """Put up to 1,000 new tasks into the queue ``name``; each entry has its own verdict, in the order given.

        An entry that was refused before it came here is its error, and keeps that as its verdict.

        Raises:
            QueueNotFoundError: there is no such queue.
            InvalidTaskError: there are no entries, or too many.
            BackendUnavailableError: the backend does not answer.

        """
        queue = self._source(name)
        check_batch_size(len(entries))
        made = [self._task_or_error(entry, queue.spec, traceparent) for entry in entries]
        tasks = [task for task in made if isinstance(task, Task)]
        verdicts = iter(await queue.enqueue_batch(tasks) if tasks else ())
        return [self._settled(task, queue.spec, next(verdicts)) if isinstance(task, Task) else task for task in made]

    async def describe_all(self) -> list[QueueDescription]:
        """Describe every queue, in the order of the configuration."""
        paused = await self._paused(self._queues)
        return [self._description(name, paused) for name in self._queues]

    async def describe(self, name: str) -> QueueDescription:
        """Describe the queue ``name``."""
        self._any(name)
        return self._description(name, await self._paused([name]))

    async def stats(self, name: str) -> QueueStats:
        """Count what lies in the queue ``name``.

        ``dead_letters`` is known where the backend tells, or where no other queue shares the dead-letter queue.
        """
        stats = await self._any(name).stats()
        dead_letters = stats.dead_letters
        if dead_letters is None:
            dead_letters = await self._dead_letters_of(name)
        paused = name in await self._paused([name])
        stats = replace(stats, queue_name=name, paused=paused, dead_letters=dead_letters)
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

        Raises:
            TryLaterError: the backend allows no purge yet.

        """
        return await self._source(name).purge()

    def backends(self) -> Mapping[str, ProducerQueue]:
        """Return one queue of each backend, by the backend's name: if it answers, so does its backend."""
        return {leaf.spec.backend.value: leaf for queue in self._queues.values() for leaf in _leaves(queue)}

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

    def _task(self, new: NewTask, spec: QueueSpec, idempotency_key: str | None, traceparent: str | None) -> Task:
        if idempotency_key is not None:
            raise LedgerDisabledError("an idempotency key needs the ledger, and none is configured")
        now = self._clock.now()
        task_id = uuid7(int(now.timestamp() * 1000), self._random_bits(74))
        return make_task(new, spec, self._rules, Origin(task_id=task_id, created_at=now, traceparent=traceparent))

    def _task_or_error(
        self, entry: BatchTask | Exception, spec: QueueSpec, traceparent: str | None
    ) -> Task | Exception:
        if isinstance(entry, Exception):
            return entry
        try:
            return self._task(entry, spec, entry.idempotency_key, traceparent)
        except QueueError as error:
            return error

    def _settled(self, task: Task, spec: QueueSpec, verdict: Accepted | QueueError) -> Enqueued | QueueError:
        return verdict if isinstance(verdict, QueueError) else self._enqueued(task, spec, verdict)

    def _enqueued(self, task: Task, spec: QueueSpec, accepted: Accepted) -> Enqueued:
        timeout = task.visibility_timeout or spec.visibility_timeout
        status = TaskStatus.QUEUED if task.scheduled_for is None else TaskStatus.SCHEDULED
        if accepted.duplicate_of is not None:
            first = replace(task, id=accepted.duplicate_of)
            return Enqueued(task=first, status=status, visibility_timeout=timeout, deduplicated=True)
        self._metrics.enqueued(spec.public_name, task.type)
        return Enqueued(task=task, status=status, visibility_timeout=timeout)

    def _switch(self, name: str) -> PauseSwitch:
        self._source(name)
        switch = self._pauses.get(name)
        if switch is None:
            message = f"nothing remembers whether {name!r} is paused: that needs the ledger, and none is configured"
            raise LedgerDisabledError(message)
        return switch

    async def _paused(self, names: Iterable[str]) -> set[str]:
        switches = {self._pauses[name] for name in names if name in self._pauses}
        answers = [await switch.paused() for switch in switches]
        return {name for answer in answers for name in answer}

    def _description(self, name: str, paused: set[str]) -> QueueDescription:
        return QueueDescription(
            spec=self._queues[name].spec, paused=name in paused, holds_dead_letters=name in self._feeders
        )

    async def _dead_letters_of(self, name: str) -> int | None:
        holders = [holder for holder, feeders in self._feeders.items() if name in feeders]
        if len(holders) != 1 or holders[0] not in self._queues or self._feeders[holders[0]] != {name}:
            return None
        stats = await self._queues[holders[0]].stats()
        return stats.approximate_messages + stats.inflight_messages + stats.delayed_messages


def _leaves(queue: ProducerQueue) -> Iterable[ProducerQueue]:
    return queue.levels.values() if isinstance(queue, PriorityQueue) else (queue,)


def _feeders(queues: Mapping[str, ProducerQueue]) -> dict[str, set[str]]:
    """Return, for each dead-letter queue, the queues whose failed tasks it holds."""
    feeders: dict[str, set[str]] = {}
    for name, queue in queues.items():
        for leaf in _leaves(queue):
            if leaf.spec.dead_letter_queue is not None:
                feeders.setdefault(leaf.spec.dead_letter_queue, set()).add(name)
    return feeders
