"""Decides where a task is delivered and what happens after an attempt."""
