"""Who makes a request."""

from starlette.requests import Request

ANONYMOUS = "anonymous"


def actor_of(request: Request) -> str:
    """Return the name of the key that the request came with; whoever checked it left it in ``request.state``."""
    name: str = getattr(request.state, "key_name", ANONYMOUS)
    return name
