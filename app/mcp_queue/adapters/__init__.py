"""Implements the ports: queues, ledger, clock, HTTP, storage. Errors of libraries become the product's own here."""
