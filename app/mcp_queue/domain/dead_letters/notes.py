"""The notes on a dead letter: why and when its task failed, and the queue that it came from.

They are members of the task's metadata or, beside a body that is not a task, attributes of the message.
"""

from dataclasses import replace
from datetime import datetime

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.task import RESERVED_METADATA, Task


def failure_notes(reason: str, failed_at: datetime, original_queue: str) -> dict[str, str]:
    """Return the notes as they are written. Their names are those of ``RESERVED_METADATA``."""
    return {"failure_reason": reason, "failed_at": format_time(failed_at), "original_queue": original_queue}


def read_notes(delivery: Delivery) -> dict[str, str]:
    """Return the notes of a received dead letter, among other attributes and metadata."""
    return {**delivery.attributes, **(delivery.task.metadata if delivery.task is not None else {})}


def without_notes(task: Task) -> Task:
    """Return ``task`` as it was before it was dead-lettered."""
    if not RESERVED_METADATA & task.metadata.keys():
        return task
    metadata = {name: value for name, value in task.metadata.items() if name not in RESERVED_METADATA}
    return replace(task, metadata=metadata)
