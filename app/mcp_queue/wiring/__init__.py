"""The composition root: the one place that chooses the adapter of each port."""
