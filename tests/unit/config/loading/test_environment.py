"""Settings from the environment alone."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from mcp_queue.config import load_settings, read_client
from mcp_queue.domain.errors import ConfigError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.domain.queues import Backend, QueueKind
from tests.support.config import ON_SQS, by_name, problems_with


def test_nothing_configured_means_three_embedded_queues() -> None:
    """A new user's first command works: a standard and a FIFO queue with their dead-letter queue, all embedded."""
    queues = by_name(load_settings({}))

    assert {"tasks": QueueKind.STANDARD, "priority-tasks": QueueKind.FIFO, "dlq": QueueKind.STANDARD} == {
        name: spec.kind for name, spec in queues.items()
    }
    assert {Backend.SQLITE} == {spec.backend for spec in queues.values()}
    assert {"tasks": "dlq", "priority-tasks": "dlq", "dlq": None} == {
        name: spec.dead_letter_queue for name, spec in queues.items()
    }


def test_defaults_are_those_of_the_documentation() -> None:
    """Every default holds where nothing else is said."""
    settings = load_settings({})

    assert {"tasks": 3, "priority-tasks": 100, "dlq": 3} == {
        spec.name: spec.max_receive_count for spec in settings.queues
    }
    assert {timedelta(seconds=300)} == {spec.visibility_timeout for spec in settings.queues}
    assert (10, 10, timedelta(minutes=5)) == (
        settings.workers.count,
        settings.workers.batch_size,
        settings.workers.processing_timeout,
    )
    assert (3, ExponentialBackoff()) == (settings.retry.max_retries, settings.retry.backoff)
    assert ("127.0.0.1", 8080, "127.0.0.1", 8081) == (
        settings.gateway.host,
        settings.gateway.port,
        settings.consumer.host,
        settings.consumer.port,
    )
    assert (1024 * 1024, 16 * 1024 * 1024) == (settings.gateway.max_task_bytes, settings.gateway.max_request_bytes)
    assert (timedelta(seconds=30), timedelta(seconds=20)) == (settings.shutdown_grace, settings.sqs.wait_time)
    assert (Path("var"), "sqlite+aiosqlite:///var/ledger.db") == (settings.data_dir, settings.ledger.url)
    assert () == settings.warnings


def test_queue_urls_put_the_built_in_queues_on_sqs() -> None:
    """Each of the three variables is the url of one queue."""
    queues = by_name(load_settings(ON_SQS))

    assert {Backend.SQS} == {spec.backend for spec in queues.values()}
    assert ON_SQS["SQS_PRIORITY_QUEUE_URL"] == queues["priority-tasks"].url


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:4566/000000000000/tasks", "arn:aws:sqs:eu-central-1:123456789012:tasks", "tasks"]
)
def test_a_queue_is_named_by_url_arn_or_name(url: str) -> None:
    """All three ways to name an SQS queue are taken as they are."""
    assert url == by_name(load_settings({**ON_SQS, "SQS_QUEUE_URL": url}))["tasks"].url


@pytest.mark.parametrize("url", ["ftp://host/tasks", "https://", "arn:aws:sns:eu-central-1:123456789012:tasks", "a b"])
def test_what_names_no_sqs_queue_is_refused(url: str) -> None:
    """A wrong url stops the start, naming the variable."""
    (problem,) = problems_with({**ON_SQS, "SQS_QUEUE_URL": url})

    assert problem.startswith("SQS_QUEUE_URL: ")


def test_an_empty_variable_counts_as_unset() -> None:
    """Compose files and shells set variables to nothing when they mean nothing."""
    assert load_settings({}) == load_settings({"QUEUE_WORKER_COUNT": " ", "SQS_QUEUE_URL": "", "QUEUE_CONFIG": ""})


def test_an_sqs_queue_with_an_embedded_dead_letter_queue_is_refused() -> None:
    """Dead letters of a shared queue must not end in a file of one machine; both queues are named."""
    assert [
        "SQS_DLQ_URL: is missing; the queue 'tasks' is on SQS, but its dead-letter queue 'dlq' is embedded"
    ] == problems_with({"SQS_QUEUE_URL": ON_SQS["SQS_QUEUE_URL"]})


def test_a_built_in_queue_without_a_url_is_not_there_beside_sqs() -> None:
    """A lost variable must not turn SQS into a file on a local disk, nor go unnoticed."""
    settings = load_settings({name: url for name, url in ON_SQS.items() if name != "SQS_PRIORITY_QUEUE_URL"})

    assert {"tasks", "dlq"} == set(by_name(settings))
    assert "SQS_PRIORITY_QUEUE_URL is not set: there is no queue 'priority-tasks'" in settings.warnings


