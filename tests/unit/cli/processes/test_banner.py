"""The banner of ``dev``."""

import shlex

import pytest

from mcp_queue.cli.processes.banner import banner, reachable
from mcp_queue.config import load_settings
from tests.support.config import ConfigFile, listing


def test_the_banner_has_a_command_to_try() -> None:
    """The line can be pasted into a shell as it is."""
    text = banner(load_settings({"CALLBACK_ALLOWED_NETWORKS": "127.0.0.0/8"}))

    assert "http://127.0.0.1:8080/docs" in text
    assert "127.0.0.0/8" in text
    (line,) = [line for line in text.splitlines() if "curl" in line]
    assert [
        "curl",
        "http://127.0.0.1:8080/v1/queues/tasks/tasks",
        "-H",
        "Content-Type: application/json",
        "-d",
        '{"type": "echo", "payload": {"hello": "world"}}',
    ] == shlex.split(line)[2:]


def test_the_command_names_a_queue_that_there_is(config_file: ConfigFile) -> None:
    """It goes to a queue that takes tasks: no dead-letter queue and no level."""
    text = banner(
        config_file.load(
            listing("name: dlq", "name: l0", "name: work, type: priority, levels: {0: l0}"),
            {"GATEWAY_HOST": "::", "GATEWAY_PORT": "9000"},
        )
    )

    assert "http://[::1]:9000/v1/queues/work/tasks" in text


@pytest.mark.parametrize(("host", "expected"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.1.2.3", "10.1.2.3")])
def test_an_address_to_listen_on_is_not_one_to_call(host: str, expected: str) -> None:
    """Every address means this machine's own to whoever is on it."""
    assert expected == reachable(host)
