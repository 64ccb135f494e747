"""Checks a request to enqueue, and makes a task of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import BaseModel

from mcp_queue.domain.callbacks.addresses import EgressPolicy, check_url
from mcp_queue.domain.enqueueing.payloads import WebhookPayload
from mcp_queue.domain.errors import FieldError, RefusedAddressError
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.services.enqueueing.request import HORIZON, NewTask
from mcp_queue.services.enqueueing.validation import Location, invalid, validated

MAX_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueRules:
    """What tasks are checked against: the payload model of each type, and which URLs may be called."""

    payload_models: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    egress: EgressPolicy = field(default_factory=EgressPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a task gets from the moment and the request it comes with."""

    task_id: str
    created_at: datetime
    traceparent: str | None = None


def make_task(new: NewTask, spec: QueueSpec, rules: EnqueueRules, origin: Origin) -> Task:
    """Return the task that ``new`` asks for in the queue ``spec``.

    Raises:
        InvalidTaskError: it breaks a rule; ``errors`` names the member.

    """
    if new.deduplication_id is not None and not spec.fifo:
        raise invalid(FieldError(("body", "deduplication_id"), "only FIFO queues know deduplication"))
    if new.callback_url is not None:
        _check_url(new.callback_url, ("body", "callback_url"), rules.egress)
    retries = _retries_of_payload(new, rules)
    if retries is None:
        retries = spec.max_retries if new.max_retries is None else new.max_retries
    return Task(
        id=origin.task_id,
        type=new.type,
        queue=spec.public_name,
        created_at=origin.created_at,
        payload=new.payload,
        priority=new.priority,
        metadata=new.metadata,
        scheduled_for=_due(new, origin.created_at),
        expires_at=new.expires_at,
        max_retries=retries,
        visibility_timeout=new.visibility_timeout,
        callback_url=new.callback_url,
        group=new.group,
        deduplication_id=new.deduplication_id,
        traceparent=origin.traceparent,
    )


def check_batch_size(count: int) -> None:
    """Return if a batch may have ``count`` tasks.

    Raises:
        InvalidTaskError: it is empty or has more than 1,000.

    """
    if not 0 < count <= MAX_BATCH:
        raise invalid(FieldError(("body", "tasks"), f"a batch has 1 to {MAX_BATCH} tasks, not {count}"))


def _retries_of_payload(new: NewTask, rules: EnqueueRules) -> int | None:
    model = rules.payload_models.get(new.type)
    if model is None:
        return None
    payload = validated(model, new.payload, ("body", "payload"))
    if not isinstance(payload, WebhookPayload):
        return None
    _check_url(payload.url, ("body", "payload", "url"), rules.egress)
    return payload.retries


def _check_url(url: str, loc: Location, egress: EgressPolicy) -> None:
    try:
        check_url(url, egress)
    except RefusedAddressError as error:
        raise invalid(FieldError(loc, str(error))) from error


def _due(new: NewTask, now: datetime) -> datetime | None:
    """Return when the task may start, ``None`` for at once, which a time that has passed means too."""
    if new.delay is None and new.scheduled_for is None:
        return None
    if new.delay is None:
        loc, wait = "scheduled_for", new.scheduled_for - now if new.scheduled_for else timedelta(0)
    elif new.scheduled_for is None:
        loc, wait = "delay", new.delay
    else:
        raise invalid(FieldError(("body", "delay"), "either delay or scheduled_for, not both"))
    if wait > HORIZON:
        raise invalid(FieldError(("body", loc), f"at most {HORIZON.days} days ahead"))
    return now + wait if wait > timedelta(0) else None
