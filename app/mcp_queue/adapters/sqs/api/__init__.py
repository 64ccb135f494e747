"""Calls to SQS: clients, batches, limits and errors."""
