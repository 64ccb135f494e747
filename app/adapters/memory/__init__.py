"""Queues in memory, on a clock that tests can move: the semantics of the embedded queue without its file."""

from app.adapters.memory.pauses import MemoryPauseSwitch
from app.adapters.memory.queue import MemoryQueue

__all__ = ["MemoryPauseSwitch", "MemoryQueue"]
