"""What clients put tasks into."""

from typing import TypeAlias

from mcp_queue.ports import Queue
from mcp_queue.services.queues.priority import PriorityQueue

#: A queue as the gateway knows it: one of a backend, or several that act as one.
ProducerQueue: TypeAlias = Queue | PriorityQueue
