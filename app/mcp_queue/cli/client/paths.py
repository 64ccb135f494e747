"""Builds the paths of the HTTP API."""

from urllib.parse import quote


def api_path(*parts: str) -> str:
    """Return the path of ``parts``, each percent-encoded; a shell may give bytes that are not UTF-8."""
    return "/".join(["/v1", *(quote(part, safe="", errors="surrogateescape") for part in parts)])


def queue_path(queue: str, *parts: str) -> str:
    """Return the path of a queue, or of something below it."""
    return api_path("queues", queue, *parts)
