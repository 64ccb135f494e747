"""What tests of callbacks are put together from."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_network

from mcp_queue.domain.callbacks.addresses import EgressPolicy
from mcp_queue.domain.queues import QueueStats
from mcp_queue.domain.task import TaskStatus
from mcp_queue.ports import CallbackRequest

LOOPBACK = EgressPolicy(allowed_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")))


class Outcomes:
    """A ``Metrics`` that counts callbacks by outcome."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.counted: Counter[str] = Counter()

    def enqueued(self, queue: str, task_type: str) -> None:
        """Ignore it."""

    def dequeued(self, queue: str, task_type: str) -> None:
        """Ignore it."""

    def completed(self, queue: str, task_type: str, status: TaskStatus) -> None:
        """Ignore it."""

    def processed(self, queue: str, task_type: str, duration: timedelta) -> None:
        """Ignore it."""

    def lease_lost(self, queue: str) -> None:
        """Ignore it."""

    def settled_twice(self, queue: str) -> None:
        """Ignore it."""

    def callback(self, outcome: str) -> None:
        """Count it."""
        self.counted[outcome] += 1

    def observe_queue(self, stats: QueueStats) -> None:
        """Ignore it."""


class Names:
    """A resolver whose answers are given in advance, one after another, the last again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        """Answer every name alike."""
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        """Return the next answer; an empty one is a name that does not exist."""
        self.asked.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not answer:
            raise OSError("no such name")
        return answer


def a_request(url: str, **members: object) -> CallbackRequest:
    """Return a request that ends within 5 s."""
    values: dict[str, object] = {"url": url, "body": b"{}", "timeout": timedelta(seconds=5), **members}
    return CallbackRequest(**values)  # type: ignore[arg-type]  # the members are those of a request
