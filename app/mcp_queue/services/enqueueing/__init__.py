"""From a client's request to a task in a queue."""
