"""Counts tasks, queues, dead letters, destinations and backend calls as Prometheus metrics."""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from math import nan
from pathlib import Path
from typing import TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector
from typing_extensions import override

from mcp_queue.domain.queues import QueueStats
from mcp_queue.domain.task import TaskStatus
from mcp_queue.ports.metrics import DeadLetterMetrics, DestinationMetrics, LedgerMetrics, Metrics

OTHER = "other"
_BUCKETS = tuple(0.1 * 2**n for n in range(15))
_BATCH_BUCKETS = tuple(range(1, 11))  # SQS takes ten
_OUTCOMES = ("ok", "retryable", "rejected", "refused")

MetricT = TypeVar("MetricT", bound=MetricWrapperBase)


class PrometheusMetrics(Metrics, DestinationMetrics, LedgerMetrics, DeadLetterMetrics):
    """Implements every port for metrics, and counts the calls of the SQS adapter, in a ``registry`` of its own.

    Clients choose task types and destinations. Those outside ``known_types`` and ``known_destinations`` count as
    ``other``; otherwise a client could create any number of series. Queue names come from the configuration.
    """

    def __init__(self, known_types: Collection[str], known_destinations: Collection[str] = ()) -> None:
        self.registry = registry = CollectorRegistry()
        self._known = frozenset(known_types)
        self._destinations = frozenset(known_destinations)
        self._register_tasks(registry)
        self._register_queues(registry)
        self._register_dead_letters(registry)
        self._register_destinations(registry)
        self._register_backends(registry)

    def _register_tasks(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: Sequence[str]) -> Callable[..., Counter]:
            return _children(Counter(name, text, labels, registry=registry))

        by_type = ("queue", "task_type")
        self._enqueued = counter("mcp_queue_tasks_enqueued_total", "Tasks that the backend took.", by_type)
        self._dequeued = counter("mcp_queue_tasks_dequeued_total", "Tasks received.", by_type)
        self._completed = counter(
            "mcp_queue_tasks_completed_total", "Attempts settled, by how they ended.", (*by_type, "status")
        )
        self._retries = counter("mcp_queue_task_retries_total", "Attempts that will be followed by another.", by_type)
        self._leases_lost = counter("mcp_queue_leases_lost_total", "Deliveries whose lease ended early.", ("queue",))
        self._postponed = counter(
            "mcp_queue_settlements_postponed_total",
            "Settlements that a queue could not take in time, such as a dead letter that may not be sent.",
            ("queue", "settlement"),
        )
        self._settled_twice = counter(
            "mcp_queue_settled_twice_total", "Second settlements of a delivery, which is a defect.", ("queue",)
        )
        self._callbacks = counter("mcp_queue_callbacks_total", "Requests to clients' URLs.", ("outcome",))
        for outcome in _OUTCOMES:  # present from the start, so that a rate has a first value to count from
            self._callbacks(outcome)
        self._durations = _children(
            Histogram(
                "mcp_queue_task_processing_duration_seconds",
                "How long handlers and callbacks took.",
                by_type,
                buckets=_BUCKETS,
                registry=registry,
            )
        )

    def _register_queues(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Callable[..., Gauge]:
            # Every process reports on the same queue: the latest report counts, unless its process has ended.
            return _children(
                Gauge(name, text, ("queue",), registry=registry, multiprocess_mode="livemostrecent"),
            )

        self._depth = gauge("mcp_queue_depth", "Messages waiting to be received.")
        self._in_flight = gauge("mcp_queue_inflight", "Messages received and not settled yet.")
        self._delayed = gauge("mcp_queue_delayed", "Messages that are not due yet.")
        self._age = gauge("mcp_queue_oldest_message_age_seconds", "Age of the oldest message; NaN when unknown.")
        self._dead_letters = gauge("mcp_dlq_depth", "Dead letters by the queue they come from.")

    def _register_dead_letters(self, registry: CollectorRegistry) -> None:
        self._oldest_dead_letter = _children(
            Gauge(
                "mcp_dlq_oldest_age_seconds",
                "How long the oldest dead letter in the ledger has waited; 0 where none waits.",
                ("queue",),
                registry=registry,
                multiprocess_mode="livemostrecent",
            )
        )
        self._redriven = _children(
            Counter("mcp_dlq_redriven_total", "Dead letters sent back.", ("queue",), registry=registry)
        )
        self._notified = _children(
            Counter(
                "mcp_dlq_notifications_total",
                "Notices of dead letters, by what became of each try.",
                ("notifier", "outcome"),
                registry=registry,
            )
        )

    def _register_destinations(self, registry: CollectorRegistry) -> None:
        self._deferred = _children(
            Counter(
                "mcp_queue_tasks_deferred_total",
                "Tasks deferred without an attempt, by what kept their destination from being called.",
                ("destination", "obstacle"),
                registry=registry,
            )
        )
        self._breakers_open = _children(
            Gauge(
                "mcp_queue_breaker_open",
                "1 while calls to a destination are stopped; of other, how many destinations are.",
                ("destination",),
                registry=registry,
                multiprocess_mode="livesum",
            )
        )
        for name in self._destinations:
            self._breakers_open(name)

    def _register_backends(self, registry: CollectorRegistry) -> None:
        self._sqs_calls = _children(
            Counter("mcp_queue_sqs_calls_total", "Calls to SQS.", ("operation", "outcome"), registry=registry)
        )
        self._sqs_batches = _children(
            Histogram(
                "mcp_queue_sqs_batch_entries",
                "Entries of a batch call to SQS.",
                ("operation",),
                buckets=_BATCH_BUCKETS,
                registry=registry,
            )
        )
        self._ledger_failures = _children(
            Counter("mcp_queue_ledger_failures_total", "Statements that failed.", ("operation",), registry=registry)
        )
        self._ledger_dropped = Counter(
            "mcp_queue_ledger_dropped_total", "Rows that will never be written.", registry=registry
        )
        self._ledger_backlog = Gauge(
            "mcp_queue_ledger_backlog",
            "Rows that wait for the database to come back.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    @override
    def enqueued(self, queue: str, task_type: str) -> None:
        self._enqueued(queue, self._label(task_type)).inc()

    @override
    def dequeued(self, queue: str, task_type: str) -> None:
        self._dequeued(queue, self._label(task_type)).inc()

    @override
    def completed(self, queue: str, task_type: str, status: TaskStatus) -> None:
        label = self._label(task_type)
        self._completed(queue, label, status.value).inc()
        if status is TaskStatus.RETRYING:
            self._retries(queue, label).inc()

    @override
    def processed(self, queue: str, task_type: str, duration: timedelta) -> None:
        self._durations(queue, self._label(task_type)).observe(duration.total_seconds())

    @override
    def lease_lost(self, queue: str) -> None:
        self._leases_lost(queue).inc()

    @override
    def settled_twice(self, queue: str) -> None:
        self._settled_twice(queue).inc()

    @override
    def postponed(self, queue: str, settlement: str) -> None:
        self._postponed(queue, settlement).inc()

    @override
    def callback(self, outcome: str) -> None:
        self._callbacks(outcome).inc()

    @override
    def observe_queue(self, stats: QueueStats) -> None:
        queue, age = stats.queue_name, stats.oldest_message_age
        self._depth(queue).set(stats.approximate_messages)
        self._in_flight(queue).set(stats.inflight_messages)
        self._delayed(queue).set(stats.delayed_messages)
        # An unknown value is NaN or absent, never zero.
        self._age(queue).set(nan if age is None else age.total_seconds())
        if stats.dead_letters is not None:
            self._dead_letters(queue).set(stats.dead_letters)

    @override
    def redriven(self, queue: str, count: int) -> None:
        self._redriven(queue).inc(count)

    @override
    def oldest_dead_letter(self, queue: str, age: timedelta | None) -> None:
        self._oldest_dead_letter(queue).set(0 if age is None else age.total_seconds())

    @override
    def notified(self, notifier: str, outcome: str) -> None:
        self._notified(notifier, outcome).inc()

    @override
    def deferred(self, destination: str, reason: str) -> None:
        self._deferred(self._destination_label(destination), reason).inc()

    @override
    def breaker_opened(self, destination: str) -> None:
        self._breakers_open(self._destination_label(destination)).inc()

    @override
    def breaker_closed(self, destination: str) -> None:
        self._breakers_open(self._destination_label(destination)).dec()

    def sqs_call(self, operation: str, outcome: str) -> None:
        """Count a call to SQS, or an entry that failed within one."""
        self._sqs_calls(operation, outcome).inc()

    def sqs_batch(self, operation: str, entries: int) -> None:
        """Observe how many entries a batch call carried."""
        self._sqs_batches(operation).observe(entries)

    @override
    def ledger_failed(self, operation: str) -> None:
        self._ledger_failures(operation).inc()

    @override
    def ledger_dropped(self, count: int) -> None:
        self._ledger_dropped.inc(count)

    @override
    def ledger_backlog(self, count: int) -> None:
        self._ledger_backlog.set(count)

    def render(self, shared: Path | None = None) -> tuple[bytes, str]:
        """Return every metric of the registry in the Prometheus text format, and its content type.

        With several worker processes, ``shared`` is the directory in which they keep their values
        (``PROMETHEUS_MULTIPROC_DIR``, set before this package is imported). The text then covers all of them.
        """
        registry = self.registry
        if shared is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(shared))  # type: ignore[no-untyped-call]  # the library has no types
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _label(self, task_type: str) -> str:
        return task_type if task_type in self._known else OTHER

    def _destination_label(self, name: str) -> str:
        return name if name in self._destinations else OTHER


def _children(metric: MetricT) -> Callable[..., MetricT]:
    """Return a faster ``metric.labels``, which takes a lock and converts all values at every call."""
    children: dict[tuple[str, ...], MetricT] = {}

    def child(*labels: str) -> MetricT:
        try:
            return children[labels]
        except KeyError:
            return children.setdefault(labels, metric.labels(*labels))

    return child
