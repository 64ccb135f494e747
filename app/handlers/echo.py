"""Returns what it is given: for trying out a queue, and for measuring one."""

from app.domain.task import JsonValue, Task
from app.services.task_router import TaskRouter

router = TaskRouter()


@router.task("echo")
async def echo(task: Task) -> JsonValue:
    """Return the payload."""
    return task.payload
