"""Applies the changes that an operator makes to a dead letter before it is redriven."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.services.enqueueing.request import Metadata, NewTask, Url
from mcp_queue.services.enqueueing.rules import EnqueueRules, Origin, make_task


class DeadLetterEdits(BaseModel):
    """What replaces the members of a dead letter; those that are not there stay as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    payload: Annotated[Any, Field(description="Any JSON, checked against the payload model of the type.")] = None
    metadata: Annotated[Metadata | None, Field(description="Replaces all of it.")] = None
    callback_url: Annotated[Url | None, Field(description="`null` leaves the delivery to the handler or route.")] = None
    max_retries: Annotated[int | None, Field(ge=0, le=100, description="Retries after the first attempt.")] = None


def edited(task: Task, edits: DeadLetterEdits, spec: QueueSpec, rules: EnqueueRules) -> Task:
    """Return ``task`` with ``edits``, which keep to the rules of new tasks; what was not edited is not checked again.

    Raises:
        InvalidTaskError: one breaks a rule; ``errors`` names the member.

    """
    given = edits.model_fields_set
    if "payload" not in given:
        rules = replace(rules, payload_models={})
    new = NewTask.model_construct(
        type=task.type,
        payload=edits.payload if "payload" in given else task.payload,
        metadata=dict(task.metadata) if edits.metadata is None else edits.metadata,
        callback_url=edits.callback_url,
        max_retries=task.max_retries if edits.max_retries is None else edits.max_retries,
    )
    checked = make_task(new, spec, rules, Origin(task_id=task.id, created_at=task.created_at))
    return replace(
        task,
        payload=checked.payload,
        metadata=checked.metadata,
        callback_url=checked.callback_url if "callback_url" in given else task.callback_url,
        max_retries=checked.max_retries,
    )
