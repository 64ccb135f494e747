"""Names, labels and values of the metrics."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry

from mcp_queue.domain.queues import QueueStats
from mcp_queue.domain.task import TaskStatus
from mcp_queue.telemetry.metrics import PrometheusMetrics


def a_pair() -> tuple[CollectorRegistry, PrometheusMetrics]:
    """Return metrics that know one task type, and their registry."""
    metrics = PrometheusMetrics({"echo"})
    return metrics.registry, metrics


def test_tasks_are_counted_by_queue_type_and_status() -> None:
    """Under the names that dashboards rely on."""
    _, metrics = a_pair()

    metrics.enqueued("tasks", "echo")
    metrics.dequeued("tasks", "echo")
    metrics.completed("tasks", "echo", TaskStatus.RETRYING)
    metrics.completed("tasks", "echo", TaskStatus.DEAD_LETTERED)

    lines = metrics.render()[0].decode().splitlines()
    for expected in (
        'mcp_queue_tasks_enqueued_total{queue="tasks",task_type="echo"} 1.0',
        'mcp_queue_tasks_dequeued_total{queue="tasks",task_type="echo"} 1.0',
        'mcp_queue_tasks_completed_total{queue="tasks",status="retrying",task_type="echo"} 1.0',
        'mcp_queue_tasks_completed_total{queue="tasks",status="dead_lettered",task_type="echo"} 1.0',
        'mcp_queue_task_retries_total{queue="tasks",task_type="echo"} 1.0',
    ):
        assert expected in lines


def test_types_that_nobody_knows_count_as_other() -> None:
    """Clients choose them: a million types must not become a million series."""
    registry, metrics = a_pair()

    for number in range(1000):
        metrics.enqueued("tasks", f"made-up-{number}")
    metrics.completed("tasks", "", TaskStatus.DEAD_LETTERED)

    labels = {"queue": "tasks", "task_type": "other"}
    assert registry.get_sample_value("mcp_queue_tasks_enqueued_total", labels) == 1000
    assert len(metrics.render()[0]) < 10_000


def test_durations_fall_into_buckets_that_double_from_a_tenth_of_a_second() -> None:
    """From 0.1 s to 27 min, then the rest."""
    registry, metrics = a_pair()

    metrics.processed("tasks", "echo", timedelta(seconds=0.3))

    name = "mcp_queue_task_processing_duration_seconds"
    (family,) = (family for family in registry.collect() if family.name == name)
    bounds = [sample.labels["le"] for sample in family.samples if sample.name == f"{name}_bucket"]
    assert [*(str(0.1 * 2**n) for n in range(15)), "+Inf"] == bounds
    labels = {"queue": "tasks", "task_type": "echo"}
    assert registry.get_sample_value(f"{name}_bucket", {**labels, "le": "0.2"}) == 0
    assert registry.get_sample_value(f"{name}_bucket", {**labels, "le": "0.4"}) == 1
    assert registry.get_sample_value(f"{name}_sum", labels) == 0.3


def test_callback_outcomes_are_there_from_the_start() -> None:
    """A rate needs a first value."""
    registry, metrics = a_pair()

    metrics.callback("refused")
    metrics.lease_lost("tasks")
    metrics.settled_twice("tasks")
    metrics.postponed("tasks", "dead_letter")

    outcomes = ("ok", "retryable", "rejected", "refused")
    values = [registry.get_sample_value("mcp_queue_callbacks_total", {"outcome": outcome}) for outcome in outcomes]
    assert [0, 0, 0, 1] == values
    assert registry.get_sample_value("mcp_queue_leases_lost_total", {"queue": "tasks"}) == 1
    assert registry.get_sample_value("mcp_queue_settled_twice_total", {"queue": "tasks"}) == 1
    postponed = {"queue": "tasks", "settlement": "dead_letter"}
    assert registry.get_sample_value("mcp_queue_settlements_postponed_total", postponed) == 1


def test_a_queue_shows_what_lies_in_it() -> None:
    """Waiting, running, delayed and dead, and how old the oldest is."""
    registry, metrics = a_pair()

    metrics.observe_queue(
        QueueStats(
            queue_name="tasks",
            approximate_messages=5,
            inflight_messages=2,
            delayed_messages=1,
            oldest_message_age=timedelta(seconds=90),
            dead_letters=3,
        )
    )

    names = ("depth", "inflight", "delayed", "oldest_message_age_seconds")
    labels = {"queue": "tasks"}
    assert [5, 2, 1, 90] == [registry.get_sample_value(f"mcp_queue_{name}", labels) for name in names]
    assert registry.get_sample_value("mcp_dlq_depth", labels) == 3


def test_what_is_unknown_is_not_zero() -> None:
    """An alert on the age must not read a lost figure as good news."""
    registry, metrics = a_pair()
    known = QueueStats(queue_name="tasks", approximate_messages=0, inflight_messages=0, delayed_messages=0)

    metrics.observe_queue(known)

    age = registry.get_sample_value("mcp_queue_oldest_message_age_seconds", {"queue": "tasks"})
    assert age is not None
    assert age != age  # noqa: PLR0124  # NaN
    assert registry.get_sample_value("mcp_dlq_depth", {"queue": "tasks"}) is None


def test_destinations_that_nobody_configured_count_as_other() -> None:
    """Clients name them: a thousand open breakers are one series, whose value says how many."""
    metrics = PrometheusMetrics((), {"billing"})
    registry = metrics.registry
    assert registry.get_sample_value("mcp_queue_breaker_open", {"destination": "billing"}) == 0

    metrics.breaker_opened("billing")
    for number in range(1000):
        metrics.breaker_opened(f"http://made-up-{number}:80")
        metrics.deferred(f"http://made-up-{number}:80", "breaker")
    metrics.breaker_closed("http://made-up-0:80")

    values = [
        registry.get_sample_value("mcp_queue_breaker_open", {"destination": "billing"}),
        registry.get_sample_value("mcp_queue_breaker_open", {"destination": "other"}),
        registry.get_sample_value("mcp_queue_tasks_deferred_total", {"destination": "other", "obstacle": "breaker"}),
    ]
    assert [1, 999, 1000] == values


def test_traffic_with_the_backends_is_counted() -> None:
    """Requests per task are what SQS costs; a backlog of rows is what the ledger owes."""
    metrics = PrometheusMetrics(())
    registry = metrics.registry

    metrics.sqs_call("SendMessageBatch", "ok")
    metrics.sqs_batch("SendMessageBatch", 7)
    metrics.ledger_failed("start")
    metrics.ledger_dropped(2)
    metrics.ledger_backlog(3)

    operation = {"operation": "SendMessageBatch"}
    values = [
        registry.get_sample_value("mcp_queue_sqs_calls_total", {**operation, "outcome": "ok"}),
        registry.get_sample_value("mcp_queue_sqs_batch_entries_bucket", {**operation, "le": "6.0"}),
        registry.get_sample_value("mcp_queue_sqs_batch_entries_sum", operation),
        registry.get_sample_value("mcp_queue_ledger_failures_total", {"operation": "start"}),
        registry.get_sample_value("mcp_queue_ledger_dropped_total"),
        registry.get_sample_value("mcp_queue_ledger_backlog"),
    ]
    assert [1, 0, 7, 1, 2, 3] == values


def test_dead_letters_are_counted() -> None:
    """How long the oldest has waited, how many went back, and whether anybody was told."""
    metrics = PrometheusMetrics(())
    registry = metrics.registry

    metrics.oldest_dead_letter("tasks", timedelta(minutes=5))
    metrics.oldest_dead_letter("orders", None)
    metrics.redriven("tasks", 3)
    metrics.redriven("tasks", 4)
    metrics.notified("slack", "failed")

    values = [
        registry.get_sample_value("mcp_dlq_oldest_age_seconds", {"queue": "tasks"}),
        registry.get_sample_value("mcp_dlq_oldest_age_seconds", {"queue": "orders"}),
        registry.get_sample_value("mcp_dlq_redriven_total", {"queue": "tasks"}),
        registry.get_sample_value("mcp_dlq_notifications_total", {"notifier": "slack", "outcome": "failed"}),
    ]
    assert [300, 0, 7, 1] == values


WORKER = """
import sys
from mcp_queue.domain.queues import QueueStats
from mcp_queue.telemetry.metrics import PrometheusMetrics
metrics = PrometheusMetrics({"echo"})
for _ in range(int(sys.argv[1])):
    metrics.enqueued("tasks", "echo")
metrics.observe_queue(
    QueueStats(queue_name="tasks", approximate_messages=int(sys.argv[1]), inflight_messages=0, delayed_messages=0)
)
"""


def test_several_worker_processes_answer_as_one(tmp_path: Path) -> None:
    """Counters add up, and of a queue's depth the latest look holds."""
    for count in ("2", "5"):
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", WORKER, count], env=environment, check=True, timeout=60)

    lines = PrometheusMetrics(()).render(tmp_path)[0].decode().splitlines()

    assert 'mcp_queue_tasks_enqueued_total{queue="tasks",task_type="echo"} 7.0' in lines
    assert 'mcp_queue_depth{queue="tasks"} 5.0' in lines
