"""Confirmation of what cannot be undone."""

from mcp_queue.gateway.problems import Problem, ProblemError
from mcp_queue.gateway.resources.schemas import PurgeRequest
from mcp_queue.gateway.server.request import Incoming
from mcp_queue.services.enqueueing.validation import validated


def confirm(request: Incoming, queue: str) -> None:
    """Return if the body of ``request`` names ``queue`` once more.

    Raises:
        ProblemError: it names another one.

    """
    if validated(PurgeRequest, request.json_value()).confirm != queue:
        detail = 'the member "confirm" has to be the name of the queue'
        raise ProblemError(Problem(code="confirmation_mismatch", detail=detail))
