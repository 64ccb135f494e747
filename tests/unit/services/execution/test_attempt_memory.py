"""Attempts that are counted in memory, alone and beside a ledger."""

from collections.abc import Sequence

from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.ports import Admission, AttemptRecord, AttemptStart, ExecutionLog
from mcp_queue.services.execution.attempt_memory import ExecutionMemory, OutageProofLog
from tests.support.clock import START
from tests.support.tasks import a_task, an_end, an_execution


class Ledger(ExecutionMemory):
    """A ledger that stops answering when a test says so; it keeps what is recorded meanwhile."""

    away = False

    async def start(self, starts: Sequence[AttemptStart]) -> Sequence[Admission]:
        """Answer, or not."""
        if self.away:
            raise LedgerUnavailableError
        return await super().start(starts)


async def attempt(log: ExecutionLog, task: Task) -> int:
    """Run a task of a FIFO queue at SQS once more; it fails. Return which attempt that was."""
    (admission,) = await log.start([AttemptStart(task=task, attempt=1, counts_itself=False, started_at=START)])
    await log.record(an_end(task, TaskStatus.RETRYING, attempt=admission.attempt))
    return admission.attempt


async def test_attempts_go_on_counting_through_an_outage() -> None:
    """Neither the start of an outage nor its end begins at 1 again."""
    ledger, task = Ledger(), a_task(group="g")
    log = OutageProofLog(ledger)
    attempts = []
    for ledger.away in (False, False, True, True):
        attempts.append(await attempt(log, task))
    assert [1, 2, 3, 4] == attempts


async def test_an_ended_task_is_forgotten() -> None:
    """A redrive begins at 1."""
    memory, task = ExecutionMemory(), a_task(group="g")
    assert 1 == await attempt(memory, task)
    await memory.record(an_end(task, TaskStatus.COMPLETED, attempt=2))
    assert 1 == await attempt(memory, task)


async def test_the_task_that_ran_longest_ago_is_forgotten_first() -> None:
    """The memory is bounded."""
    memory, tasks = ExecutionMemory(capacity=2), [a_task(group="g") for _ in range(3)]
    for task in tasks:
        await attempt(memory, task)
    assert [2, 1] == [await attempt(memory, tasks[2]), await attempt(memory, tasks[0])]


async def test_a_postponed_end_is_settled_by_the_process_that_reached_it() -> None:
    """Without a ledger nobody else knows of it; another attempt of the same task is not meant."""
    memory, task = ExecutionMemory(), a_task()
    end: AttemptRecord = an_end(task, TaskStatus.RETRYING, error="no", confirmed=False, postponed=True)
    await memory.record(end)
    first = AttemptStart(task=task, attempt=1, counts_itself=True, started_at=START)
    (admission,) = await memory.start([first])
    assert admission.decided is not None
    assert ("no", TaskStatus.RETRYING) == (admission.decided.error, admission.decided.status)
    second = AttemptStart(task=task.next_attempt(), attempt=2, counts_itself=True, started_at=START)
    assert [Admission(2)] == list(await memory.start([second]))
    await memory.record(an_end(task, TaskStatus.RETRYING))
    assert [Admission(1)] == list(await memory.start([first]))


async def test_an_attempt_that_waits_again_is_not_counted() -> None:
    """It was released or deferred before it came to anything; one that failed counts."""
    memory, task = ExecutionMemory(), a_task()
    ends = [TaskStatus.QUEUED, TaskStatus.RETRYING, TaskStatus.QUEUED, TaskStatus.QUEUED, TaskStatus.RETRYING]

    attempts = []
    for status in ends:
        [admission] = await memory.start([an_execution(task, counts_itself=False)])
        attempts.append(admission.attempt)
        await memory.record(an_end(task, status, attempt=admission.attempt))

    assert attempts == [1, 1, 2, 2, 2]
