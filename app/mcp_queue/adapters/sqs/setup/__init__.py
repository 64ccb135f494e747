"""Reading what queues SQS has, and making them match the configuration."""
