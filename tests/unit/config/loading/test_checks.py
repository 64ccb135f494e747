"""Contradictions between settings, and what follows from several of them."""

from datetime import timedelta

import pytest

from mcp_queue.config import load_settings
from tests.support.config import ConfigFile, by_name, listing

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


@pytest.mark.parametrize(("lease", "expected"), [(300, 30), (37.5, 30), (30, 24), (5, 4)])
def test_callbacks_end_before_the_lease_does(config_file: ConfigFile, lease: float, expected: float) -> None:
    """Without a limit of its own a callback gets 30 s, or four fifths of a shorter lease."""
    settings = config_file.load(listing(f"name: tasks, visibility_timeout: {lease}", "name: dlq"))

    assert timedelta(seconds=expected) == settings.callback_timeout(by_name(settings)["tasks"])


def test_an_explicit_callback_timeout_holds_for_every_queue() -> None:
    """What the operator says is taken as it is."""
    settings = load_settings({"CALLBACK_TIMEOUT": "299s"})

    assert {timedelta(seconds=299)} == {settings.callback_timeout(spec) for spec in settings.queues}


def test_the_shortest_lease_of_a_work_queue_limits_callbacks(config_file: ConfigFile) -> None:
    """Dead-letter queues make no callbacks, so that their leases do not count."""
    entries = ("name: slow", "name: fast, visibility_timeout: 20", "name: dlq, visibility_timeout: 1")

    assert ["CALLBACK_TIMEOUT: 20s is not shorter than the visibility timeout of the queue 'fast', 20s"] == (
        config_file.queue_problems(*entries, environ={"CALLBACK_TIMEOUT": "20"})
    )
    assert config_file.queues(*entries, environ={"CALLBACK_TIMEOUT": "19"})


def test_routes_take_what_they_are_given(config_file: ConfigFile) -> None:
    """A route has a name, a time limit, headers and secrets of its own."""
    settings = config_file.load(
        f"""
        queue: {{routes: [{{type: mail, callback_url: "https://mail.example.com/tasks", name: mailer, timeout: 2m,
                            headers: {{Authorization: "Bearer ${{TOKEN}}"}}, secrets: ["{SECRET}"]}},
                          {{type: quiet, callback_url: "https://example.com/", secrets: []}}]}}
        """,
        {"TOKEN": "hunter2"},
    )

    mail, quiet = settings.routes
    assert ("mailer", timedelta(minutes=2)) == (mail.name, mail.timeout)
    assert ({"Authorization": "Bearer hunter2"}, (SECRET,)) == (mail.headers, mail.secrets)
    assert () == quiet.secrets
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("callback_url: 'http://10.0.0.1/'", "callback_url: the URL leads to a private address"),
        ("callback_url: 'http://user:secret@example.com/'", "callback_url: the URL holds credentials"),
        ("callback_url: nowhere", "callback_url: 'nowhere' is no http or https URL"),
        (
            "callback_url: 'http://a/', timeout: 5m",
            "timeout: 5m is not shorter than the visibility timeout of the queue",
        ),
        (
            "callback_url: 'http://a/', headers: {Host: b}",
            "headers: Host is a header that callbacks carry by themselves",
        ),
        ("callback_url: 'http://a/', headers: {X-Task-Id: b}", "headers: X-Task-Id is a header that callbacks carry"),
        ("callback_url: 'http://a/', headers: {'X Y': b}", "headers: 'X Y' is no header name"),
        ("callback_url: 'http://a/', headers: {X: \"b\\nc\"}", "headers: the value of X is not printable ASCII text"),
        ("callback_url: 'http://a/', headers: [X]", "headers: expected a mapping"),
        ("callback_url: 'http://a/', secrets: [whsec_x]", "secrets"),
    ],
)
def test_a_route_that_cannot_work_is_refused(config_file: ConfigFile, route: str, expected: str) -> None:
    """Routes are held against the rules for callbacks before any task is."""
    (problem,) = config_file.problems(f"queue: {{routes: [{{type: mail, {route}}}]}}")

    assert problem.startswith(f"queue.routes[mail].{expected}")


