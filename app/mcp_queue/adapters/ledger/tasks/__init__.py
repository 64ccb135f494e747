"""Stores tasks, executions, claims and held tasks in the ledger."""
