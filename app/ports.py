"""What the core needs from outside, as small protocols. Adapters implement them, tests fake them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from app.domain.claims import Answer, Claimed, ClaimOutcome, ClaimRequest
from app.domain.dead_letters import RedriveProgress
from app.domain.delivery import Accepted, DeadLetter, Delivery
from app.domain.errors import QueueError
from app.domain.failed_tasks import FailedSummary, FailedTask, FailedTaskFilter, FailureNotice, Redrive
from app.domain.ledger import Page, TaskFilter, TaskView
from app.domain.operators import AuditEntry, DestinationReport, DestinationView
from app.domain.queues import QueueSpec, QueueStats, QueueTraits
from app.domain.schedules import Schedule, Tick
from app.domain.task import JsonValue, Task, TaskStatus


class Clock(Protocol):
    """Time. The only source of it outside the adapters."""

    def now(self) -> datetime:
        """Return the time of day, aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never steps back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        ...


class Queue(Protocol):
    """One queue of one backend.

    Every method may raise ``BackendUnavailableError``: the backend does not answer, and what was asked may or may
    not have happened. Calls may be concurrent; adapters coalesce them into the backend's batch forms.
    """

    @property
    def spec(self) -> QueueSpec:
        """The configuration of this queue."""
        ...

    @property
    def traits(self) -> QueueTraits:
        """What the backend does by itself."""
        ...

    async def enqueue(self, task: Task) -> Accepted:
        """Put ``task`` into the queue; it is durable when this returns. ``task.scheduled_for`` delays it.

        Raises:
            QueueFullError: ``max_depth`` is reached.
            TaskTooLargeError: the body is over the queue's limit.
            DelayNotSupportedError: the backend cannot hold it that long.
            InvalidTaskError: the backend refuses it for another reason.

        """
        ...

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Put many tasks into the queue, in order; each has its own verdict, in the order given."""
        ...

    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        """Receive up to ``limit`` (1 to 10) messages; return an empty list after ``wait`` without one.

        Each is hidden for the queue's visibility timeout. Of FIFO groups, messages come in order and none comes
        while an earlier receive holds another of its group.
        """
        ...

    async def complete(self, delivery: Delivery) -> None:
        """Delete the message.

        Raises:
            VisibilityTimeoutError: the lease is known to be lost. Backends that cannot tell return instead.

        """
        ...

    async def reschedule(self, delivery: Delivery, task: Task, delay: timedelta) -> None:
        """Give the message back to run as ``task`` after ``delay``: a retry, a hop or a deferral.

        Where ``traits.rewrites`` is false the message keeps its old body and only its visibility changes. Where it
        is true the receive count starts again at 0.

        Raises:
            VisibilityTimeoutError: the lease is known to be lost; nothing was given back.

        """
        ...

    async def release(self, delivery: Delivery) -> None:
        """Give the message back unprocessed: visible at once, no attempt burnt.

        A release never lets the message reach ``max_receive_count``.

        Raises:
            VisibilityTimeoutError: the lease is known to be lost.

        """
        ...

    async def extend(self, delivery: Delivery, lease: timedelta) -> None:
        """Hide the message for ``lease`` from now.

        Raises:
            VisibilityTimeoutError: the lease is lost, or ``lease`` is more than is left of 12 h from the receive.

        """
        ...

    async def dead_letter(self, delivery: Delivery, letter: DeadLetter) -> None:
        """Put ``letter`` into the dead-letter queue, then delete the message; a crash in between duplicates.

        Raises:
            VisibilityTimeoutError: the lease is known to be lost.

        """
        ...

    async def stats(self) -> QueueStats:
        """Count what lies in the queue."""
        ...

    async def purge(self) -> int | None:
        """Delete every message that is not in flight; return how many, ``None`` where the backend does not say.

        Raises:
            TryLaterError: the backend allows no purge yet (SQS: one in 60 s).

        """
        ...

    async def ping(self) -> None:
        """Return if the backend answers."""
        ...


class PauseSwitch(Protocol):
    """Remembers which queues are paused, for every process."""

    async def pause(self, queue: str) -> None:
        """Stop consumers from receiving from ``queue``; idempotent."""
        ...

    async def resume(self, queue: str) -> None:
        """Let consumers receive from ``queue`` again; idempotent."""
        ...

    async def paused(self) -> frozenset[str]:
        """Return the names of all paused queues."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A delivery that is about to run. ``attempt`` is what the message says: its ``retry_count`` + 1."""

    task: Task
    attempt: int
    counts_itself: bool  #: the message carries the true attempt (``QueueTraits.rewrites``)
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether an execution may start, and as which attempt (from 1).

    ``refused`` is the status that stands against it (``canceled``, or ended in this generation), or ``stale`` is true
    for a copy of an earlier generation or of an attempt whose successor was confirmed.
    """

    attempt: int
    refused: TaskStatus | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """How one attempt, or the whole task without one (``attempt`` 0: expired, canceled), ended.

    ``confirmed`` is false where the lease was lost first, so that the backend will deliver the same attempt again.
    """

    task: Task
    queue: str
    attempt: int
    status: TaskStatus
    started_at: datetime
    duration: timedelta
    result: JsonValue = None
    error: str | None = None
    response_status: int | None = None
    confirmed: bool = True
    next_at: datetime | None = None  #: when the next attempt is due, for ``retrying``


class ExecutionLog(Protocol):
    """The part of the ledger that the consumer writes. It observes: its absence never stops a task."""

    async def start(self, executions: Sequence[Execution]) -> Sequence[Admission]:
        """Mark executions as running, all in one conditional update; answers come in the order given."""
        ...

    async def record(self, attempt: AttemptRecord) -> None:
        """Remember how an attempt ended. Returns when it is written or kept for a later try; never raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRequest:
    """One HTTP request to a URL that a client named. ``timeout`` covers connecting, sending and the answer."""

    url: str
    body: bytes
    timeout: timedelta
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    signed_as: str | None = None  #: ``webhook-id`` of the signature; unsigned where absent
    secrets: Sequence[str] | None = None  #: a route's own secrets; the configured ones where absent


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackResponse:
    """A 2xx answer. ``body`` is at most 64 KiB; ``truncated`` says that there was more."""

    status: int
    content_type: str
    body: bytes
    truncated: bool = False


