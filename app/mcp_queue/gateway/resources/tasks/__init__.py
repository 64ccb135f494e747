"""Enqueueing tasks, looking them up and canceling them."""
