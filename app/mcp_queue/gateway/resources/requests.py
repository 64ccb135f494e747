"""What requests to several resources have in common: path parameters, pages of lists, and confirmations."""

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mcp_queue.domain.task_states import MAX_PAGE
from mcp_queue.gateway.problems import Problem, RequestRefusedError
from mcp_queue.gateway.server.documentation import RequestBody
from mcp_queue.gateway.server.request import GatewayRequest
from mcp_queue.services.enqueueing.validation import validated

QueueName = Annotated[
    str, Path(description="Name of the queue.", openapi_examples={"tasks": {"summary": "tasks", "value": "tasks"}})
]
TaskId = Annotated[str, Path(description="Id of the task. A message that is not a task goes by its message id.")]


def _digits(value: object) -> object:
    # Python reads more forms of a number than clients write, such as 1_0.
    if isinstance(value, str) and not (value.isdecimal() and value.isascii()):
        raise ValueError("expected a number")
    return value


class PageQuery(BaseModel):
    """Which part of a list is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="Length of the page."), BeforeValidator(_digits)] = 50
    cursor: Annotated[
        str | None, Field(min_length=1, max_length=1024, description="`next_cursor` of the page before.")
    ] = None


class NoMembers(BaseModel):
    """An empty object."""

    model_config = ConfigDict(extra="forbid")


class PurgeRequest(BaseModel):
    """The name of the queue once more, so that no queue is emptied by mistake."""

    model_config = ConfigDict(extra="forbid", strict=True)

    confirm: str


def no_members() -> RequestBody:
    """Return the body of a call that takes no members: empty, or an empty object."""
    return RequestBody(NoMembers, required=False)


def check_confirmed(request: GatewayRequest, queue: str) -> None:
    """Check that the body of ``request`` names ``queue`` once more.

    Raises:
        RequestRefusedError: 422, it names another one.

    """
    if validated(PurgeRequest, request.json_value()).confirm != queue:
        detail = 'the member "confirm" has to be the name of the queue'
        raise RequestRefusedError(Problem(code="confirmation_mismatch", detail=detail))