class CallbackSender(Protocol):
    """Calls URLs that clients name."""

    async def send(self, request: CallbackRequest) -> CallbackResponse:
        """Make the request and return a 2xx answer.

        Raises:
            CallbackFailedError: 408, 425, 429, 5xx, time-out or no connection; ``delay`` is its ``Retry-After``.
            CallbackRejectedError: any other status; redirects are never followed.
            RefusedAddressError: the address is not one that this service may call.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A text as a vector. ``model`` is the one that made it, ``usage`` what the endpoint counted."""

    model: str
    vector: list[JsonValue]
    usage: JsonValue = None


class EmbeddingClient(Protocol):
    """Turns texts into vectors."""

    async def embed(self, text: str, model: str) -> Embedding:
        """Return the vector of ``text``.

        Raises:
            RetryableError: the endpoint does not answer, or cannot at the moment.
            PermanentError: the endpoint refuses the text, the model or the key, or none is configured.

        """
        ...


class Metrics(Protocol):
    """What is counted. Label values are the adapter's to bound."""

    def enqueued(self, queue: str, task_type: str) -> None:
        """Count a task that the backend took."""
        ...

    def dequeued(self, queue: str, task_type: str) -> None:
        """Count a received task."""
        ...

    def completed(self, queue: str, task_type: str, status: TaskStatus) -> None:
        """Count a settled attempt: completed, retrying, dead_lettered, expired or canceled."""
        ...

    def processed(self, queue: str, task_type: str, duration: timedelta) -> None:
        """Observe how long a handler or callback took."""
        ...

    def lease_lost(self, queue: str) -> None:
        """Count a delivery whose lease ended under us."""
        ...

    def callback(self, outcome: str) -> None:
        """Count a callback: ``ok``, ``retryable``, ``rejected`` or ``refused``."""
        ...

    def observe_queue(self, stats: QueueStats) -> None:
        """Set the gauges of a queue."""
        ...


class DestinationMetrics(Protocol):
    """What is counted of the destinations of callbacks. Label values are the adapter's to bound."""

    def deferred(self, destination: str, obstacle: str) -> None:
        """Count a task that was put off: its destination is ``paused``, or kept by its ``breaker`` or a ``limit``."""
        ...

    def breaker_opened(self, destination: str) -> None:
        """Note that a destination is no longer called."""
        ...

    def breaker_closed(self, destination: str) -> None:
        """Note that a destination is called again, or no longer remembered."""
        ...


