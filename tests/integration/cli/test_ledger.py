"""``ledger migrate`` on real databases."""

from pathlib import Path

import pytest

from mcp_queue.adapters.ledger.ledger import open_ledger
from mcp_queue.testing import FakeClock
from tests.support.clock import START
from tests.support.ledger import shared_postgres
from tests.support.metrics import LedgerCounts
from tests.support.processes.cli import run_cli


async def test_migrated_database_can_be_used(request: pytest.FixtureRequest) -> None:
    """Before, it cannot, and says what to do; a second time changes nothing."""
    server = shared_postgres(request.config)
    url = server.url(await server.create_database())
    for _ in range(2):
        done = await run_cli("ledger", "migrate", LEDGER_URL=url)
        assert (0, "The tables of the ledger are up to date.\n") == (done.exit_code, done.out)
    async with open_ledger(url, clock=FakeClock(START), metrics=LedgerCounts()) as ledger:
        await ledger.ping()


async def test_default_ledger_can_be_migrated_too(tmp_path: Path) -> None:
    """Its directory is made where there is none."""
    done = await run_cli("ledger", "migrate", QUEUE_DATA_DIR=str(tmp_path / "var"))
    assert 0 == done.exit_code
    assert (tmp_path / "var" / "ledger.db").exists()


async def test_database_that_does_not_answer_is_one_line(unused_tcp_port: int) -> None:
    """No traceback, no statement, no credentials."""
    done = await run_cli(
        "ledger", "migrate", LEDGER_URL=f"postgresql+asyncpg://me:secret@127.0.0.1:{unused_tcp_port}/x"
    )
    assert (1, 1, False) == (done.exit_code, len(done.err.splitlines()), "secret" in done.err)


async def test_without_a_ledger_there_is_nothing_to_migrate() -> None:
    """The message names the setting."""
    done = await run_cli("ledger", "migrate", LEDGER_URL="none")
    assert (2, "LEDGER_URL is none: there is no ledger to migrate\n") == (done.exit_code, done.err)
