"""Receives deliveries, keeps their leases and runs them in slots."""