@dataclass(frozen=True, slots=True)
class PayloadPointer:
    """Where a body lies that is too large for a message."""

    bucket: str
    key: str


class PayloadStore(Protocol):
    """Keeps bodies that are too large for a message, for longer than any queue keeps the message."""

    async def put(self, bucket: str, body: str, *, keep: bool = False) -> PayloadPointer:
        """Store a body in ``bucket``; with ``keep`` it never expires.

        Raises:
            BackendUnavailableError: the store does not answer.

        """
        ...

    async def get(self, pointer: PayloadPointer) -> str:
        """Return a body, whoever stored it.

        Raises:
            NotFoundError: there is nothing, or nothing that this service may read from there.
            InvalidTaskError: what lies there is no text, or larger than any task may be.
            BackendUnavailableError: the store does not answer.

        """
        ...

    async def keep(self, pointer: PayloadPointer) -> None:
        """Save a body from expiry; return also where it is gone.

        Raises:
            BackendUnavailableError: the store does not answer.

        """
        ...


class TaskStore(Protocol):
    """What the ledger remembers of every task.

    Like every protocol below that does not say otherwise, it raises ``LedgerUnavailableError`` where the ledger does
    not answer. A list takes at most 200 items a page, and raises ``InvalidCursorError`` for a cursor that is none.
    """

    async def record_enqueued(self, tasks: Sequence[Task]) -> None:
        """Remember tasks that their queue took. Returns when they are written or kept for a later try; never raises."""
        ...

    async def get(self, task_id: str) -> TaskView | None:
        """Return a task with its payload, attempts, result and dead letters."""
        ...

    async def list_tasks(self, query: TaskFilter, *, limit: int, cursor: str | None = None) -> Page[TaskView]:
        """Return tasks, the newest first."""
        ...

    async def cancel(self, task_id: str) -> TaskStatus:
        """Withdraw a task: ``CANCELED``, it never starts; ``RUNNING``, its consumer is asked to stop it.

        Raises:
            TaskNotFoundError: the ledger does not know it.
            TaskAlreadyEndedError: there is nothing to withdraw.

        """
        ...

    async def cancel_requests(self, task_ids: Collection[str]) -> frozenset[str]:
        """Return which of these running tasks somebody asked to stop."""
        ...

    async def cancel_waiting(self, queue: str, created_before: datetime) -> int:
        """Cancel what waits in ``queue``, scheduled tasks included; return how many."""
        ...

    async def oldest_waiting(self, queue: str) -> datetime | None:
        """Return when the oldest queued task of ``queue`` was created that was to start at once."""
        ...

    async def prune(self, ended_before: datetime, failed_before: datetime | None) -> int:
        """Forget one small batch of what ended, and of dead letters that failed; return how much: 0, none is left."""
        ...


class HeldTasks(Protocol):
    """Tasks that the ledger itself holds until they are due."""

    async def hold(self, tasks: Sequence[Task]) -> None:
        """Keep tasks until their ``scheduled_for``; they are durable when this returns."""
        ...

    async def due(self, limit: int, lease: timedelta, without: Collection[str] = ()) -> Sequence[Task]:
        """Return due tasks to be sent, except those of the queues ``without``; nobody else gets them for ``lease``.

        Tasks of a group come in the order in which they are due, and none while an earlier one is with somebody
        else. Whoever crashes before ``promoted`` leaves them to the next.
        """
        ...

    async def promoted(self, task_ids: Collection[str]) -> None:
        """Stop holding tasks that their queue took."""
        ...

    async def give_back(self, task_ids: Collection[str]) -> None:
        """Let tasks that could not be sent be due again at once."""
        ...


class IdempotencyStore(Protocol):
    """Claims on keys: of any number of requests at the same moment, in any process, one wins."""

    async def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        """Claim keys for 30 s; outcomes come in the order given. A lapsed claim is taken over with its task id."""
        ...

    async def confirm(self, claims: Sequence[tuple[Claimed, Answer]]) -> None:
        """Remember what was answered. Returns when it is written or kept for a later try; never raises."""
        ...

    async def free(self, claims: Sequence[Claimed]) -> None:
        """Forget claims whose tasks were definitely refused, unless taken over. Never raises, as ``confirm``."""
        ...


