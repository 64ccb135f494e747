"""What the ledger costs, on SQLite and on PostgreSQL.

    python -m bench.ledger              # the enqueue path: rows a second, and processor time of this process per task
    python -m bench.ledger --million    # a million tasks: how long each filter of a list takes

``cpu`` is processor time of this process per task, all threads together, and ``loop`` that of the event loop's thread
alone, which is what a gateway has the least of; what the calling of nothing costs is taken off both.
PostgreSQL's own process is not in it. Files lie in a temporary directory of the disk that ``--directory`` names.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import uvloop
from sqlalchemy import text

from bench.postgres import migrated_postgres, without_missing
from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.ledger.engine.postgres import PostgresDatabase
from mcp_queue.adapters.ledger.ledger import Ledger, open_ledger
from mcp_queue.adapters.ledger.tasks.rows import ENTER, task_row
from mcp_queue.domain.enqueueing.payloads import common_payloads
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.domain.task_states import TaskFilter, TaskState
from mcp_queue.ports import AttemptRecord, AttemptStart
from mcp_queue.telemetry.metrics import PrometheusMetrics

START = datetime(2026, 1, 1, tzinfo=UTC)
RARE = 7


@dataclass(frozen=True)
class Cost:
    """Wall time and processor time of so many tasks, in seconds; ``loop`` is the part of the event loop's thread."""

    tasks: int
    wall: float
    cpu: float
    loop: float

    def line(self, label: str, baseline: "Cost") -> str:
        """Return a row of the table."""
        cpu = (self.cpu / self.tasks - baseline.cpu / baseline.tasks) * 1e6
        loop = (self.loop / self.tasks - baseline.loop / baseline.tasks) * 1e6
        return f"{label:<56} {self.tasks / self.wall:>9,.0f} {cpu:>9.1f} {loop:>9.1f}"


async def measured(tasks: int, work: Awaitable[object]) -> Cost:
    """Run ``work``, which handles ``tasks`` tasks."""
    wall, cpu, loop = time.perf_counter(), time.process_time(), time.thread_time()
    await work
    return Cost(tasks, time.perf_counter() - wall, time.process_time() - cpu, time.thread_time() - loop)


def a_task(number: int) -> Task:
    """Return a task of about 400 bytes; one in 50,000 is of a rare queue, type and group."""
    rare = number % 50_000 == RARE
    return Task(
        id=f"0198c0de-0000-7000-8000-{number:012}",
        type="rare" if rare else f"type-{number % 5}",
        queue="rare" if rare else f"queue-{number % 3}",
        group="rare" if rare else None,
        created_at=START + timedelta(milliseconds=number),
        payload={"text": "x" * 200},
        metadata={"tenant": str(number % 100)},
        visibility_timeout=timedelta(seconds=300),
    )


async def closed_loop(record: Callable[[list[Task]], Awaitable[None]], tasks: list[Task], callers: int) -> None:
    """Let ``callers`` enqueue one task after the other, as fast as it goes."""
    waiting = iter(tasks)

    async def caller() -> None:
        for task in waiting:
            await record([task])

    await asyncio.gather(*(caller() for _ in range(callers)))


async def open_loop(record: Callable[[list[Task]], Awaitable[None]], tasks: list[Task], rate: int) -> None:
    """Enqueue ``rate`` tasks a second, evenly, however long each takes."""
    begin, calls = time.perf_counter(), set()
    for number, task in enumerate(tasks):
        ahead = begin + number / rate - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        calls.add(asyncio.ensure_future(record([task])))
    await asyncio.gather(*calls)


async def nothing(_: list[Task]) -> None:
    """Record nowhere: what the loop itself costs."""
    await asyncio.sleep(0)


async def enqueue_path(name: str, ledger: Ledger, count: int) -> None:
    """Measure single enqueues and batches."""
    number = 0

    def fresh(amount: int) -> list[Task]:
        nonlocal number
        number += amount
        return [a_task(n) for n in range(number - amount, number)]

    for callers in (1, 16, 128):
        few = count if callers > 1 else count // 10
        baseline = await measured(few, closed_loop(nothing, fresh(few), callers))
        cost = await measured(few, closed_loop(ledger.tasks.record_enqueued, fresh(few), callers))
        print(cost.line(f"{name}: {callers} callers, one task each", baseline))
    for rate in (1000, 2000, 4000):
        baseline = await measured(count, open_loop(nothing, fresh(count), rate))
        cost = await measured(count, open_loop(ledger.tasks.record_enqueued, fresh(count), rate))
        print(cost.line(f"{name}: {rate:,} tasks a second", baseline))
    tasks = fresh(count)
    batches = [tasks[start : start + 1000] for start in range(0, count, 1000)]
    cost = await measured(count, closed_batches(ledger, batches))
    print(cost.line(f"{name}: batches of 1,000", Cost(1, 0, 0, 0)))
    cost = await measured(count, run_all(ledger, tasks, 32))
    print(cost.line(f"{name}: start and end, 32 at a time", Cost(1, 0, 0, 0)))


