"""What clients and operators do with queues."""