class ScheduleStore(Protocol):
    """Recurring tasks."""

    async def put(self, schedule: Schedule) -> bool:
        """Store a schedule under its name; return whether it is new.

        What of one that it replaces goes on, ``domain.schedules.replacing`` says.
        """
        ...

    async def get(self, name: str) -> Schedule | None:
        """Return one schedule."""
        ...

    async def list_schedules(self, *, limit: int, cursor: str | None = None) -> Page[Schedule]:
        """Return schedules by name."""
        ...

    async def delete(self, name: str) -> bool:
        """Forget a schedule; return whether there was one."""
        ...

    async def run_due(self, plan: Callable[[Schedule], Tick]) -> int:
        """Hold the tasks of due ticks and move the schedules on, in one transaction; return how many tasks.

        ``plan`` never raises: one schedule would hold up all.
        """
        ...


class DeadLetterStore(Protocol):
    """Dead letters: one for each (task id, ``redrive_count``), kept as a tombstone when it is closed."""

    async def store_failed_tasks(self, letters: Sequence[FailedTask]) -> Sequence[bool]:
        """Store dead letters; return for each whether it is new: no late copy, and its task has not ended otherwise."""
        ...

    async def list_failed(self, query: FailedTaskFilter, *, limit: int, cursor: str | None = None) -> Page[FailedTask]:
        """Return waiting letters without payloads, the newest first."""
        ...

    async def read_failed(self, query: FailedTaskFilter, *, limit: int, cursor: str | None = None) -> Page[FailedTask]:
        """Return waiting letters with payloads, the oldest first: the order in which they are redriven."""
        ...

    async def get_failed(self, queue: str, task_id: str) -> FailedTask | None:
        """Return a waiting letter with its payload."""
        ...

    async def count_failed(self, query: FailedTaskFilter) -> int:
        """Return how many waiting letters ``query`` matches."""
        ...

    async def summaries(self) -> Mapping[str, FailedSummary]:
        """Return what waits, by source queue; queues without a waiting letter are left out."""
        ...

    async def mark_redriven(self, tasks: Sequence[Task], actor: str) -> None:
        """Close the letters of tasks that their queue took again; each carries its new ``redrive_count``."""
        ...

    async def delete_failed(self, queue: str, task_id: str, actor: str) -> bool:
        """Close a waiting letter for good; return whether there was one."""
        ...

    async def purge_failed(self, queue: str, actor: str, failed_before: datetime) -> int:
        """Close every waiting letter of ``queue`` that failed before; return how many."""
        ...


class RedriveJobs(Protocol):
    """Redrives in the background: any process carries one on when its own is gone."""

    async def create(self, job: Redrive) -> None:
        """Store a job for whoever adopts it first."""
        ...

    async def get(self, job_id: str) -> Redrive | None:
        """Return a job and how far it came."""
        ...

    async def adopt(self, lease: timedelta) -> Redrive | None:
        """Return the oldest running job that nobody works on; nobody else gets it for ``lease``."""
        ...

    async def advance(self, job: Redrive, lease: timedelta) -> bool:
        """Store how far ``job`` came, or that it ended, and hold it on; return false where it was canceled."""
        ...

    async def cancel(self, job_id: str) -> bool:
        """Stop a job; return false where there is none that runs."""
        ...


class NotificationOutbox(Protocol):
    """Which dead letters somebody has yet to be told of."""

    async def gather(self, notifiers: Collection[str], stored_before: datetime) -> int:
        """Turn new letters into one notice for each notifier, queue and type; return how many letters.

        Those of a queue and type wait for each other until the first of them was stored before ``stored_before``.
        """
        ...

    async def due(self, limit: int, lease: timedelta) -> Sequence[FailureNotice]:
        """Return notices to be sent; nobody else gets them for ``lease``."""
        ...

    async def settle(self, notice_id: int, retry_at: datetime | None) -> None:
        """Forget a notice that was sent (``retry_at`` is ``None``), or keep it for another try."""
        ...


class QueueMarks(PauseSwitch, Protocol):
    """What holds for a queue in every process: whether it is paused, and when it was purged last."""

    async def begin_purge(self, queue: str, pause: timedelta) -> datetime:
        """Note that a purge begins and return its moment.

        Raises:
            TryLaterError: the last one began less than ``pause`` ago.

        """
        ...

    async def purge_moments(self) -> Mapping[str, datetime]:
        """Return when each queue was purged last."""
        ...


