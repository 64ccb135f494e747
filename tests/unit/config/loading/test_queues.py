"""The queues of a configuration: defaults, levels, dead-letter queues and what contradicts itself."""

from datetime import timedelta

import pytest

from mcp_queue.domain.queues import Backend, FailurePolicy, LevelPolicy, QueueKind
from tests.support.config import ON_SQS, ConfigFile, listing

WORK = "name: work, type: priority, levels: {3: work-p3, 0: work-p0}"
LEVELS = ("name: work-p3", "name: work-p0")


def test_a_queue_without_a_url_is_embedded(config_file: ConfigFile) -> None:
    """Both backends may stand in one configuration."""
    queues = config_file.queues("name: here", "name: there, url: there", "name: dlq, url: dlq")

    assert (Backend.SQLITE, Backend.SQS) == (queues["here"].backend, queues["there"].backend)


def test_values_of_a_queue_beat_the_defaults_of_the_file(config_file: ConfigFile) -> None:
    """What is nearer to the queue wins."""
    text = """
    queue:
      sqs:
        visibility_timeout: 60
        max_receive_count: 9
        queues:
          - {name: plain}
          - {name: special, visibility_timeout: 2m, max_receive_count: 4, max_retries: 1, max_task_bytes: 5242880,
             max_depth: 1000}
          - {name: orders, type: fifo}
          - {name: dlq}
      retry: {max_attempts: 6}
    """
    queues = {spec.name: spec for spec in config_file.load(text).queues}

    plain, special, orders = queues["plain"], queues["special"], queues["orders"]
    assert (timedelta(seconds=60), 9, 5, 1024 * 1024, None) == (
        plain.visibility_timeout,
        plain.max_receive_count,
        plain.max_retries,
        plain.max_task_bytes,
        plain.max_depth,
    )
    assert (timedelta(minutes=2), 4, 1, 5 * 1024 * 1024, 1000) == (
        special.visibility_timeout,
        special.max_receive_count,
        special.max_retries,
        special.max_task_bytes,
        special.max_depth,
    )
    assert 9 == orders.max_receive_count


def test_fifo_queues_have_a_group_and_a_failure_policy(config_file: ConfigFile) -> None:
    """Without a group of its own, a FIFO queue is one group; failures block it unless told otherwise."""
    queues = config_file.queues(
        "name: a, type: fifo", "name: b, type: fifo, message_group_id: g, failure_policy: skip", "name: dlq"
    )

    assert ("default", FailurePolicy.BLOCK) == (queues["a"].message_group_id, queues["a"].failure_policy)
    assert ("g", FailurePolicy.SKIP) == (queues["b"].message_group_id, queues["b"].failure_policy)


def test_options_of_sqs_queues_are_kept(config_file: ConfigFile) -> None:
    """A bucket lets a queue take more than SQS does."""
    queues = config_file.queues(
        "name: tasks, url: tasks, payload_bucket: large-tasks, cloudwatch_age: true, max_task_bytes: 5242880",
        "name: dlq, url: dlq",
    )

    tasks = queues["tasks"]
    assert ("large-tasks", True, 5 * 1024 * 1024) == (tasks.payload_bucket, tasks.cloudwatch_age, tasks.max_task_bytes)


def test_a_general_task_limit_stays_within_what_sqs_takes(config_file: ConfigFile) -> None:
    """MAX_TASK_BYTES may be raised for embedded queues without promising what SQS cannot hold."""
    queues = config_file.queues(
        "name: here", "name: there, url: there", "name: dlq, url: dlq", environ={"MAX_TASK_BYTES": "5242880"}
    )

    assert (5 * 1024 * 1024, 1024 * 1024) == (queues["here"].max_task_bytes, queues["there"].max_task_bytes)


def test_levels_belong_to_their_priority_queue(config_file: ConfigFile) -> None:
    """Clients know a level by the name of its priority queue, whose values it takes where it has none of its own."""
    queues = config_file.queues(
        f"{WORK}, visibility_timeout: 60, level_policy: weighted, dead_letter_queue: failed",
        "name: work-p3, visibility_timeout: 30",
        "name: work-p0",
        "name: failed",
    )

    work, high, low = queues["work"], queues["work-p3"], queues["work-p0"]
    assert (QueueKind.PRIORITY, LevelPolicy.WEIGHTED) == (work.kind, work.level_policy)
    assert [(3, "work-p3"), (0, "work-p0")] == list(work.levels.items())
    assert ("work", "work", "work") == (work.public_name, high.public_name, low.public_name)
    assert ("failed", "failed", "failed") == (
        work.dead_letter_queue,
        high.dead_letter_queue,
        low.dead_letter_queue,
    )
    assert (timedelta(seconds=30), timedelta(seconds=60)) == (high.visibility_timeout, low.visibility_timeout)
    assert (3, 3) == (work.max_receive_count, low.max_receive_count)