async def run_all(ledger: Ledger, tasks: list[Task], slots: int) -> None:
    """Start and end every task as a consumer with so many slots does, each task by itself."""
    waiting = iter(tasks)

    async def slot() -> None:
        for task in waiting:
            await ledger.executions.start(
                [AttemptStart(task=task, attempt=1, counts_itself=True, started_at=task.created_at)]
            )
            await ledger.executions.record(
                AttemptRecord(
                    task=task,
                    queue=task.queue,
                    attempt=1,
                    status=TaskStatus.COMPLETED,
                    started_at=task.created_at,
                    duration=timedelta(seconds=1),
                    result={"ok": True},
                )
            )

    await asyncio.gather(*(slot() for _ in range(slots)))


async def closed_batches(ledger: Ledger, batches: list[list[Task]]) -> None:
    """Enqueue one batch after the other."""
    for batch in batches:
        await ledger.tasks.record_enqueued(batch)


async def fill(ledger: Ledger, count: int) -> None:
    """Put ``count`` tasks into the ledger: one in a hundred waits, one in a thousand is dead-lettered."""
    database = ledger._database  # noqa: SLF001  # the way there is measured elsewhere
    for start in range(0, count, 1000):
        rows = [task_row(a_task(number), state_of(number)) for number in range(start, start + 1000)]
        await database.write_alone(ENTER, rows, "fill")
    if isinstance(database, PostgresDatabase):
        # It does so by itself, some time after so many inserts. SQLite never does.
        await database.write(lambda connection: connection.execute(text("ANALYZE")), "fill")


def state_of(number: int) -> TaskState:
    """Return what a task has come to on a busy system after a while."""
    for modulo, status in ((10_000, TaskStatus.RUNNING), (1000, TaskStatus.DEAD_LETTERED), (100, TaskStatus.QUEUED)):
        if number % modulo == 0:
            return TaskState(status=status, attempt=1)
    return TaskState(status=TaskStatus.COMPLETED, attempt=1)


async def list_filters(name: str, ledger: Ledger, count: int) -> None:
    """Measure the first page and one in the middle of every filter."""
    middle = START + timedelta(milliseconds=count // 2)
    queries = {
        "no filter": TaskFilter(),
        "queue": TaskFilter(queue="queue-2"),
        "type": TaskFilter(type="type-3"),
        "status (most)": TaskFilter(status=TaskStatus.COMPLETED),
        "status (few)": TaskFilter(status=TaskStatus.DEAD_LETTERED),
        "status (none)": TaskFilter(status=TaskStatus.EXPIRED),
        "queue (few)": TaskFilter(queue="rare"),
        "type (few)": TaskFilter(type="rare"),
        "group (few)": TaskFilter(group="rare"),
        "created_after": TaskFilter(created_after=middle),
        "created_before": TaskFilter(created_before=middle),
        "queue + status (most)": TaskFilter(queue="queue-2", status=TaskStatus.COMPLETED),
        "queue + status (few)": TaskFilter(queue="queue-2", status=TaskStatus.RUNNING),
        "queue + status + type (most)": TaskFilter(queue="queue-2", status=TaskStatus.COMPLETED, type="type-0"),
        "queue + status + type (few)": TaskFilter(queue="queue-2", status=TaskStatus.QUEUED, type="type-0"),
        "queue (unknown)": TaskFilter(queue="nobody's"),
    }
    for label, query in queries.items():
        page = await ledger.tasks.list_tasks(query, limit=200)
        first = await slowest(partial(ledger.tasks.list_tasks, query, limit=200))
        second = await slowest(partial(ledger.tasks.list_tasks, query, limit=200, cursor=page.next_cursor))
        print(f"{name}: {label:<28} {first:>8.1f} ms, next page {second:>8.1f} ms")


async def slowest(call: Callable[[], Awaitable[object]]) -> float:
    """Return the slowest of five calls, in milliseconds."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        await call()
        times.append((time.perf_counter() - begin) * 1000)
    return max(times)


@asynccontextmanager
async def databases(directory: Path, names: list[str]) -> AsyncIterator[dict[str, str]]:
    """Return the URLs of empty databases, with the durability of production."""
    urls = {}
    if "sqlite" in names:
        urls["sqlite"] = f"sqlite+aiosqlite:///{directory / 'ledger.db'}"
    if "postgres" not in names:
        yield urls
        return
    async with migrated_postgres() as url:
        yield {**urls, "postgres": url}


async def main(arguments: argparse.Namespace) -> None:
    """Run what was asked for."""
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        async with databases(Path(directory), arguments.databases) as urls:
            if not arguments.million:
                print(f"{'':<56} {'tasks/s':>9} {'cpu µs':>9} {'loop µs':>9}")
            metrics = PrometheusMetrics(common_payloads())
            for name, url in urls.items():
                async with open_ledger(url, clock=SystemClock(), metrics=metrics) as ledger:
                    if arguments.million:
                        cost = await measured(arguments.tasks, fill(ledger, arguments.tasks))
                        print(f"{name}: {arguments.tasks:,} tasks in {cost.wall:.0f} s")
                        await list_filters(name, ledger, arguments.tasks)
                    else:
                        await enqueue_path(name, ledger, arguments.tasks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--tasks", type=int)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgres"], choices=["sqlite", "postgres"])
    given = parser.parse_args()
    given.databases = without_missing(given.databases)
    given.tasks = given.tasks or (1_000_000 if given.million else 10_000)
    uvloop.run(main(given))
