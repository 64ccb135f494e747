"""Settings from the YAML file."""

from datetime import timedelta
from pathlib import Path

import pytest

from mcp_queue.domain.execution.routing import Route
from mcp_queue.domain.queues import Backend, QueueKind
from tests.support.config import ON_SQS, ConfigFile, by_name, listing, problems_with

COMPLETE = """
queue:
  sqs: {region: us-east-1, endpoint_url: null,
        queues: [{name: tasks, url: "${SQS_QUEUE_URL}", type: standard, visibility_timeout: 300, max_receive_count: 3,
                  dead_letter_queue: dlq},
                 {name: priority-tasks, url: "${SQS_PRIORITY_QUEUE_URL}", type: fifo, message_group_id: default},
                 {name: dlq, url: "${SQS_DLQ_URL}", type: standard}]}
  workers: {count: 10, batch_size: 10, processing_timeout: 5m}
  retry: {max_attempts: 4, backoff: {type: exponential, base_delay: 1s, max_delay: 5m, factor: 2.0}}
  routes: [{type: document, callback_url: "https://example.com/documents"}]
"""


def test_the_complete_file_is_read(config_file: ConfigFile) -> None:
    """A file in the documented shape sets queues, workers, retries and routes."""
    settings = config_file.load(COMPLETE, ON_SQS)

    assert [("tasks", Backend.SQS), ("priority-tasks", Backend.SQS), ("dlq", Backend.SQS)] == [
        (spec.name, spec.backend) for spec in settings.queues
    ]
    assert ("us-east-1", None, 3) == (settings.sqs.region, settings.sqs.endpoint_url, settings.retry.max_retries)
    assert (Route(type="document", callback_url="https://example.com/documents"),) == settings.routes


def test_a_variable_that_is_not_set_stops_the_start(config_file: ConfigFile) -> None:
    """A lost variable must not turn SQS into a file on a local disk; every key that lacks one is named."""
    assert [
        "queue.sqs.queues[tasks].url: the variable SQS_QUEUE_URL is empty",
        "queue.sqs.queues[dlq].url: the variable SQS_DLQ_URL is not set",
    ] == config_file.problems(COMPLETE, {"SQS_QUEUE_URL": "", "SQS_PRIORITY_QUEUE_URL": "p.fifo"})


def test_a_default_stands_in_for_a_variable(config_file: ConfigFile) -> None:
    """``${VAR:-default}`` takes the default where the variable is unset or empty."""
    text = "queue: {workers: {count: '${COUNT:-7}'}, data_dir: '${ROOT:-/srv}/queue'}"

    unset = config_file.load(text)
    given = config_file.load(text, {"COUNT": "8", "ROOT": ""})

    assert (7, Path("/srv/queue"), 8, Path("/srv/queue")) == (
        unset.workers.count,
        unset.data_dir,
        given.workers.count,
        given.data_dir,
    )


def test_an_empty_default_leaves_the_key_out(config_file: ConfigFile) -> None:
    """``${VAR:-}`` says in so many words that the key may be missing."""
    assert config_file.load("queue: {sqs: {region: '${REGION:-}'}}").sqs.region is None


def test_two_dollar_signs_are_one(config_file: ConfigFile) -> None:
    """Texts may hold what looks like a variable."""
    assert Path("a${B}$c") == config_file.load("queue: {data_dir: 'a$${B}$c'}").data_dir


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A-b}", "${A:-${B}}"])
def test_a_malformed_variable_is_refused(config_file: ConfigFile, text: str) -> None:
    """A reference that is none is a mistake, not a text."""
    problems = config_file.problems(f"queue: {{data_dir: '{text}'}}", {"B": "b"})

    assert ["queue.data_dir: '${' begins neither ${VAR} nor ${VAR:-default}; a dollar sign is $$"] == problems


def test_a_value_from_a_variable_cannot_change_the_file(config_file: ConfigFile) -> None:
    """Variables are filled into texts, not into YAML."""
    assert Path("x}, y: {z: 1") == config_file.load("queue: {data_dir: '${D}'}", {"D": "x}, y: {z: 1"}).data_dir


def test_the_environment_beats_the_file(config_file: ConfigFile) -> None:
    """What is set nearer to the process wins; the rest of the file still holds."""
    text = "queue: {workers: {count: 5, batch_size: 5}, retry: {max_attempts: 2}}"

    settings = config_file.load(text, {"QUEUE_WORKER_COUNT": "6", "QUEUE_MAX_RETRIES": "9"})

    assert (6, 5, 9) == (settings.workers.count, settings.workers.batch_size, settings.retry.max_retries)


