"""Answers that the enqueue routes build by hand, against the schemas that document them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from mcp_queue.domain.errors import InvalidTaskError, QueueFullError
from mcp_queue.domain.task import TaskStatus
from mcp_queue.gateway.answers import encode
from mcp_queue.gateway.resources.tasks.schemas import BatchView, TaskView
from mcp_queue.gateway.resources.tasks.views import BatchAnswer, enqueued_answer, enqueued_body
from mcp_queue.services.enqueueing.submission import Enqueued, Replayed
from tests.support.clock import HOUR, START
from tests.support.gateway import TRACE_ID
from tests.support.tasks import a_task

PLAIN = Enqueued(task=a_task("t"), status=TaskStatus.QUEUED, visibility_timeout=timedelta(minutes=5))
FULL = Enqueued(
    task=a_task(
        "t",
        priority=3,
        payload={"ä": [1, 2.5, None, True]},
        metadata={"k": "v"},
        scheduled_for=START + HOUR,
        expires_at=START + 2 * HOUR,
        max_retries=7,
        retry_count=2,
        callback_url="https://example.com/",
        group="g",
    ),
    status=TaskStatus.SCHEDULED,
    visibility_timeout=timedelta(milliseconds=1500),
    deduplicated=True,
)


@pytest.mark.parametrize("enqueued", [PLAIN, FULL])
def test_accepted_task_is_what_its_schema_says(enqueued: Enqueued) -> None:
    """Byte for byte: the routes that build it from the schema answer the same."""
    assert encode(TaskView.of(enqueued)) == bytes(enqueued_answer(enqueued).body)


def test_batch_is_what_its_schema_says() -> None:
    """Every kind of verdict, with its members in the order of the schema."""
    replayed = Replayed(enqueued_body(FULL))
    answer = BatchAnswer(TRACE_ID)
    answer.add([PLAIN, FULL, replayed, InvalidTaskError("no"), QueueFullError()])
    response = answer.response()

    members = json.loads(bytes(response.body))

    assert 207 == response.status_code
    assert members == json.loads(encode(BatchView.model_validate(members)))
    properties = BatchView.model_json_schema()["$defs"]
    known = set(BatchView.model_fields) | {name for schema in properties.values() for name in schema["properties"]}
    assert set(_names(members)) == known


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield name
            yield from _names(member)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for member in value:
            yield from _names(member)