@pytest.mark.parametrize("variable", ["SQS_QUEUE_URL", "SQS_PRIORITY_QUEUE_URL"])
def test_a_url_of_the_other_kind_of_queue_is_refused(variable: str) -> None:
    """SQS names FIFO queues with .fifo, so that a mix-up shows before anything is sent."""
    swapped = {"SQS_QUEUE_URL": "tasks.fifo", "SQS_PRIORITY_QUEUE_URL": "priority-tasks"}

    (problem,) = problems_with({**ON_SQS, variable: swapped[variable]})

    assert problem.startswith(f"{variable}: ")
    assert ".fifo" in problem


def test_the_dead_letter_queue_may_be_fifo() -> None:
    """Its kind follows from the name, since either kind is right."""
    queues = by_name(load_settings({**ON_SQS, "SQS_DLQ_URL": "dlq.fifo"}))

    assert queues["dlq"].fifo


def test_variables_of_all_kinds_are_read() -> None:
    """Numbers, durations, lists and switches reach the settings in their final types."""
    settings = load_settings({
        "QUEUE_WORKER_COUNT": "32",
        "QUEUE_RETRY_BASE_DELAY": "250ms",
        "SHUTDOWN_GRACE": "45",
        "QUEUE_HANDLERS": "shop.handlers, shop.mail",
        "CALLBACK_ALLOWED_NETWORKS": "10.0.0.0/8,fd00::/8",
        "CALLBACK_ALLOWED_PORTS": "443 8443",
        "CALLBACK_ALLOWED_HOSTS": "*.example.com",
        "CALLBACK_REQUIRE_HTTPS": "true",
        "DEAD_LETTER_RETENTION": "30d",
        "LOG_LEVEL": "INFO",
    })  # fmt: skip

    assert 32 == settings.workers.count
    assert timedelta(milliseconds=250) == settings.retry.backoff.base
    assert timedelta(seconds=45) == settings.shutdown_grace
    assert ("shop.handlers", "shop.mail") == settings.handlers
    assert (ip_network("10.0.0.0/8"), ip_network("fd00::/8")) == settings.callbacks.egress.allowed_networks
    assert {443, 8443} == settings.callbacks.egress.allowed_ports
    assert {"*.example.com"} == settings.callbacks.egress.allowed_hosts
    assert settings.callbacks.egress.require_https
    assert timedelta(days=30) == settings.ledger.dead_letter_retention
    assert "info" == settings.logs.level


def test_the_weaker_variable_counts_where_the_stronger_is_unset() -> None:
    """AWS's own variables come in two generations."""
    assert "eu-west-1" == load_settings({"AWS_DEFAULT_REGION": "eu-west-1"}).sqs.region
    assert "eu-west-2" == load_settings({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-2"}).sqs.region


def test_a_receive_count_from_the_environment_holds_for_fifo_queues_too() -> None:
    """The higher default of FIFO queues is a default only."""
    assert {7} == {spec.max_receive_count for spec in load_settings({"SQS_MAX_RECEIVE_COUNT": "7"}).queues}


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("QUEUE_WORKER_COUNT", "ten", "expected a valid integer, not 'ten'"),
        ("QUEUE_WORKER_COUNT", "0", "expected at least 1, not '0'"),
        ("QUEUE_BATCH_SIZE", "11", "expected at most 10, not '11'"),
        ("SQS_VISIBILITY_TIMEOUT", "13h", "expected at most 12 hours, not 13h"),
        ("SQS_WAIT_TIME_SECONDS", "21", "expected at most 20 seconds, not 21s"),
        ("QUEUE_MAX_RETRIES", "-1", "expected at least 0, not '-1'"),
        ("LOG_LEVEL", "loud", "expected 'debug', 'info', 'warning' or 'error', not 'loud'"),
        ("CALLBACK_REQUIRE_HTTPS", "perhaps", "expected a valid boolean, not 'perhaps'"),
        ("QUEUE_HANDLERS", "my-module", "expected a module such as package.handlers, not 'my-module'"),
        ("GATEWAY_PORT", "70000", "expected at most 65535, not '70000'"),
        ("EMBEDDING_BASE_URL", "ftp://models", "'ftp://models' is no http or https URL"),
        ("EMBEDDING_BASE_URL", "http://[::1", "'http://[::1' is no URL (Invalid IPv6 URL)"),
        ("LEDGER_URL", "mysql://db", "expected postgresql+asyncpg://…, sqlite+aiosqlite:///… or none"),
        *(
            ("LEDGER_URL", f"postgresql://user:p[/?:ss@{place}/db", "the port is no number from 1 to 65535")
            for place in ("db:port", "db:99999", "db:0", "db:-1", "db:", "[::1]:x", "db:5432x")
        ),
        ("CALLBACK_ALLOWED_NETWORKS", "10.1.0.0/8", "'10.1.0.0/8' is no network such as 10.0.0.0/8"),
        ("CALLBACK_ALLOWED_HOSTS", "a/b", "expected a host such as example.com or *.example.com, not 'a/b'"),
        ("CALLBACK_TIMEOUT", "300", "5m is not shorter than the visibility timeout of the queue 'tasks', 5m"),
        ("QUEUE_RETRY_BASE_DELAY", "10m", "10m is longer than max_delay, 5m"),
        ("MAX_REQUEST_BYTES", "65536", "65536 is less than MAX_TASK_BYTES, 1048576"),
        ("QUEUE_CONFIG", "/nowhere/queue.yaml", "/nowhere/queue.yaml cannot be read (No such file or directory)"),
    ],
)
def test_a_wrong_value_is_one_line_naming_the_variable(variable: str, value: str, expected: str) -> None:
    """Whoever starts the service sees at once which variable to change, and how."""
    (problem,) = problems_with({variable: value})

    assert problem.startswith(f"{variable}: {expected}")


