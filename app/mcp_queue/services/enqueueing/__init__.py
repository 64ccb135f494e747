"""Turns a client's request into a task in a queue."""
