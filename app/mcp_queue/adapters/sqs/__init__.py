"""Amazon SQS: its client, limits, errors and queues."""