def test_a_bad_duration_says_how_durations_are_written() -> None:
    """The line teaches the format."""
    (problem,) = problems_with({"CALLBACK_TIMEOUT": "5 minutes"})

    assert problem.startswith("CALLBACK_TIMEOUT: expected a number of seconds")
    assert problem.endswith("not '5 minutes'")


def test_every_mistake_is_listed() -> None:
    """Nobody has to start three times to find three mistakes."""
    assert {"QUEUE_WORKER_COUNT", "LOG_FORMAT", "CALLBACK_SECRETS"} == {
        problem.partition(":")[0]
        for problem in problems_with({"QUEUE_WORKER_COUNT": "x", "LOG_FORMAT": "xml", "CALLBACK_SECRETS": "whsec_x"})
    }


def test_a_wrong_secret_is_not_repeated() -> None:
    """What is refused ends in logs, where no secret belongs."""
    (problem,) = problems_with({"CALLBACK_SECRETS": "whsec_c2hvcnQ="})

    assert "c2hvcnQ" not in problem


def test_a_misspelt_variable_is_a_warning() -> None:
    """A variable cannot be refused, since others live in the same environment; but it is not passed over in silence."""
    settings = load_settings({"QUEUE_WORKERS_COUNT": "5", "QUEUE_OF_SOMEBODY_ELSE": "1"})

    assert ("QUEUE_WORKERS_COUNT is no setting; did you mean QUEUE_WORKER_COUNT?",) == settings.warnings


def test_a_fallback_counts_only_where_nothing_else_is_said() -> None:
    """The weakest layer gives way to the environment."""
    fallback = {"QUEUE_WORKER_COUNT": "3", "QUEUE_BATCH_SIZE": "3"}

    settings = load_settings({"QUEUE_WORKER_COUNT": "4"}, fallback)

    assert (4, 3) == (settings.workers.count, settings.workers.batch_size)


def test_settings_do_not_show_secrets() -> None:
    """A settings object that ends in a log or a traceback gives nothing away."""
    settings = load_settings({
        "CALLBACK_SECRETS": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
        "EMBEDDING_API_KEY": "sk-hunter2",
        "LEDGER_URL": "postgresql+asyncpg://queue:hunter2@db/queue",
    })  # fmt: skip

    assert "hunter2" not in repr(settings)
    assert "MDEyMzQ1" not in repr(settings)


def test_the_client_needs_an_address_and_perhaps_a_key() -> None:
    """Client commands read two variables and no file, so that they work wherever the gateway runs."""
    assert "http://127.0.0.1:8080" == read_client({}).url
    client = read_client({"MCP_QUEUE_URL": "https://queue.example.com", "MCP_QUEUE_KEY": "key"})
    assert ("https://queue.example.com", "key") == (client.url, client.key.get_secret_value() if client.key else None)


def test_a_wrong_address_of_the_gateway_is_refused() -> None:
    """The line names the variable."""
    with pytest.raises(ConfigError, match=r"^MCP_QUEUE_URL: 'gateway' is no http or https URL$"):
        read_client({"MCP_QUEUE_URL": "gateway"})