class AuditLog(Protocol):
    """What operators did."""

    async def append(self, entry: AuditEntry) -> None:
        """Add an entry."""
        ...

    async def list_entries(self, *, limit: int, cursor: str | None = None) -> Page[AuditEntry]:
        """Return entries, the newest first."""
        ...


class Destinations(Protocol):
    """Destinations of callbacks: which are paused, and what each consumer sees of them."""

    async def pause(self, name: str) -> None:
        """Let no consumer call ``name``; idempotent."""
        ...

    async def resume(self, name: str) -> None:
        """Let consumers call ``name`` again; idempotent."""
        ...

    async def paused(self) -> frozenset[str]:
        """Return the names of all paused destinations."""
        ...

    async def publish(self, reports: Sequence[DestinationReport]) -> None:
        """Replace what a consumer told about these destinations before."""
        ...

    async def list_destinations(self, reported_after: datetime) -> Sequence[DestinationView]:
        """Return destinations by name: those reported since, and those paused."""
        ...


class LedgerMetrics(Protocol):
    """What is counted of the ledger."""

    def ledger_failed(self, operation: str) -> None:
        """Count a statement that the database did not answer or refused."""
        ...

    def ledger_dropped(self, count: int) -> None:
        """Count rows that will never be written: refused by the database, or too many while it was away."""
        ...

    def ledger_backlog(self, count: int) -> None:
        """Set how many rows wait for the database to come back."""
        ...


class DeadLetterMetrics(Protocol):
    """What is counted of dead letters. Label values come from the configuration."""

    def redriven(self, queue: str, count: int) -> None:
        """Count letters that went back to ``queue``."""
        ...

    def oldest_dead_letter(self, queue: str, age: timedelta | None) -> None:
        """Set how long the oldest letter of ``queue`` has waited; ``None`` where none waits."""
        ...

    def notified(self, notifier: str, outcome: str) -> None:
        """Count a notice: ``sent``, ``failed`` or ``given_up``."""
        ...


class Notifier(Protocol):
    """Tells somebody of dead letters."""

    async def notify(self, notice: FailureNotice) -> None:
        """Return when the notice was taken.

        Raises:
            TaskFailedError: it was not.

        """
        ...


class MessageMover(Protocol):
    """A backend that moves all messages of a dead-letter queue back to a queue by itself, one move at a time."""

    async def start(self, max_per_second: float | None) -> None:
        """Begin to move.

        Raises:
            NotSupportedError: the backend does not move from this queue, or not at this rate.
            RateLimitedError: it is moving already.

        """
        ...

    async def progress(self, redrive_id: str) -> RedriveProgress | None:
        """Return how far the latest move came, as ``redrive_id``; ``None`` where the backend remembers none."""
        ...

    async def cancel(self) -> None:
        """Stop a move that is under way; what was moved stays moved."""
        ...


class Span(Protocol):
    """A step of a trace that is under way."""

    @property
    def traceparent(self) -> str | None:
        """What goes on from this step, by W3C Trace Context; ``None`` where nothing is traced."""
        ...

    def describe(self, task: Task) -> None:
        """Say which task the step is about."""
        ...

    def failed(self, error: BaseException) -> None:
        """Note that the step failed, and the type of ``error``: its text may hold what a client sent."""
        ...


class Tracer(Protocol):
    """Follows tasks on their way.

    A step ends with its context, is the current one of everything inside, and has failed where an exception leaves it.
    """

    def enqueue(self, queue: QueueSpec, count: int = 1) -> AbstractContextManager[Span]:
        """Put ``count`` tasks into ``queue``: a step of the trace under way, which the tasks carry on."""
        ...

    def received(
        self, queue: QueueSpec, began: float, deliveries: Sequence[Delivery], error: Exception | None = None
    ) -> None:
        """Note a receive that has ended, linked to the trace of each message; one that brought nothing is none.

        ``began`` is a monotonic reading in seconds, ``error`` what the receive failed with.
        """
        ...

    def process(self, queue: QueueSpec, delivery: Delivery, task: Task, attempt: int) -> AbstractContextManager[Span]:
        """Run an attempt (from 1): a step of the trace that ``task`` carries."""
        ...
