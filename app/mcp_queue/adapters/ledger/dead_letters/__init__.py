"""Stores dead letters, redrives and notices in the ledger."""
