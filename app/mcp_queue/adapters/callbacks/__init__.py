"""Requests to URLs that clients name: checked, bounded and signed."""
