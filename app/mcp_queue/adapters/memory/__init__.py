"""Queues in memory, on a clock that tests can move: the semantics of the embedded queue without its file."""

from mcp_queue.adapters.memory.pauses import MemoryPauseSwitch
from mcp_queue.adapters.memory.queue import MemoryQueue

__all__ = ["MemoryPauseSwitch", "MemoryQueue"]
