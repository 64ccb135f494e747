"""Puts tasks into their queue; with a ledger, keys are claimed before and tasks are recorded after."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256

from typing_extensions import override

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.enqueueing.claims import Claimed, ClaimKind, ClaimRequest, InProgress, KeyReused, Replay
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
    LedgerDisabledError,
    LedgerUnavailableError,
    QueueError,
    TaskTooLargeError,
)
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from mcp_queue.ports import Clock, HeldTasks, IdempotencyStore, Metrics, Queue, TaskStore
from mcp_queue.services.enqueueing.request import NewTask
from mcp_queue.services.queues.priority import PriorityQueue, ProducerQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """A task that its queue has. ``visibility_timeout`` is the one that holds: the task's own or the queue's.

    ``deduplicated``: the queue had taken a task with the same deduplication id before; ``task`` carries that one's id.
    """

    task: Task
    status: TaskStatus
    visibility_timeout: timedelta
    deduplicated: bool = False


@dataclass(frozen=True, slots=True)
class Replayed:
    """The same request was answered before, with ``answer``."""

    answer: bytes


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key, and what tells its request from others with the same key.

    ``answer`` writes what the client is told, which every repetition of the request is told again.
    """

    key: str
    request_hash: str
    answer: Callable[[Enqueued], bytes]


@dataclass(frozen=True, slots=True)
class Draft:
    """A task that a client asks for, under a key where it gave one."""

    new: NewTask
    key: IdempotencyKey | None = None


class Submission:
    """Sends tasks to their queue, which alone knows them: this is all that works without a ledger."""

    def __init__(self, metrics: Metrics) -> None:
        """Count in ``metrics`` what queues took."""
        self._metrics = metrics

    async def submit(self, queue: ProducerQueue, task: Task, key: IdempotencyKey | None) -> Enqueued | Replayed:
        """Put one task into ``queue``.

        Raises:
            LedgerDisabledError: the key needs the ledger.
            ConflictError: the key is claimed, or was used for another request.
            QueueError: the queue refuses the task or does not answer.

        """
        if key is not None:
            raise _no_keys()
        return self._taken(queue.spec, task, await queue.enqueue(task))

    async def submit_all(
        self, queue: ProducerQueue, tasks: Sequence[tuple[Task, IdempotencyKey | None]]
    ) -> Sequence[Enqueued | Replayed | QueueError]:
        """Put many tasks into ``queue``; each has its own verdict, in the order given."""
        verdicts = iter(await self._send(queue, [task for task, key in tasks if key is None]))
        return [next(verdicts) if key is None else _no_keys() for _, key in tasks]

    async def _send(self, queue: ProducerQueue, tasks: Sequence[Task]) -> Sequence[Enqueued | QueueError]:
        if not tasks:
            return []
        try:
            answers = await queue.enqueue_batch(tasks)
        except QueueError as error:
            return [error] * len(tasks)
        return [
            answer if isinstance(answer, QueueError) else self._taken(queue.spec, task, answer)
            for task, answer in zip(tasks, answers, strict=True)
        ]

    def _taken(self, spec: QueueSpec, task: Task, accepted: Accepted) -> Enqueued:
        enqueued = _enqueued(spec, task, accepted.duplicate_of)
        if not enqueued.deduplicated:
            self._metrics.enqueued(spec.public_name, task.type)
        return enqueued


@dataclass(slots=True)
class _Entry:
    """A task on its way, its claims, and its verdict once there is one."""

    task: Task
    key: IdempotencyKey | None
    claim: Claimed | None = None
    deduplication: Claimed | None = None
    verdict: Enqueued | Replayed | QueueError | None = None

    @property
    def claims(self) -> list[Claimed]:
        return [claim for claim in (self.claim, self.deduplication) if claim is not None]

    @property
    def confirmations(self) -> list[tuple[Claimed, bytes]]:
        """The claims that a queue's yes confirms, each with what is to be answered again."""
        if not isinstance(self.verdict, Enqueued):
            return []
        answer = self.key.answer(self.verdict) if self.claim is not None and self.key is not None else b""
        return [(claim, answer if claim is self.claim else b"") for claim in self.claims]

    @property
    def lapsed(self) -> list[Claimed]:
        """The claims that a definite no frees. One that was taken over is kept: its first holder may have sent."""
        refused = isinstance(self.verdict, QueueError) and not isinstance(self.verdict, BackendUnavailableError)
        taken_over = any(claim.task_id != claim.token for claim in self.claims)
        return self.claims if refused and not taken_over else []