def test_the_environment_beats_the_values_of_each_queue_and_says_so(config_file: ConfigFile) -> None:
    """The rule has no exception, and a warning names what it replaced."""
    text = listing("name: tasks, visibility_timeout: 60", "name: slow", "name: dlq")

    settings = config_file.load(text, {"SQS_VISIBILITY_TIMEOUT": "90"})

    assert {timedelta(seconds=90)} == {spec.visibility_timeout for spec in settings.queues}
    assert (
        "SQS_VISIBILITY_TIMEOUT replaces queue.sqs.queues[tasks].visibility_timeout of the file",
    ) == settings.warnings


def test_a_queue_url_of_the_environment_beats_the_files(config_file: ConfigFile) -> None:
    """A file without variables can still be moved to another account."""
    text = listing("name: tasks, url: old", "name: dlq")

    settings = config_file.load(text, {"SQS_QUEUE_URL": "new", "SQS_DLQ_URL": "dead"})

    assert ("new", "dead") == (by_name(settings)["tasks"].url, by_name(settings)["dlq"].url)
    assert "SQS_QUEUE_URL replaces queue.sqs.queues[tasks].url of the file" in settings.warnings


def test_a_queue_url_that_the_file_names_is_the_files_to_place(config_file: ConfigFile) -> None:
    """``${SQS_QUEUE_URL}`` may stand at a queue of another name."""
    queues = config_file.queues(
        "name: tasks, url: mine", "name: other, url: '${SQS_QUEUE_URL}'", "name: dlq, url: dead",
        environ={"SQS_QUEUE_URL": "theirs"},
    )  # fmt: skip

    assert ("mine", "theirs") == (queues["tasks"].url, queues["other"].url)


def test_a_queue_url_without_its_queue_is_a_warning(config_file: ConfigFile) -> None:
    """The variable would do nothing."""
    settings = config_file.load(listing("name: work", "name: dlq"), {"SQS_QUEUE_URL": "tasks"})

    assert ("SQS_QUEUE_URL is set, but the file has no queue 'tasks' and names no ${SQS_QUEUE_URL}",) == (
        settings.warnings
    )


def test_attempts_count_the_first_one(config_file: ConfigFile) -> None:
    """Four attempts are one and three retries."""
    assert 3 == config_file.load("queue: {retry: {max_attempts: 4}}").retry.max_retries
    assert 0 == config_file.load("queue: {retry: {max_attempts: 1}}").retry.max_retries


def test_attempts_and_retries_at_once_are_refused(config_file: ConfigFile) -> None:
    """Only one of the two can be meant."""
    assert ["queue.retry.max_attempts: max_retries is there too; write one of the two"] == config_file.problems(
        "queue: {retry: {max_attempts: 4, max_retries: 4}}"
    )


def test_zero_attempts_are_one_problem(config_file: ConfigFile) -> None:
    """What follows from a mistake is not listed beside it."""
    assert ["queue.retry.max_attempts: expected at least 1, not 0"] == config_file.problems(
        "queue: {retry: {max_attempts: 0}}"
    )


def test_a_file_without_queues_keeps_the_built_in_ones(config_file: ConfigFile) -> None:
    """A file may be about workers only; a section without values is as good as none."""
    settings = config_file.load("queue:\n  workers:\n    count: 2\n  retry:\n")

    assert ["tasks", "priority-tasks", "dlq"] == [spec.name for spec in settings.queues]


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("queue: 5", {"QUEUE_DATA_DIR": "d"}, "queue: expected a mapping"),
        ("queue: [{workers: {count: 3}}]", {"QUEUE_WORKER_COUNT": "2"}, "queue: expected a mapping"),
        ("queue: {retry: 5}", {"QUEUE_RETRY_BASE_DELAY": "1s"}, "queue.retry: expected a mapping"),
        ("gateway: 5", {"GATEWAY_PORT": "8080"}, "gateway: expected a mapping"),
    ],
)
def test_a_section_that_is_none_is_refused_whatever_the_environment_sets(
    config_file: ConfigFile, text: str, environ: dict[str, str], expected: str
) -> None:
    """Laid over it, the environment would make it vanish with all that it says."""
    assert [expected] == config_file.problems(text, environ)


def test_a_file_that_holds_itself_is_refused(config_file: ConfigFile) -> None:
    """YAML can name a part of a document inside of that part."""
    (problem,) = config_file.problems("x: &a [*a]")
    assert "holds an alias of itself" in problem


