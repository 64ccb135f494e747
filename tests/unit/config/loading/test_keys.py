"""The API keys in the configuration."""

from pathlib import Path

import pytest

from mcp_queue.config import ConfigError, load_keys, load_settings
from mcp_queue.domain.operators.keys import ApiKey, KeyScope
from mcp_queue.domain.operators.rates import RateLimit
from tests.support.config import ConfigFile, problems_with

HASH = "sha256:" + "ab" * 32
OTHER_HASH = "sha256:" + "cd" * 32
VARIABLE = "GATEWAY_API_KEYS_FILE"


class KeyFile:
    """A file of keys of one test."""

    def __init__(self, path: Path) -> None:
        """Stand at ``path``."""
        self.path = path

    def load(self, text: str, **environ: str) -> tuple[ApiKey, ...] | None:
        """Return the keys of a file with ``text``."""
        self.path.write_text(text)
        return load_keys(load_settings({VARIABLE: str(self.path), **environ}))

    def problems(self, text: str) -> tuple[str, ...]:
        """Return the lines that refuse a file with ``text``."""
        with pytest.raises(ConfigError) as refusal:
            self.load(text)
        return refusal.value.problems


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    """Return a file of keys."""
    return KeyFile(tmp_path / "keys.yaml")


def test_key_is_read_with_everything_it_says(key_file: KeyFile) -> None:
    """Scopes, queues, expiry and rate."""
    (key,) = (
        key_file.load(
            f"- {{name: ci, hash: '{HASH}', scopes: [enqueue, read], queues: [tasks], "
            "expires_at: 2030-01-01T00:00:00Z, max_per_second: 2.5}"
        )
        or ()
    )

    assert ("ci", frozenset({"tasks"})) == (key.caller.name, key.caller.queues)
    assert frozenset({KeyScope.ENQUEUE, KeyScope.READ}) == key.caller.scopes
    assert bytes.fromhex("ab" * 32) == key.digest
    assert "2030-01-01T00:00:00+00:00" == (key.expires_at and key.expires_at.isoformat())
    assert RateLimit(2.5, 3) == key.rate_limit


def test_key_without_more_reaches_every_queue_for_ever(key_file: KeyFile) -> None:
    """Queues, expiry and rate are limits: without them there is none."""
    (key,) = key_file.load(f"- {{name: ci, hash: '{HASH}', scopes: read}}") or ()

    assert (None, None, None) == (key.caller.queues, key.expires_at, key.rate_limit)


def test_keys_of_both_places_count(key_file: KeyFile, config_file: ConfigFile) -> None:
    """Those of the configuration file and those of the file of keys."""
    config_file.path.write_text(f"gateway: {{keys: [{{name: one, hash: '{HASH}', scopes: read}}]}}")

    keys = key_file.load(f"- {{name: two, hash: '{OTHER_HASH}', scopes: read}}", QUEUE_CONFIG=str(config_file.path))

    assert ["one", "two"] == [key.caller.name for key in keys or ()]


def test_empty_list_lets_nobody_in(key_file: KeyFile) -> None:
    """Whoever takes the last key away does not mean to let everybody in."""
    assert () == key_file.load("[]")


def test_no_list_lets_everybody_in_on_this_machine() -> None:
    """A new user's first command works."""
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert load_keys(load_settings({"GATEWAY_HOST": host})) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "gateway.example.com", "::ffff:127.0.0.1%eth0"])
def test_no_list_refuses_an_address_that_others_reach(host: str) -> None:
    """The start fails and says both ways on."""
    with pytest.raises(ConfigError) as refusal:
        load_keys(load_settings({"GATEWAY_HOST": host}))

    (problem,) = refusal.value.problems
    assert problem.startswith(f"GATEWAY_HOST: on {host} ")
    assert all(way in problem for way in (VARIABLE, "GATEWAY_AUTH=none"))


def test_auth_none_asks_nobody(key_file: KeyFile) -> None:
    """On any address, whether or not there are keys."""
    assert load_keys(load_settings({"GATEWAY_HOST": "0.0.0.0", "GATEWAY_AUTH": "none"})) is None
    assert key_file.load("broken", GATEWAY_AUTH="none") is None


def test_guarded_metrics_need_keys() -> None:
    """An option that would do nothing is a mistake."""
    with pytest.raises(ConfigError, match="GATEWAY_METRICS_AUTH: there is no API key"):
        load_keys(load_settings({"GATEWAY_METRICS_AUTH": "true"}))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no list of keys"),
        ("{name: ci}", "holds no list of keys"),
        ("- {name: ci", "line 1"),
        ("- ci", "keys[0]: expected a mapping"),
        (f"- {{name: ci, hash: '{HASH}'}}", "keys[ci].scopes: is missing"),
        (f"- {{name: ci, hash: '{HASH}', scopes: []}}", "keys[ci].scopes: expected at least one"),
        (f"- {{name: ci, hash: '{HASH}', scopes: [write]}}", "keys[ci].scopes[0]: expected 'enqueue', 'read',"),
        (f"- {{name: ci, hash: '{HASH}', scopes: read, queue: tasks}}", "keys[ci].queue: there is no such key"),
        (f"- {{name: ci, hash: '{HASH}', scopes: read, queues: [taks]}}", "keys[ci].queues: 'taks' is no queue"),
        (f"- {{name: ci, hash: '{HASH}', scopes: read, expires_at: 2030-01-01}}", "keys[ci].expires_at: Input should"),
        (f"- {{name: ci, hash: '{HASH}', scopes: read, burst: 5}}", "keys[ci].burst: max_per_second is missing"),
        (f"- {{name: 'a b', hash: '{HASH}', scopes: read}}", "keys[a b].name: expected a name"),
    ],
)  # fmt: skip
def test_mistake_is_named_with_its_key(key_file: KeyFile, text: str, problem: str) -> None:
    """One line says where it is and what is wrong."""
    problems = key_file.problems(text)

    assert any(line.startswith(f"{VARIABLE}: ") and problem in line for line in problems), problems


def test_key_that_stands_twice_is_a_mistake(key_file: KeyFile) -> None:
    """Which of the two would count nobody could tell."""
    lines = [f"- {{name: {name}, hash: '{HASH}', scopes: read}}" for name in ("one", "two")]

    assert ("keys[one, two].hash: 2 entries are for the same key",) == key_file.problems("\n".join(lines))


def test_secret_in_place_of_its_hash_is_not_shown(key_file: KeyFile) -> None:
    """Who mixes the two lines up does not find the key in the log."""
    (problem,) = key_file.problems("- {name: ci, hash: mcpq_c2VjcmV0, scopes: read}")

    assert "c2VjcmV0" not in problem
    assert "sha256:" in problem


def test_missing_file_is_a_mistake(tmp_path: Path) -> None:
    """A misspelt path does not open the gateway."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_keys(load_settings({VARIABLE: str(tmp_path / "none.yaml")}))


def test_metrics_do_not_share_a_port_with_the_gateway() -> None:
    """Two servers cannot listen on one."""
    assert ["GATEWAY_METRICS_PORT: is the port of the gateway itself"] == problems_with(
        {"GATEWAY_PORT": "9000", "GATEWAY_METRICS_PORT": "9000"}
    )
