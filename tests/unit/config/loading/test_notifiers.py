"""Who is told of dead letters."""

from pathlib import Path

import pytest

from mcp_queue.config import load_settings
from mcp_queue.config.settings import NotifierSettings
from tests.support.config import ConfigFile


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    """Return a file to write into."""
    return ConfigFile(tmp_path / "queue.yaml")


def test_log_is_told_where_nobody_is_named() -> None:
    """Nothing fails unheard."""
    assert (NotifierSettings(name="log", type="log"),) == load_settings({}).notifiers


def test_notifiers_are_those_of_the_file(file: ConfigFile) -> None:
    """Each is known by its name, or by its type without one; secrets may come from the environment."""
    settings = file.load(
        """
        queue:
          notifiers:
            - {type: webhook, name: ops, url: "http://10.0.0.1/hook", headers: {Authorization: "Bearer ${TOKEN}"}}
            - {type: slack, url: "${SLACK_URL}"}
        """,
        {"TOKEN": "t", "SLACK_URL": "https://hooks.slack.com/services/x"},
    )
    ops = NotifierSettings(
        name="ops", type="webhook", url="http://10.0.0.1/hook", headers={"Authorization": "Bearer t"}
    )
    slack = NotifierSettings(name="slack", type="slack", url="https://hooks.slack.com/services/x")
    assert (ops, slack) == settings.notifiers
    assert "hooks.slack.com" not in repr(settings.notifiers)


def test_nobody_may_be_told(file: ConfigFile) -> None:
    """An empty list is an answer."""
    assert () == file.load("queue: {notifiers: []}").notifiers


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ("{type: slack}", "queue.notifiers[slack].url: is missing"),
        ("{type: log, url: 'http://a/'}", "queue.notifiers[log].url: a log has none"),
        ("{type: slack, url: 'http://a/', headers: {A: b}}", "queue.notifiers[slack].headers: only a webhook has them"),
        ("{type: log}, {type: log}", "queue.notifiers[log].name: 2 notifiers have this name; give each its own"),
    ],
)
def test_contradictions_are_named(file: ConfigFile, entries: str, problem: str) -> None:
    """The start is refused, and the line names the key."""
    assert [problem] == file.problems(f"queue: {{notifiers: [{entries}]}}")