def test_an_empty_file_is_no_configuration(config_file: ConfigFile) -> None:
    """A file of comments changes nothing."""
    assert ["tasks", "priority-tasks", "dlq"] == [spec.name for spec in config_file.load("# nothing\n").queues]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("queue: {workers: {cuont: 1}}", "queue.workers.cuont: there is no such key; did you mean count?"),
        ("queue: {retry: {z: 1}}", "queue.retry.z: there is no such key; known are max_attempts, max_retries, backoff"),
        (listing("name: tasks, ur: x"), "queue.sqs.queues[tasks].ur: there is no such key; did you mean url?"),
        ("queue: {workers: 5}", "queue.workers: expected a mapping"),
        ("queue: {sqs: {queues: []}}", "queue.sqs.queues: there is no queue for tasks"),
        ("queue: {sqs: {queues: [5]}}", "queue.sqs.queues[0]: expected a mapping"),
        ("queue: {routes: [{type: a}]}", "queue.routes[a].callback_url: is missing"),
        ("queue: {workers: {count: yes}}", "queue.workers.count: expected a number"),
        ("queue: {workers: {count: 1.5}}", "queue.workers.count: expected a valid integer, got a number with a"),
        (listing("name: a b"), "queue.sqs.queues[a b].name: expected a name of letters, digits, '.', '_' and '-'"),
        (listing("name: tasks, type: lifo"), "queue.sqs.queues[tasks].type: expected 'standard', 'fifo' or 'priority'"),
        ("queue: {retry: {backoff: {type: linear}}}", "queue.retry.backoff.type: expected 'exponential', not 'linear'"),
        (listing("name: tasks, url: 5"), "queue.sqs.queues[tasks].url: expected a valid string"),
        ("queue: {sqs: {endpoint_url: 5}}", "queue.sqs.endpoint_url: expected a valid string"),
        ("callbacks: {secrets: [5]}", "callbacks.secrets[0]: expected a valid string"),
        ("callbacks: {allowed_networks: [5]}", "callbacks.allowed_networks[0]: '5' is no network such as 10.0.0.0/8"),
        ("logs: {level: 5}", "logs.level: expected 'debug', 'info', 'warning' or 'error', not 5"),
        ("queue: {? [a] : 1}", "QUEUE_CONFIG: {path} line 1, column 11: found unhashable key"),
        ("- 1", "QUEUE_CONFIG: {path} holds no mapping"),
        ("a: b: c", "QUEUE_CONFIG: {path} line 1, column 5: mapping values are not allowed here"),
        ("queue: {}\nqueue: {}", "QUEUE_CONFIG: {path} line 2, column 1: 'queue' stands twice"),
    ],
)
def test_a_mistake_is_one_line_naming_the_key(config_file: ConfigFile, text: str, expected: str) -> None:
    """Keys are written as they stand in the file, elements of lists by their names."""
    (problem,) = config_file.problems(text)

    assert problem.startswith(expected.replace("{path}", str(config_file.path)))


def test_a_file_that_is_not_utf_8_is_refused(config_file: ConfigFile) -> None:
    """Another encoding would change names without a word."""
    config_file.path.write_bytes(b"queue: {data_dir: \xff}")

    assert [f"QUEUE_CONFIG: {config_file.path} is not UTF-8"] == problems_with({"QUEUE_CONFIG": str(config_file.path)})


def test_a_control_character_is_no_yaml(config_file: ConfigFile) -> None:
    """YAML's own limits are one line, too."""
    assert [f"QUEUE_CONFIG: {config_file.path} is no YAML"] == config_file.problems("queue: \x07")


def test_merge_keys_work(config_file: ConfigFile) -> None:
    """YAML's way to share values between queues is not taken for a key that stands twice."""
    text = """
    queue: {sqs: {queues: [&base {name: a, visibility_timeout: 60}, {<<: *base, name: b}, {name: dlq}]}}
    """

    assert timedelta(seconds=60) == by_name(config_file.load(text))["b"].visibility_timeout


def test_kind_of_a_queue_follows_from_its_sqs_name(config_file: ConfigFile) -> None:
    """Where the file does not say it, .fifo does."""
    queues = config_file.queues("name: orders, url: orders.fifo", "name: mail, url: mail", "name: dlq, url: dlq")

    assert (QueueKind.FIFO, QueueKind.STANDARD) == (queues["orders"].kind, queues["mail"].kind)


@pytest.mark.parametrize("leaf", ["x", '"' + "x" * 1000 + '"'])
def test_a_document_that_its_aliases_blow_up_is_refused(config_file: ConfigFile, leaf: str) -> None:
    """Before it takes time and memory."""
    levels = [f"l0: &l0 [{', '.join([leaf] * 10)}]"]
    levels += [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 12)]
    (problem,) = config_file.problems("\n".join(levels))
    assert "too long, with its aliases written out" in problem
