"""What tests of task handlers use instead of a running service: a queue in memory and a clock that they move."""

from mcp_queue.testing.clock import FakeClock
from mcp_queue.testing.queue import InMemoryQueue

__all__ = ["FakeClock", "InMemoryQueue"]
