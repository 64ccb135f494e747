"""Executions that are counted in memory."""

from mcp_queue.domain.task import TaskStatus
from mcp_queue.services.execution.attempt_memory import ExecutionMemory
from tests.support.tasks import a_task, an_end, an_execution


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
