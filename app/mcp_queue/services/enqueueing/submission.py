"""Puts tasks into a queue, with what the ledger has to do with it: claims before, a memory after."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.enqueueing.claims import Answer, Claimed, ClaimKind, ClaimRequest, InProgress, Replay, Reused
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
from mcp_queue.domain.queues import Backend, QueueSpec
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from mcp_queue.ports import Clock, HeldTasks, IdempotencyStore, Metrics, Queue, TaskStore
from mcp_queue.services.enqueueing.request import NewTask
from mcp_queue.services.queues.priority import PriorityQueue
from mcp_queue.services.queues.producing import ProducerQueue


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key, and what tells its request from others with the same key."""

    key: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A task that a client asks for, under a key where it gave one."""

    new: NewTask
    key: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """A task that its queue has. ``visibility_timeout`` is the one that holds: the task's own or the queue's.

    ``deduplicated``: the queue had taken a task with the same deduplication id before; ``task`` carries that one's id.
    ``claim`` is the claim on its idempotency key, to be confirmed with what the client is answered.
    """

    task: Task
    status: TaskStatus
    visibility_timeout: timedelta
    deduplicated: bool = False
    claim: Claimed | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The same request was answered before, with ``answer``."""

    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueLedger:
    """What enqueueing needs of the ledger."""

    tasks: TaskStore
    claims: IdempotencyStore
    held: HeldTasks


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
    def taken_over(self) -> bool:
        """Whether an earlier request, of which nothing more was heard, may have sent the task."""
        return any(claim.task_id != claim.token for claim in self.claims)

    @property
    def refused(self) -> bool:
        """Whether the queue definitely did not take the task from this request."""
        return isinstance(self.verdict, QueueError) and not isinstance(self.verdict, BackendUnavailableError)