def test_levels_may_lie_on_both_backends(config_file: ConfigFile) -> None:
    """A priority queue is called by the backend of its level 0, the one that every priority can reach."""
    queues = config_file.queues(WORK, "name: work-p3", "name: work-p0, url: p0", "name: dlq, url: dlq")

    assert (Backend.SQS, Backend.SQLITE, Backend.SQS) == (
        queues["work"].backend,
        queues["work-p3"].backend,
        queues["work-p0"].backend,
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (("name: tasks",), "[tasks].dead_letter_queue: is missing, and there is no queue 'dlq' to take its place"),
        (("name: dlq",), ": there is no queue for tasks"),
        (("name: tasks", "name: tasks", "name: dlq"), "[tasks].name: 2 queues have this name"),
        (
            ("name: a, dead_letter_queue: dql", "name: dlq"),
            "[a].dead_letter_queue: 'dql' is no queue; did you mean dlq?",
        ),
        (
            ("name: tasks", "name: dlq, dead_letter_queue: dlq"),
            "[dlq].dead_letter_queue: 'dlq' is a dead-letter queue itself and has none of its own",
        ),
        (
            ("name: a, dead_letter_queue: work", WORK, *LEVELS, "name: dlq"),
            "[a].dead_letter_queue: 'work' is a priority queue",
        ),
        (("name: a, url: q", "name: b, url: q", "name: dlq, url: d"), "[b].url: 'a' and 'b' are the same queue"),
        (("name: a, type: fifo, url: q", "name: dlq, url: d"), "[a].url: 'a' is a fifo queue, but the name of its SQS"),
        (("name: a, url: q", "name: dlq"), "[dlq].url: is missing; the queue 'a' is on SQS, but its dead-letter queue"),
        ((WORK, "name: work-p3", "name: work-p0, url: q", "name: dlq"), "[dlq].url: is missing; the queue 'work-p0'"),
        (("name: a, levels: {0: b}", "name: b", "name: dlq"), "[a].levels: is for priority queues only"),
        (("name: a, failure_policy: skip", "name: dlq"), "[a].failure_policy: is for FIFO queues only"),
        (("name: a, payload_bucket: big-tasks", "name: dlq"), "[a].payload_bucket: is for queues on SQS only"),
        (("name: a, url: q, max_depth: 9", "name: dlq, url: d"), "[a].max_depth: is for embedded queues only"),
        (
            ("name: a, url: q, max_task_bytes: 2000000", "name: dlq, url: d"),
            "[a].max_task_bytes: more than 1048576 needs",
        ),
        ((f"{WORK}, url: q", *LEVELS, "name: dlq"), "[work].url: belongs to the levels of a priority queue"),
        (("name: work, type: priority", "name: dlq"), "[work].levels: there is no level 0"),
        (("name: work, type: priority, levels: {1: a}", "name: a", "name: dlq"), "[work].levels: there is no level 0"),
        (("name: work, type: priority, levels: {0: x}", "name: dlq"), "[work].levels: 'x' is no queue"),
        (("name: work, type: priority, levels: {0: dlq}", "name: dlq"), "[work].levels: 'dlq' is a dead-letter queue"),
        (
            ("name: work, type: priority, levels: {0: a}", "name: a, type: fifo", "name: dlq"),
            "[work].levels: 'a' is a fifo queue; levels are standard queues",
        ),
        (
            ("name: work, type: priority, levels: {0: work}", "name: dlq"),
            "[work].levels: 'work' is a priority queue; levels are standard queues",
        ),
        (
            ("name: work, type: priority, levels: {0: a, 1: a}", "name: a", "name: dlq"),
            "[work].levels: 'a' is a level twice, of work",
        ),
        (
            (WORK, "name: work-p3, dead_letter_queue: other", "name: work-p0", "name: other", "name: dlq"),
            "[work].levels: 'work-p3' names a dead-letter queue of its own; a level uses its priority queue's",
        ),
        (("name: work, type: priority, levels: {4: a}", "name: dlq"), "[work].levels.4: expected at most 3, not 4"),
    ],
)
def test_a_contradiction_is_one_line_naming_the_key(
    config_file: ConfigFile, entries: tuple[str, ...], expected: str
) -> None:
    """Whatever cannot work is found before anything starts."""
    (problem,) = config_file.queue_problems(*entries)

    assert problem.startswith(f"queue.sqs.queues{expected}")


def test_a_level_of_two_priority_queues_is_refused_for_both(config_file: ConfigFile) -> None:
    """Its tasks could belong to one of them only."""
    problems = config_file.queue_problems(
        "name: a, type: priority, levels: {0: x}", "name: b, type: priority, levels: {0: x}", "name: x", "name: dlq"
    )

    assert [
        "queue.sqs.queues[a].levels: 'x' is a level twice, of a and of b",
        "queue.sqs.queues[b].levels: 'x' is a level twice, of a and of b",
    ] == problems


def test_few_receives_for_many_attempts_on_fifo_are_a_warning(config_file: ConfigFile) -> None:
    """Each wait of a FIFO message is a receive, so that a low limit dead-letters healthy tasks."""
    settings = config_file.load(listing("name: a, type: fifo, max_receive_count: 39", "name: dlq"))

    (warning,) = settings.warnings
    assert warning.startswith("queue 'a': max_receive_count 39 is under 40")


def test_a_standard_dead_letter_queue_of_an_sqs_fifo_queue_is_a_warning(config_file: ConfigFile) -> None:
    """SQS's own redrive policy wants a FIFO queue there; ours does not."""
    settings = config_file.load("", {**ON_SQS, "LEDGER_URL": "none"})

    (warning,) = settings.warnings
    assert "SQS itself moves nothing from a FIFO queue to 'dlq'" in warning


def test_sqs_with_a_ledger_in_a_file_is_a_warning(config_file: ConfigFile) -> None:
    """It works on one machine only."""
    entries = listing("name: a, url: a", "name: dlq, url: d")

    assert any(warning.startswith("LEDGER_URL") for warning in config_file.load(entries).warnings)
    assert () == config_file.load(entries, {"LEDGER_URL": "none"}).warnings
