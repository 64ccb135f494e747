"""Returns what it is given: for trying out a queue, and for measuring one."""

from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.services.execution.router import TaskRouter

router = TaskRouter()


@router.task("echo")
async def echo(task: Task) -> JsonValue:
    """Return the payload."""
    return task.payload
