"""From what a client asks for to a task of one queue."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from mcp_queue.domain.callbacks.addresses import EgressPolicy
from mcp_queue.domain.enqueueing.payloads import common_payloads
from mcp_queue.domain.errors import InvalidTaskError
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.services.enqueueing.request import NewTask, read_new_task
from mcp_queue.services.enqueueing.rules import EnqueueRules, Origin, check_batch_size, make_task
from tests.support.clock import HOUR, START

RULES = EnqueueRules(payload_models=common_payloads())
SPEC = QueueSpec(name="tasks", kind=QueueKind.STANDARD, backend=Backend.MEMORY, max_retries=5)
FIFO = QueueSpec(name="orders", kind=QueueKind.FIFO, backend=Backend.MEMORY)
DAY = 24 * HOUR
WEBHOOK = {"url": "https://example.com/hook"}


def make(spec: QueueSpec = SPEC, rules: EnqueueRules = RULES, **members: Any) -> Task:
    """Return the task made from ``members``."""
    new = read_new_task({"type": "mine", **members}, NewTask)
    return make_task(new, spec, rules, Origin(task_id="t-1", created_at=START, traceparent="trace"))


def refusal(spec: QueueSpec = SPEC, **members: Any) -> InvalidTaskError:
    """Return why no task is made from ``members``."""
    with pytest.raises(InvalidTaskError) as caught:
        make(spec, **members)
    return caught.value


def test_task_knows_its_origin() -> None:
    """Id, queue, time and trace come from the moment it is made."""
    level = QueueSpec(name="work-p1", public_name="work", kind=QueueKind.STANDARD, backend=Backend.MEMORY)
    task = make(level)
    assert ("t-1", "work", START, "trace") == (task.id, task.queue, task.created_at, task.traceparent)


def test_retries_are_the_queues_unless_the_task_has_its_own() -> None:
    """Zero retries is a number of retries."""
    assert (5, 0) == (make().max_retries, make(max_retries=0).max_retries)


@pytest.mark.parametrize(("payload", "expected"), [({}, 9), ({"retries": None}, 9), ({"retries": 0}, 0)])
def test_retries_of_a_webhook_come_first(payload: dict[str, Any], expected: int) -> None:
    """A webhook's own ``retries`` replaces ``max_retries``."""
    assert expected == make(type="webhook", payload=WEBHOOK | payload, max_retries=9).max_retries


def test_visibility_timeout_stays_the_tasks_own() -> None:
    """Where the task has none, the queue's may still change."""
    assert (None, HOUR) == (make().visibility_timeout, make(visibility_timeout="1h").visibility_timeout)


@pytest.mark.parametrize(
    ("members", "due"),
    [
        ({}, None),
        ({"delay": 0}, None),
        ({"delay": "1h"}, START + HOUR),
        ({"delay": "365d"}, START + 365 * DAY),
        ({"scheduled_for": "2026-01-01T01:00:00Z"}, START + HOUR),
        ({"scheduled_for": "2026-01-01T00:00:00Z"}, None),
        ({"scheduled_for": "1999-01-01T00:00:00Z"}, None),
    ],
)
def test_task_is_due_when_it_says(members: dict[str, Any], due: object) -> None:
    """A time that has passed means at once."""
    assert due == make(**members).scheduled_for


@pytest.mark.parametrize(
    "member", [{"delay": "366d"}, {"delay": "999999999d"}, {"scheduled_for": "2027-01-01T00:00:01Z"}]
)
def test_horizon_is_a_year(member: dict[str, Any]) -> None:
    """Further ahead is refused, naming the member."""
    (name,) = member
    error = refusal(**member)
    assert (f"{name}: at most 365 days ahead", ("body", name)) == (str(error), error.errors[0].loc)


def test_delay_and_time_exclude_each_other() -> None:
    """Two answers to one question are none."""
    assert ("body", "delay") == refusal(delay=1, scheduled_for="2026-01-02T00:00:00Z").errors[0].loc


def test_expired_task_is_made() -> None:
    """A task that is too late already is accepted, and ends as expired."""
    assert START - DAY == make(expires_at="2025-12-31T00:00:00Z").expires_at


def test_deduplication_is_for_fifo_queues() -> None:
    """Elsewhere it would promise what nobody keeps."""
    assert "d" == make(FIFO, deduplication_id="d").deduplication_id
    assert ("body", "deduplication_id") == refusal(deduplication_id="d").errors[0].loc


@pytest.mark.parametrize("url", ["ftp://example.com", "https://u:p@example.com", "http://127.0.0.1/", "nothing", ""])
def test_url_that_must_not_be_called_is_refused(url: str) -> None:
    """A callback's URL is judged as it is written; so is a webhook's."""
    assert ("body", "callback_url") == refusal(callback_url=url).errors[0].loc
    loc = refusal(type="webhook", payload={"url": url}).errors[0].loc
    assert ("body", "payload", "url") == loc


def test_allowed_network_may_be_called() -> None:
    """What the operator allows is allowed at enqueue too."""
    rules = EnqueueRules(egress=EgressPolicy(allowed_networks=(ip_network("127.0.0.0/8"),)))
    assert "http://127.0.0.1/" == make(rules=rules, callback_url="http://127.0.0.1/").callback_url


def test_payload_is_kept_as_it_was_sent() -> None:
    """Defaults of the payload's model are filled in where the task runs, not where it is sent."""
    assert WEBHOOK == make(type="webhook", payload=WEBHOOK).payload


@pytest.mark.parametrize("kind", ["embedding", "document", "webhook", "collaboration"])
def test_payload_of_a_known_type_is_checked(kind: str) -> None:
    """An empty object is no payload of any of them."""
    assert {("body", "payload")} == {error.loc[:2] for error in refusal(type=kind, payload={}).errors}


@pytest.mark.parametrize("count", [1, 1000])
def test_batch_sizes(count: int) -> None:
    """A batch has 1 to 1,000 tasks."""
    check_batch_size(count)
    with pytest.raises(InvalidTaskError, match="1 to 1000 tasks"):
        check_batch_size(1001 if count > 1 else 0)


def test_origin_has_no_trace_by_default() -> None:
    """Most requests belong to none."""
    assert Origin(task_id="t", created_at=START).traceparent is None


def test_year_is_measured_from_now() -> None:
    """The horizon moves with the clock."""
    new = read_new_task({"type": "mine", "scheduled_for": "2027-06-01T00:00:00Z"}, NewTask)
    later = Origin(task_id="t", created_at=START + timedelta(days=200))
    assert make_task(new, SPEC, RULES, later).scheduled_for is not None
