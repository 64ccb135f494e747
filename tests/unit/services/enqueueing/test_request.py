"""Tasks as clients ask for them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_queue.domain.enqueueing.payloads import CollaborationPayload, EmbeddingPayload, WebhookPayload
from mcp_queue.domain.errors import InvalidTaskError
from mcp_queue.services.enqueueing.request import BatchTask, NewTask, read_new_task
from mcp_queue.services.enqueueing.validation import MAX_ERRORS, validated

LONG_NAME = "n" * 5000


def read(**members: Any) -> NewTask:
    """Return the task of type ``echo`` with ``members``."""
    return read_new_task({"type": "echo", **members}, NewTask)


def refusal(value: Any, model: type[NewTask] = NewTask) -> InvalidTaskError:
    """Return why ``value`` is no task."""
    with pytest.raises(InvalidTaskError) as caught:
        read_new_task(value, model)
    return caught.value


def test_only_the_type_is_required() -> None:
    """Everything else has a default or is the queue's business."""
    task = read()
    assert ("echo", None, 0, {}) == (task.type, task.payload, task.priority, task.metadata)
    assert (None, None, None) == (task.delay, task.max_retries, task.visibility_timeout)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5+01:00", datetime(2026, 1, 31, 11, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456789-00:30", datetime(2026, 1, 31, 12, 30, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_times_are_rfc_3339(written: str, expected: datetime) -> None:
    """Any offset is read, and the time is kept in UTC."""
    assert expected == read(expires_at=written).expires_at


@pytest.mark.parametrize(
    "written",
    [
        "",
        "now",
        5,
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-W05-6T12:00:00Z",
        "20260131T120000Z",
        "2026-13-01T00:00:00Z",
        "2026-01-31T12:00:00+99:00",
        "0001-01-01T00:00:00+01:00",
    ],
)
def test_other_times_are_refused(written: object) -> None:
    """Forms that clients of other languages would not write are mistakes; so are times that there are not."""
    error = refusal({"type": "echo", "scheduled_for": written})
    assert [("body", "scheduled_for")] == [field.loc for field in error.errors]


@pytest.mark.parametrize(
    "member",
    [
        {"type": ""},
        {"type": "x" * 129},
        {"type": "a b"},
        {"type": "a\n"},
        {"type": 5},
        {"priority": 4},
        {"priority": -1},
        {"priority": "1"},
        {"priority": True},
        {"priority": None},
        {"metadata": {"a": 1}},
        {"metadata": None},
        {"metadata": []},
        {"metadata": {str(number): "" for number in range(65)}},
        {"metadata": {"failure_reason": ""}},
        {"metadata": {"failed_at": ""}},
        {"metadata": {"original_queue": ""}},
        {"delay": "soon"},
        {"delay": -1},
        {"max_retries": 101},
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"visibility_timeout": 0.9},
        {"visibility_timeout": "11h55m1s"},
        {"callback_url": "x" * 2049},
        {"callback_url": 5},
        {"group": ""},
        {"group": "x" * 129},
        {"deduplication_id": ""},
        {"deduplication_id": "x" * 129},
    ],
    ids=lambda member: repr(member)[:40],
)
def test_each_member_has_its_rule(member: dict[str, Any]) -> None:
    """The error names the member that breaks a rule."""
    error = refusal({"type": "echo", **member})
    assert [("body", *member)] == [field.loc for field in error.errors]
    assert str(error).startswith(next(iter(member)))


def test_limits_themselves_are_allowed() -> None:
    """The greatest values are values."""
    task = read(
        type="x" * 128,
        priority=3,
        metadata={str(number): "" for number in range(64)},
        max_retries=100,
        visibility_timeout="11h55m",
        group="g" * 128,
        deduplication_id="d" * 128,
    )
    assert timedelta(hours=11, minutes=55) == task.visibility_timeout
    assert timedelta(seconds=1) == read(visibility_timeout=1).visibility_timeout


@pytest.mark.parametrize("value", [None, 5, "echo", [], [{"type": "echo"}]])
def test_task_is_an_object(value: object) -> None:
    """Anything else is refused as a whole."""
    error = refusal(value)
    assert ("body: expected an object", [("body",)]) == (str(error), [field.loc for field in error.errors])


def test_unknown_member_is_refused() -> None:
    """A misspelt option is named."""
    error = refusal({"type": "echo", "dealy": 5})
    assert ("dealy: there is no such member", ("body", "dealy")) == (str(error), error.errors[0].loc)


def test_flood_of_unknown_members_is_refused_by_the_first() -> None:
    """Members beyond those there are must be unknown: the answer does not grow with them, nor with their names."""
    error = refusal({f"{LONG_NAME}{number}": 1 for number in range(100)})
    assert 1 == len(error.errors)
    assert 200 > len(str(error))


def test_wrong_member_is_named_in_short() -> None:
    """Names from outside are cut where they are repeated."""
    assert 200 > len(str(refusal({"type": "echo", LONG_NAME: 1})))


def test_many_mistakes_are_counted() -> None:
    """Beyond a few, mistakes are counted instead of listed."""
    headers = {str(number): number for number in range(MAX_ERRORS + 1)}
    with pytest.raises(InvalidTaskError) as caught:
        validated(WebhookPayload, {"url": "https://example.com", "headers": headers})
    assert ("body: 21 members are wrong", 1) == (str(caught.value), len(caught.value.errors))


def test_long_list_of_mistakes_stops_at_the_first() -> None:
    """A list of half a million wrong items takes no more time than one."""
    payload = {"session_id": "s", "strategy": "s", "participants": [1] * 500_000}
    with pytest.raises(InvalidTaskError, match=r"participants\.0"):
        validated(CollaborationPayload, payload)


def test_all_mistakes_of_a_payload_are_listed() -> None:
    """A client learns of everything at once."""
    with pytest.raises(InvalidTaskError) as caught:
        validated(EmbeddingPayload, {"text": "", "extra": 1}, ("body", "payload"))
    places = {field.loc[2] for field in caught.value.errors}
    assert {"text", "model", "extra"} == places


def test_idempotency_key_is_a_member_in_batches_only() -> None:
    """A single task has the header."""
    assert "k" == read_new_task({"type": "echo", "idempotency_key": "k"}, BatchTask).idempotency_key
    assert ("body", "idempotency_key") == refusal({"type": "echo", "idempotency_key": "k"}).errors[0].loc
    assert ("body", "idempotency_key") == refusal({"type": "echo", "idempotency_key": "k k"}, BatchTask).errors[0].loc


def test_location_of_a_batch_entry_leads_the_way() -> None:
    """An entry's mistakes are found by its place in the batch."""
    with pytest.raises(InvalidTaskError) as caught:
        read_new_task({"type": 1}, BatchTask, ("body", "tasks", 7))
    assert ("body", "tasks", 7, "type") == caught.value.errors[0].loc


def test_python_values_are_taken_too() -> None:
    """Templates of tasks that were read before can be read again."""
    task = NewTask(type="echo", delay=timedelta(minutes=5), expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert task == NewTask.model_validate(task.model_dump())
