"""Metrics that remember what they were told, one for each port of the product."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from mcp_queue.domain.queues import QueueStats
from mcp_queue.domain.task import TaskStatus


class CountingMetrics:
    """A ``Metrics`` that remembers what it was told."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.statuses: list[TaskStatus] = []
        self.lost = 0
        self.twice = 0
        self.received = 0
        self.postponements: list[tuple[str, str]] = []
        self.observed: list[QueueStats] = []
        self.deferrals: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.callbacks: Counter[str] = Counter()

    def enqueued(self, queue: str, task_type: str) -> None:
        """Ignore it: consumers enqueue nothing."""

    def dequeued(self, queue: str, task_type: str) -> None:
        """Count it."""
        self.received += 1

    def completed(self, queue: str, task_type: str, status: TaskStatus) -> None:
        """Remember the status."""
        self.statuses.append(status)

    def processed(self, queue: str, task_type: str, duration: timedelta) -> None:
        """Ignore it."""

    def lease_lost(self, queue: str) -> None:
        """Count it."""
        self.lost += 1

    def settled_twice(self, queue: str) -> None:
        """Count it."""
        self.twice += 1

    def postponed(self, queue: str, settlement: str) -> None:
        """Remember it."""
        self.postponements.append((queue, settlement))

    def callback(self, outcome: str) -> None:
        """Count it."""
        self.callbacks[outcome] += 1

    def observe_queue(self, stats: QueueStats) -> None:
        """Remember the statistics."""
        self.observed.append(stats)

    def deferred(self, destination: str, reason: str) -> None:
        """Remember the deferral."""
        self.deferrals.append((destination, reason))

    def breaker_opened(self, destination: str) -> None:
        """Remember it as open."""
        self.open.append(destination)

    def breaker_closed(self, destination: str) -> None:
        """Forget it."""
        self.open.remove(destination)


class CountedCalls:
    """An ``SqsMetrics`` that remembers what it was told."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.calls: list[tuple[str, str]] = []
        self.batches: list[tuple[str, int]] = []

    def sqs_call(self, operation: str, outcome: str) -> None:
        """Remember a call."""
        self.calls.append((operation, outcome))

    def sqs_batch(self, operation: str, entries: int) -> None:
        """Remember a batch."""
        self.batches.append((operation, entries))

    def outcomes(self, operation: str) -> list[str]:
        """Return how the calls of ``operation`` ended."""
        return [outcome for name, outcome in self.calls if name == operation]


@dataclass(slots=True)
class LedgerCounts:
    """A ``LedgerMetrics`` that remembers what it was told."""

    failed: list[str] = field(default_factory=list)
    dropped: int = 0
    backlog: int = 0

    def ledger_failed(self, operation: str) -> None:
        """Remember which operation failed."""
        self.failed.append(operation)

    def ledger_dropped(self, count: int) -> None:
        """Add up what was dropped."""
        self.dropped += count

    def ledger_backlog(self, count: int) -> None:
        """Remember how many rows wait."""
        self.backlog = count


class DeadLetterCounts:
    """A ``DeadLetterMetrics`` that remembers what it was told."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.sent: dict[str, int] = {}
        self.ages: dict[str, timedelta | None] = {}
        self.outcomes: list[tuple[str, str]] = []

    def redriven(self, queue: str, count: int) -> None:
        """Add up."""
        self.sent[queue] = self.sent.get(queue, 0) + count

    def oldest_dead_letter(self, queue: str, age: timedelta | None) -> None:
        """Remember the last age."""
        self.ages[queue] = age

    def notified(self, notifier: str, outcome: str) -> None:
        """Remember in order."""
        self.outcomes.append((notifier, outcome))
