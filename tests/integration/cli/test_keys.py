"""``keys create`` as users see it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from mcp_queue.config import load_keys, load_settings
from mcp_queue.domain.operators.keys import KeyRing, KeyScope
from tests.support.processes.cli import run_cli


async def test_printed_line_lets_the_printed_key_in(tmp_path: Path) -> None:
    """The key and its line stand alone on the standard output, so that scripts can tell them apart."""
    made = await run_cli(
        "keys",
        "create",
        "--name",
        "ci",
        "--scope",
        "enqueue",
        "--scope",
        "read",
        "--queue",
        "tasks",
        "--expires",
        "90d",
    )

    assert 0 == made.exit_code
    secret, line = made.out.splitlines()
    (tmp_path / "keys.yaml").write_text(f"{line}\n")
    keys = load_keys(load_settings({"GATEWAY_API_KEYS_FILE": str(tmp_path / "keys.yaml")})) or ()
    found = KeyRing(keys).find(secret.encode())
    assert found is not None
    caller = found.caller
    assert ("ci", frozenset({"tasks"})) == (caller.name, caller.queues)
    assert frozenset({KeyScope.ENQUEUE, KeyScope.READ}) == caller.scopes
    assert found.expires_at is not None
    assert timedelta(days=89) < found.expires_at - datetime.now(UTC) <= timedelta(days=90)


async def test_key_is_random_and_its_line_does_not_hold_it() -> None:
    """256 bits behind a prefix that scanners for secrets find."""
    secrets = set()
    for _ in range(2):
        secret, line = (await run_cli("keys", "create", "--name", "ci", "--scope", "admin")).out.splitlines()
        assert secret.startswith("mcpq_")
        assert 43 == len(secret.removeprefix("mcpq_"))
        assert secret not in line
        assert {"name", "hash", "scopes"} == yaml.safe_load(line)[0].keys()
        secrets.add(secret)
    assert 2 == len(secrets)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scope", "read"],
        ["--name", "ci"],
        ["--name", "ci", "--scope", "write"],
        ["--name", "a b", "--scope", "read"],
        ["--name", "ci", "--scope", "read", "--expires", "soon"],
        ["--name", "ci", "--scope", "read", "--expires", "9999999d"],
    ],
)
async def test_mistake_makes_no_key(arguments: list[str]) -> None:
    """The exit code is 2, and nothing is on the standard output."""
    done = await run_cli("keys", "create", *arguments)

    assert (2, "") == (done.exit_code, done.out)
    assert "Traceback" not in done.err
