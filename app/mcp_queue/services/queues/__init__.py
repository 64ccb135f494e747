"""What the gateway does with queues: the manager, counts, purges and priority levels."""
