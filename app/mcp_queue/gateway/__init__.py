"""HTTP in, HTTP out. Knows queues only through ``QueueManager``."""
