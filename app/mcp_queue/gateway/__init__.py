"""The HTTP API. It puts tasks into queues through ``QueueManager`` alone."""
