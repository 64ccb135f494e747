"""Reads, redrives and closes dead letters, with or without a ledger."""
