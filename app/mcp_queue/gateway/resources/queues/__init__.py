"""Listing queues, their stats, pause and purge."""
