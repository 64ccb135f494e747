"""What happens when the database is gone, comes back, is slow, or is full."""

import asyncio
import logging
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest
from sqlalchemy import text

from bench.postgres import PostgresServer
from mcp_queue.adapters.ledger.engine import database, sqlite, write_behind
from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.adapters.ledger.tasks import executions
from mcp_queue.domain.enqueueing.claims import Claimed, ClaimKind, ClaimRequest, Replay
from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.task import TaskStatus
from mcp_queue.domain.task_states import TaskFilter
from mcp_queue.ports import Admission
from tests.support.clock import MINUTE, SECOND, START
from tests.support.ledger import LedgerHarness, ledger_harness
from tests.support.tasks import a_task, an_end, an_execution

CLAIM = ClaimRequest(kind=ClaimKind.IDEMPOTENCY, queue="tasks", key="k", task_id="t", request_hash="h")
SHORT = timedelta(seconds=0.2)


async def test_database_that_is_gone_at_start_is_a_ledger_that_is_away(server: PostgresServer, url: str) -> None:
    """The ledger opens all the same, says that it is away and why, and is there once the database is."""
    server.stop()
    async with ledger_harness(url) as harness:
        assert not harness.ledger.healthy
        assert harness.ledger.away is not None
        server.start()
        await _comes_back(harness)


async def test_only_what_needs_the_ledger_fails_while_it_is_away(server: PostgresServer, url: str) -> None:
    """Observations are kept; questions, claims and schedules are refused."""
    async with ledger_harness(url) as harness:
        server.stop()
        task = a_task()
        await harness.ledger.tasks.record_enqueued([task])
        await harness.ledger.executions.record(an_end(task))
        assert 2 == harness.metrics.backlog
        for call in (
            harness.ledger.tasks.get(task.id),
            harness.ledger.tasks.cancel(task.id),
            harness.ledger.executions.start([an_execution(task)]),
            harness.ledger.claims.claim([CLAIM]),
            harness.ledger.held.hold([a_task(scheduled_for=START + MINUTE)]),
            harness.ledger.held.due(1, MINUTE),
            harness.ledger.ping(),
        ):
            with pytest.raises(LedgerUnavailableError):
                await call
        assert [] != harness.metrics.failed
        server.start()
        await _comes_back(harness)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_what_was_kept_is_written_when_the_database_is_back(
    server: PostgresServer, url: str, how: signal.Signals
) -> None:
    """A database that goes in mid-run and comes back has every task, attempt, result and answer."""
    async with ledger_harness(url) as harness:
        before, during = [a_task() for _ in range(20)], [a_task() for _ in range(20)]
        await harness.ledger.tasks.record_enqueued(before)
        [claimed] = await harness.ledger.claims.claim([CLAIM])
        assert isinstance(claimed, Claimed)
        server.stop(how)
        await asyncio.gather(*(harness.ledger.tasks.record_enqueued([task]) for task in during))
        await asyncio.gather(*(harness.ledger.executions.record(an_end(task, result=1)) for task in before + during))
        await harness.ledger.claims.confirm([(claimed, b"first")])
        assert 61 == harness.metrics.backlog
        server.start()
        await _comes_back(harness)
        assert (0, 0) == (harness.metrics.backlog, harness.metrics.dropped)
        assert {task.id for task in before + during} == await _completed(harness.ledger)
        [replayed] = await harness.ledger.claims.claim([CLAIM])
        assert Replay("t", b"first") == replayed


async def test_connections_that_the_server_ended_cost_no_call(server: PostgresServer, url: str) -> None:
    """A failover or an idle limit ends connections: what comes next is done on new ones."""
    async with ledger_harness(url) as harness:
        task = a_task()
        await asyncio.gather(*(harness.ledger.tasks.get(task.id) for _ in range(5)))
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        await connection.close()
        await harness.ledger.tasks.record_enqueued([task])
        assert await harness.ledger.tasks.get(task.id) is not None
        assert (True, [], 0) == (harness.ledger.healthy, harness.metrics.failed, harness.metrics.backlog)


