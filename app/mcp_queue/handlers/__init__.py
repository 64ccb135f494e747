"""Handlers that come with the product, one per file. Each module's ``router`` is merged by the composition root."""