def test_a_route_may_lead_where_callbacks_may(config_file: ConfigFile) -> None:
    """An allowed network is allowed for routes too."""
    text = "queue: {routes: [{type: mail, callback_url: 'http://10.0.0.1/'}]}"

    assert config_file.load(text, {"CALLBACK_ALLOWED_NETWORKS": "10.0.0.0/8"}).routes


def test_a_task_type_has_one_route(config_file: ConfigFile) -> None:
    """Nobody could say which of two would be taken."""
    text = "queue: {routes: [{type: a, callback_url: 'http://a/'}, {type: a, callback_url: 'http://b/'}]}"

    assert ["queue.routes[a].type: 2 routes have this type"] == config_file.problems(text)


def test_destinations_have_limits(config_file: ConfigFile) -> None:
    """By a route's own name, by a URL however it is written, or by the host."""
    settings = config_file.load(
        """
        queue:
          routes: [{type: mail, callback_url: "https://mail.example.com/tasks", name: mailer}]
          destinations:
            - {name: mailer, max_concurrent: 3}
            - {name: "HTTPS://api.example.com/v1", max_per_second: 0.5}
            - {host: "*.Example.com", max_concurrent: 10, max_per_second: 20}
        """
    )

    limits = [(rule.limits.max_concurrent, rule.limits.max_per_second) for rule in settings.destinations]
    assert [(3, None), (None, 0.5), (10, 20)] == limits
    assert ["mailer", "https://api.example.com:443", None] == [rule.name for rule in settings.destinations]
    assert settings.destinations[2].host == "*.example.com"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("name: mailer, max_concurrent: 1", "[mailer].name: 'mailer' is no URL, and no route has this name"),
        ("name: 'http://[', max_concurrent: 1", "[http://[].name: 'http://[' is no http or https URL"),
        ("name: 'http://a', host: a, max_concurrent: 1", "[http://a:80]: expected a name or a host, one of the two"),
        ("host: a b, max_concurrent: 1", "[0].host: expected a host such as example.com or *.example.com, not 'a b'"),
        ("host: a", "[a]: sets no limit; known are max_concurrent and max_per_second"),
        ("host: a, max_concurrent: 0", "[0].max_concurrent: expected at least 1, not 0"),
        (
            "name: 'http://a/1', max_concurrent: 1}, {name: 'http://a/2', max_concurrent: 1",
            "[http://a:80]: 2 entries are for this destination",
        ),
    ],
)
def test_limits_that_would_never_hold_are_refused(config_file: ConfigFile, entry: str, expected: str) -> None:
    """A destination that is misspelt would be called without limit."""
    assert [f"queue.destinations{expected}"] == config_file.problems(f"queue: {{destinations: [{{{entry}}}]}}")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("none", None),
        ("postgres://u:p@db/queue", "postgresql+asyncpg://u:p@db/queue"),
        ("postgresql://db/queue", "postgresql+asyncpg://db/queue"),
        ("postgresql+asyncpg://db/queue", "postgresql+asyncpg://db/queue"),
        ("sqlite:////data/ledger.db", "sqlite+aiosqlite:////data/ledger.db"),
    ],
)
def test_the_ledger_gets_an_async_driver(written: str, expected: str | None) -> None:
    """Addresses as platforms hand them out are understood."""
    assert expected == load_settings({"LEDGER_URL": written}).ledger.url


def test_the_default_ledger_lies_beside_the_queue() -> None:
    """One directory holds everything that the embedded set-up keeps."""
    assert "sqlite+aiosqlite:////data/ledger.db" == load_settings({"QUEUE_DATA_DIR": "/data"}).ledger.url


def test_an_empty_data_directory_is_refused(config_file: ConfigFile) -> None:
    """It would scatter files over wherever the process was started."""
    assert ["queue.data_dir: is empty"] == config_file.problems("queue: {data_dir: ''}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/x",
        "postgresql://u:p:1@db:5432/x",
        "postgresql://u:a/b?c[@[::1]:1/x",
        "postgresql:///x?host=/run:1",
    ],
)
def test_a_usable_address_of_the_ledger_is_taken(url: str) -> None:
    """With and without a port, and whatever the password holds."""
    assert load_settings({"LEDGER_URL": url}).ledger.url is not None