async def test_database_that_hangs_holds_nobody_up_for_long(
    server: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that only observes goes on after a moment, one that needs an answer fails, and nothing is lost."""
    monkeypatch.setattr(database, "TRANSACTION_LIMIT", SHORT)
    monkeypatch.setattr(write_behind, "MAX_WAIT", SHORT / 4)
    monkeypatch.setattr(executions, "START_LIMIT", SHORT / 4)
    async with ledger_harness(url) as harness:
        server.freeze()
        try:
            task = a_task()
            await harness.ledger.tasks.record_enqueued([task])
            with pytest.raises(LedgerUnavailableError):
                await harness.ledger.executions.start([an_execution(task)])
            async with asyncio.timeout(20):
                await harness.ledger._database.wait_until_away()
        finally:
            server.thaw()
        await _comes_back(harness)
        view = await harness.ledger.tasks.get(task.id)
        assert view is not None
        assert TaskStatus.QUEUED == view.status


async def test_of_too_much_to_keep_the_oldest_is_dropped_and_counted(
    server: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, however long the database is away."""
    monkeypatch.setattr(write_behind, "MAX_BUFFERED_ROWS", 3)
    async with ledger_harness(url) as harness:
        server.stop()
        tasks = [a_task() for _ in range(5)]
        for task in tasks:
            await harness.ledger.tasks.record_enqueued([task])
        assert (3, 2) == (harness.metrics.backlog, harness.metrics.dropped)
        server.start()
        await _comes_back(harness)
        assert [None, None] == [await harness.ledger.tasks.get(task.id) for task in tasks[:2]]
        assert await harness.ledger.tasks.get(tasks[2].id) is not None


async def test_large_payloads_count_by_their_size(
    server: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is one of memory, not only of rows."""
    monkeypatch.setattr(write_behind, "MAX_BUFFERED_BYTES", 100_000)
    async with ledger_harness(url) as harness:
        server.stop()
        for _ in range(3):
            await harness.ledger.tasks.record_enqueued([a_task(payload="x" * 60_000)])
        await harness.ledger.executions.record(an_end(a_task(payload="x" * 60_000)))
        assert (1, 3) == (harness.metrics.backlog, harness.metrics.dropped)


async def test_what_is_kept_at_the_end_is_counted_as_dropped(
    server: PostgresServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that ends while the database is away says what is lost with it."""
    async with ledger_harness(url) as harness:
        server.stop()
        await harness.ledger.tasks.record_enqueued([a_task()])
    assert 1 == harness.metrics.dropped
    assert "1 observations are lost" in caplog.text


async def test_what_is_kept_is_written_at_the_end_where_possible(server: PostgresServer, url: str) -> None:
    """A process that ends after the database came back leaves nothing behind."""
    task = a_task()
    async with ledger_harness(url) as harness:
        server.stop()
        await harness.ledger.tasks.record_enqueued([task])
        server.start()
        await harness.ledger._database.probe()
    async with ledger_harness(url) as harness:
        assert await harness.ledger.tasks.get(task.id) is not None


async def test_full_disk_is_a_clear_error_and_loses_no_accepted_task(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What must be durable is refused, what was observed is kept, the log says why, and space brings it all back."""
    async with ledger_harness(_sqlite(tmp_path)) as harness:
        await _limit_pages(harness.ledger, 1)
        task = a_task(payload="x" * 200_000)
        with caplog.at_level(logging.ERROR):
            with pytest.raises(LedgerUnavailableError):
                await harness.ledger.held.hold([a_task(scheduled_for=START + MINUTE, payload="x" * 200_000)])
            await harness.ledger.tasks.record_enqueued([task])
        assert "database or disk is full" in caplog.text
        assert 1 == harness.metrics.backlog
        await _limit_pages(harness.ledger, 100_000)
        await _comes_back(harness)
        assert await harness.ledger.tasks.get(task.id) is not None


async def test_file_that_another_program_locks_is_waited_for_and_then_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is held for too long costs questions an answer and observations some time."""
    monkeypatch.setattr(sqlite, "LOCK_WAIT", timedelta(seconds=0.01))
    async with ledger_harness(_sqlite(tmp_path)) as harness:
        task = a_task()
        with _locked(tmp_path / "ledger.db"):
            await harness.ledger.tasks.record_enqueued([task])
            with pytest.raises(LedgerUnavailableError):
                await harness.ledger.queues.pause("tasks")
        assert 1 == harness.metrics.backlog
        await _comes_back(harness)
        assert await harness.ledger.tasks.get(task.id) is not None


async def test_question_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite does not go on with what nobody waits for any more."""
    monkeypatch.setattr(sqlite, "TRANSACTION_LIMIT", SHORT)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    async with ledger_harness(_sqlite(tmp_path)) as harness:
        with pytest.raises(LedgerUnavailableError):
            await harness.ledger._database.read(lambda connection: connection.execute(text(endless)))
        assert harness.ledger.healthy
        await harness.ledger.ping()


async def test_directory_that_does_not_exist_is_a_ledger_that_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is in the log, and the ledger is there once the directory is."""
    async with ledger_harness(_sqlite(tmp_path / "later")) as harness:
        assert not harness.ledger.healthy
        assert "unable to open database file" in caplog.text
        (tmp_path / "later").mkdir()
        await _comes_back(harness)


async def test_rows_that_the_database_will_never_take_do_not_hold_up_the_others(
    server: PostgresServer, url: str
) -> None:
    """One row in a group of many is too large for an index: the others are written, it is counted."""
    async with ledger_harness(url) as harness:
        tasks = [a_task() for _ in range(20)]
        noise = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(9000))
        tasks[7] = a_task(type=noise)
        await harness.ledger.tasks.record_enqueued(tasks)
        admissions = await harness.ledger.executions.start([an_execution(task) for task in tasks])
        assert [Admission(1)] * 20 == list(admissions)
        assert (1, 0) == (harness.metrics.dropped, harness.metrics.backlog)
        assert await harness.ledger.tasks.get(tasks[6].id) is not None
        assert await harness.ledger.tasks.get(tasks[7].id) is None


async def test_only_what_must_survive_a_power_cut_waits_for_the_disk(tmp_path: Path) -> None:
    """A claim does before its request is answered; what is merely observed does not."""
    async with ledger_harness(_sqlite(tmp_path)) as harness:
        await harness.ledger.tasks.record_enqueued([a_task()])
        assert 1 == await _synchronous(harness.ledger)
        await harness.ledger.claims.claim([CLAIM])
        assert 2 == await _synchronous(harness.ledger)
        await harness.ledger.executions.record(an_end(a_task()))
        assert 1 == await _synchronous(harness.ledger)
        await harness.ledger.held.hold([a_task(scheduled_for=START + MINUTE)])
        assert 2 == await _synchronous(harness.ledger)


def _sqlite(directory: Path) -> str:
    return f"sqlite+aiosqlite:///{directory / 'ledger.db'}"


async def _synchronous(ledger: Ledger) -> int:
    """Return SQLite's setting of the connection that writes: 1 is NORMAL, 2 is FULL."""
    inner = ledger._database
    assert isinstance(inner, sqlite.SqliteDatabase)
    async with inner._writer.connect() as connection:
        return int((await connection.execute(text("PRAGMA synchronous"))).scalar_one())


async def _limit_pages(ledger: Ledger, pages: int) -> None:
    """Let the file grow no further than ``pages``, which SQLite reports as it does a full disk."""
    inner = ledger._database
    assert isinstance(inner, sqlite.SqliteDatabase)
    async with inner._writer.connect() as connection:
        await connection.execute(text(f"PRAGMA max_page_count = {pages}"))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def _comes_back(harness: LedgerHarness) -> None:
    """Move the clock from one try to the next until the ledger answers and everything is written."""
    async with asyncio.timeout(20):
        while not harness.ledger.healthy or harness.metrics.backlog:
            await harness.clock.advance(SECOND)


async def _completed(ledger: Ledger) -> set[str]:
    page = await ledger.tasks.list_tasks(TaskFilter(status=TaskStatus.COMPLETED), limit=200)
    return {view.task.id for view in page.items}
