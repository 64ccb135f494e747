"""Describes what is counted."""

from datetime import timedelta
from typing import Protocol

from mcp_queue.domain.queues import QueueStats
from mcp_queue.domain.task import TaskStatus


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

    def settled_twice(self, queue: str) -> None:
        """Count a second settlement of one delivery: a defect of the product, which touched nothing."""
        ...

    def postponed(self, queue: str, settlement: str) -> None:
        """Count a settlement that its queue could not take in time."""
        ...

    def callback(self, outcome: str) -> None:
        """Count a callback: ``ok``, ``retryable``, ``rejected`` or ``refused``."""
        ...

    def observe_queue(self, stats: QueueStats) -> None:
        """Set the gauges of a queue."""
        ...


class DestinationMetrics(Protocol):
    """What is counted of the destinations of callbacks. Label values are the adapter's to bound."""

    def deferred(self, destination: str, reason: str) -> None:
        """Count a task that was deferred: its destination is ``paused``, or kept by its ``breaker`` or a ``limit``."""
        ...

    def breaker_opened(self, destination: str) -> None:
        """Note that a destination is no longer called."""
        ...

    def breaker_closed(self, destination: str) -> None:
        """Note that a destination is called again, or no longer remembered."""
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
        """Count dead letters that went back to ``queue``."""
        ...

    def oldest_dead_letter(self, queue: str, age: timedelta | None) -> None:
        """Set how long the oldest dead letter of ``queue`` has waited; ``None`` where none waits."""
        ...

    def notified(self, notifier: str, outcome: str) -> None:
        """Count a notice: ``sent``, ``failed`` or ``given_up``."""
        ...
