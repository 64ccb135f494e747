"""Who makes a request."""

from mcp_queue.gateway.server.request import Incoming


def actor_of(request: Incoming) -> str:
    """Return the name of the key that the request came with, as the audit log has it."""
    return request.caller.name
