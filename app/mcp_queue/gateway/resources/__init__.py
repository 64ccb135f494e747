"""One package per resource of the HTTP API."""