class Submission:
    """Sends tasks to their queue, or has the ledger hold those that the queue cannot hold for so long.

    An unconfirmed send keeps its claims, which lapse after 30 s; a definite refusal frees them at once, except a claim
    that was taken over: whoever held it before may have sent the task.
    """

    def __init__(self, ledger: EnqueueLedger | None, *, clock: Clock, metrics: Metrics) -> None:
        """Go without idempotency keys, held tasks and memory where ``ledger`` is ``None``."""
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics

    async def submit(self, queue: ProducerQueue, task: Task, key: IdempotencyKey | None) -> Enqueued | Replayed:
        """Put one task into ``queue``.

        Raises:
            LedgerDisabledError: the key needs the ledger.
            ConflictError: the key is claimed, or was used for another request.
            QueueError: the queue refuses the task or does not answer.

        """
        if key is None and not self._claims_deduplication(queue.spec, task) and not self._to_be_held(queue, task):
            accepted = await queue.enqueue(task)
            if accepted.duplicate_of is None:
                await self._remember(queue.spec, [task])
            return _enqueued(queue.spec, task, accepted.duplicate_of)
        (verdict,) = await self.submit_all(queue, [(task, key)])
        if isinstance(verdict, QueueError):
            raise verdict
        return verdict

    async def submit_all(
        self, queue: ProducerQueue, tasks: Sequence[tuple[Task, IdempotencyKey | None]]
    ) -> list[Enqueued | Replayed | QueueError]:
        """Put many tasks into ``queue``; each has its own verdict, in the order given."""
        entries = [_Entry(task, key) for task, key in tasks]
        await self._claim_keys(queue.spec, entries)
        await self._claim_deduplication(queue.spec, entries)
        await self._send(queue, [entry for entry in entries if entry.verdict is None])
        await self._free([entry for entry in entries if entry.refused])
        return [self._signed(entry) for entry in entries]

    async def confirm(self, answers: Sequence[tuple[Claimed, Answer]]) -> None:
        """Remember what clients were answered under their keys."""
        if self._ledger is not None and answers:
            await self._ledger.claims.confirm(answers)

    async def _claim_keys(self, spec: QueueSpec, entries: Sequence[_Entry]) -> None:
        keyed = [(entry, entry.key) for entry in entries if entry.key is not None]
        if not keyed:
            return
        requests = [
            _request(spec, ClaimKind.IDEMPOTENCY, key.key, entry.task, key.request_hash) for entry, key in keyed
        ]
        try:
            outcomes = await self._needed_ledger().claims.claim(requests)
        except QueueError as error:
            for entry, _ in keyed:
                entry.verdict = error
            return
        for (entry, _), outcome in zip(keyed, outcomes, strict=True):
            if isinstance(outcome, Claimed):
                entry.claim, entry.task = outcome, replace(entry.task, id=outcome.task_id)
            else:
                entry.verdict = _not_claimed(outcome)

    async def _claim_deduplication(self, spec: QueueSpec, entries: Sequence[_Entry]) -> None:
        """Claim explicit deduplication ids: SQS would take a second task of one, say yes and drop it."""
        asked = [entry for entry in entries if entry.verdict is None and self._claims_deduplication(spec, entry.task)]
        if not asked or self._ledger is None:
            return
        kind = ClaimKind.DEDUPLICATION
        try:
            outcomes = await self._ledger.claims.claim(
                [_request(spec, kind, entry.task.deduplication_id or "", entry.task) for entry in asked]
            )
        except LedgerUnavailableError:
            return  # SQS alone knows, then
        for entry, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Claimed):
                entry.deduplication, entry.task = outcome, replace(entry.task, id=outcome.task_id)
            elif isinstance(outcome, Replay):
                entry.verdict = _enqueued(spec, entry.task, outcome.task_id)
            else:
                entry.verdict = _not_claimed(outcome)

    async def _send(self, queue: ProducerQueue, entries: Sequence[_Entry]) -> None:
        held: list[_Entry] = []
        sent: list[_Entry] = []
        for entry in entries:
            (held if self._to_be_held(queue, entry.task) else sent).append(entry)
        if held:
            await self._hold(queue, held)
        if sent:
            await self._enqueue(queue, sent)
        await self._confirm_deduplication(entries)

    async def _hold(self, queue: ProducerQueue, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            entry.verdict = too_large(queue, entry.task)
        fitting = [entry for entry in entries if entry.verdict is None]
        try:
            await self._needed_ledger().held.hold([entry.task for entry in fitting])
        except QueueError as error:
            for entry in fitting:
                entry.verdict = error
        else:
            for entry in fitting:
                entry.verdict = _enqueued(queue.spec, entry.task)

    async def _enqueue(self, queue: ProducerQueue, entries: Sequence[_Entry]) -> None:
        try:
            answers: Sequence[Accepted | QueueError] = await queue.enqueue_batch([entry.task for entry in entries])
        except QueueError as error:
            answers = [error] * len(entries)
        taken: list[Task] = []
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, QueueError):
                entry.verdict = answer
            elif answer.duplicate_of in {None, entry.task.id}:  # its own: an earlier send of this very task
                entry.verdict = _enqueued(queue.spec, entry.task)
                taken.append(entry.task)
            else:
                entry.verdict = _enqueued(queue.spec, entry.task, answer.duplicate_of)
        await self._remember(queue.spec, taken)

    async def _remember(self, spec: QueueSpec, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._metrics.enqueued(spec.public_name, task.type)
        if self._ledger is not None and tasks:
            await self._ledger.tasks.record_enqueued(tasks)

    async def _confirm_deduplication(self, entries: Sequence[_Entry]) -> None:
        claims = [entry.deduplication for entry in entries if isinstance(entry.verdict, Enqueued)]
        await self.confirm([(claim, Answer(202, b"")) for claim in claims if claim is not None])

    async def _free(self, entries: Sequence[_Entry]) -> None:
        claims = [claim for entry in entries if not entry.taken_over for claim in entry.claims]
        if self._ledger is not None and claims:
            await self._ledger.claims.free(claims)

    def _signed(self, entry: _Entry) -> Enqueued | Replayed | QueueError:
        assert entry.verdict is not None, "every entry was claimed, held or sent"
        return replace(entry.verdict, claim=entry.claim) if isinstance(entry.verdict, Enqueued) else entry.verdict

    def _claims_deduplication(self, spec: QueueSpec, task: Task) -> bool:
        # The embedded queue keeps deduplication ids itself, and exactly.
        explicit = task.deduplication_id is not None and spec.fifo and spec.backend is Backend.SQS
        return explicit and self._ledger is not None

    def _to_be_held(self, queue: ProducerQueue, task: Task) -> bool:
        """Whether the ledger has to hold the task, since its queue cannot for so long."""
        if self._ledger is None or task.scheduled_for is None:
            return False
        longest = _leaf(queue, task).traits.max_delay
        return longest is not None and task.scheduled_for - self._clock.now() > longest

    def _needed_ledger(self) -> EnqueueLedger:
        if self._ledger is None:
            raise LedgerDisabledError("an idempotency key needs the ledger, and none is configured")
        return self._ledger


def request_hash(value: JsonValue) -> str:
    """Return what tells one request from another: the order of members and the key itself do not count."""
    members = (
        {name: item for name, item in value.items() if name != "idempotency_key"} if isinstance(value, dict) else value
    )
    return sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _request(spec: QueueSpec, kind: ClaimKind, key: str, task: Task, request_hash: str = "") -> ClaimRequest:
    return ClaimRequest(kind=kind, queue=spec.public_name, key=key, task_id=task.id, request_hash=request_hash)


def _not_claimed(outcome: Replay | InProgress | Reused) -> Replayed | QueueError:
    if isinstance(outcome, Replay):
        return Replayed(outcome.answer)
    if isinstance(outcome, InProgress):
        return IdempotencyInProgressError(retry_after=outcome.retry_after)
    return IdempotencyKeyReusedError()


def _enqueued(spec: QueueSpec, task: Task, duplicate_of: str | None = None) -> Enqueued:
    return Enqueued(
        task=task if duplicate_of is None else replace(task, id=duplicate_of),
        status=TaskStatus.QUEUED if task.scheduled_for is None else TaskStatus.SCHEDULED,
        visibility_timeout=task.visibility_timeout or spec.visibility_timeout,
        deduplicated=duplicate_of is not None,
    )


def _leaf(queue: ProducerQueue, task: Task) -> Queue:
    return queue.level(task.priority) if isinstance(queue, PriorityQueue) else queue


def too_large(queue: ProducerQueue, task: Task) -> TaskTooLargeError | None:
    """Return why ``queue`` would refuse a task that is sent later: better now than then."""
    size, limit = len(JsonTaskSerializer().dumps(task)), _leaf(queue, task).spec.max_task_bytes
    return TaskTooLargeError(limit, size) if size > limit else None
