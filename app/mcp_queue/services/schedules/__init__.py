"""Recurring tasks, and tasks that the ledger holds until they are due."""