class LedgerSubmission(Submission):
    """Sends tasks to their queue and records them, or has the ledger hold those that the queue cannot hold for so long.

    A key is claimed before the send and confirmed after it, before the client is answered. An unconfirmed send keeps
    its claims, which lapse after 30 s; a definite refusal frees them at once.
    """

    def __init__(
        self, tasks: TaskStore, claims: IdempotencyStore, held: HeldTasks, *, clock: Clock, metrics: Metrics
    ) -> None:
        """Record what was sent in ``tasks``, and what is sent later in ``held``."""
        super().__init__(metrics)
        self._tasks = tasks
        self._claims = claims
        self._held = held
        self._clock = clock

    @override
    async def submit(self, queue: ProducerQueue, task: Task, key: IdempotencyKey | None) -> Enqueued | Replayed:
        if key is None and not _claims_deduplication(queue, task) and not self._to_be_held(queue, task):
            enqueued = self._taken(queue.spec, task, await queue.enqueue(task))
            await self._record([enqueued])
            return enqueued
        (verdict,) = await self.submit_all(queue, [(task, key)])
        if isinstance(verdict, QueueError):
            raise verdict
        return verdict

    @override
    async def submit_all(
        self, queue: ProducerQueue, tasks: Sequence[tuple[Task, IdempotencyKey | None]]
    ) -> Sequence[Enqueued | Replayed | QueueError]:
        entries = [_Entry(task, key) for task, key in tasks]
        await self._claim_keys(queue.spec, entries)
        await self._claim_deduplication(queue, entries)
        await self._hold_or_send(queue, [entry for entry in entries if entry.verdict is None])
        if confirmed := [confirmation for entry in entries for confirmation in entry.confirmations]:
            await self._claims.confirm(confirmed)
        if freed := [claim for entry in entries for claim in entry.lapsed]:
            await self._claims.free(freed)
        return [_decided(entry) for entry in entries]

    async def _claim_keys(self, spec: QueueSpec, entries: Sequence[_Entry]) -> None:
        keyed = [(entry, entry.key) for entry in entries if entry.key is not None]
        if not keyed:
            return
        requests = [
            _request(spec, ClaimKind.IDEMPOTENCY, key.key, entry.task, key.request_hash) for entry, key in keyed
        ]
        try:
            outcomes = await self._claims.claim(requests)
        except QueueError as error:
            for entry, _ in keyed:
                entry.verdict = error
            return
        for (entry, _), outcome in zip(keyed, outcomes, strict=True):
            if isinstance(outcome, Claimed):
                entry.claim, entry.task = outcome, replace(entry.task, id=outcome.task_id)
            else:
                entry.verdict = _not_claimed(outcome)

    async def _claim_deduplication(self, queue: ProducerQueue, entries: Sequence[_Entry]) -> None:
        """Claim explicit deduplication ids that the queue would drop a second task of without a word."""
        asked = [entry for entry in entries if entry.verdict is None and _claims_deduplication(queue, entry.task)]
        if not asked:
            return
        kind, spec = ClaimKind.DEDUPLICATION, queue.spec
        try:
            outcomes = await self._claims.claim(
                [_request(spec, kind, _deduplication_key(queue, entry.task), entry.task) for entry in asked]
            )
        except LedgerUnavailableError:
            return  # the queue alone knows, then
        for entry, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Claimed):
                entry.deduplication, entry.task = outcome, replace(entry.task, id=outcome.task_id)
            elif isinstance(outcome, Replay):
                entry.verdict = _enqueued(spec, entry.task, outcome.task_id)
            else:
                entry.verdict = _not_claimed(outcome)

    async def _hold_or_send(self, queue: ProducerQueue, entries: Sequence[_Entry]) -> None:
        held: list[_Entry] = []
        sent: list[_Entry] = []
        for entry in entries:
            (held if self._to_be_held(queue, entry.task) else sent).append(entry)
        if held:
            await self._hold(queue, held)
        verdicts = await self._send(queue, [entry.task for entry in sent])
        for entry, verdict in zip(sent, verdicts, strict=True):
            entry.verdict = verdict
        await self._record(verdicts)

    async def _hold(self, queue: ProducerQueue, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            entry.verdict = too_large(queue, entry.task)
        fitting = [entry for entry in entries if entry.verdict is None]
        try:
            await self._held.hold([entry.task for entry in fitting])
        except QueueError as error:
            for entry in fitting:
                entry.verdict = error
        else:
            for entry in fitting:
                entry.verdict = _enqueued(queue.spec, entry.task)

    async def _record(self, verdicts: Sequence[Enqueued | QueueError]) -> None:
        taken = [one.task for one in verdicts if isinstance(one, Enqueued) and not one.deduplicated]
        if taken:
            await self._tasks.record_enqueued(taken)

    def _to_be_held(self, queue: ProducerQueue, task: Task) -> bool:
        """Whether the ledger has to hold the task, since its queue cannot for so long."""
        if task.scheduled_for is None:
            return False
        longest = _leaf(queue, task).traits.max_delay
        return longest is not None and task.scheduled_for - self._clock.now() > longest


def request_hash(value: JsonValue) -> str:
    """Return what tells one request from another: the order of members and the key itself do not count."""
    members = (
        {name: item for name, item in value.items() if name != "idempotency_key"} if isinstance(value, dict) else value
    )
    return sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _no_keys() -> LedgerDisabledError:
    return LedgerDisabledError("an idempotency key needs the ledger, and none is configured")


def _claims_deduplication(queue: ProducerQueue, task: Task) -> bool:
    explicit = task.deduplication_id is not None and queue.spec.fifo
    return explicit and not _leaf(queue, task).traits.reports_duplicates


def _deduplication_key(queue: ProducerQueue, task: Task) -> str:
    """Return what the queue tells tasks apart by. A group holds no space, so that keys of two groups never meet."""
    leaf, explicit = _leaf(queue, task), task.deduplication_id or ""
    return f"{leaf.spec.group_of(task.group)} {explicit}" if leaf.traits.deduplicates_by_group else explicit


def _decided(entry: _Entry) -> Enqueued | Replayed | QueueError:
    assert entry.verdict is not None, "every entry was claimed, held or sent"
    return entry.verdict


def _request(spec: QueueSpec, kind: ClaimKind, key: str, task: Task, request_hash: str = "") -> ClaimRequest:
    return ClaimRequest(kind=kind, queue=spec.public_name, key=key, task_id=task.id, request_hash=request_hash)


def _not_claimed(outcome: Replay | InProgress | KeyReused) -> Replayed | QueueError:
    if isinstance(outcome, Replay):
        return Replayed(outcome.answer)
    if isinstance(outcome, InProgress):
        return IdempotencyInProgressError(retry_after=outcome.retry_after)
    return IdempotencyKeyReusedError()


def _enqueued(spec: QueueSpec, task: Task, duplicate_of: str | None = None) -> Enqueued:
    # Its own id: an earlier send of this very task.
    deduplicated = duplicate_of is not None and duplicate_of != task.id
    return Enqueued(
        task=task if duplicate_of is None else replace(task, id=duplicate_of),
        status=TaskStatus.QUEUED if task.scheduled_for is None else TaskStatus.SCHEDULED,
        visibility_timeout=task.visibility_timeout or spec.visibility_timeout,
        deduplicated=deduplicated,
    )


def _leaf(queue: ProducerQueue, task: Task) -> Queue:
    return queue.level(task.priority) if isinstance(queue, PriorityQueue) else queue


def too_large(queue: ProducerQueue, task: Task) -> TaskTooLargeError | None:
    """Return why ``queue`` would refuse a task that is sent later: better now than then."""
    size, limit = len(JsonTaskSerializer().dumps(task).encode()), _leaf(queue, task).spec.max_task_bytes
    return TaskTooLargeError(limit, size) if size > limit else None
