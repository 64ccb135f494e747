"""The wire form of a task."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_queue.domain.errors import InvalidTaskError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer, MessageFacts, format_time, parse_time
from mcp_queue.domain.task import Task
from tests.support.clock import START
from tests.support.strategies import JSON_VALUES, TASKS, TIMES

SERIALIZER = JsonTaskSerializer()
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
REFUSED_BY_SQS = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def facts(task: Task | None = None) -> MessageFacts:
    """Return what travels beside the body."""
    traceparent = None if task is None else task.traceparent
    return MessageFacts(message_id="m-1", queue="tasks", sent_at=START, max_retries=4, traceparent=traceparent)


def refusal(body: str) -> str:
    """Return why ``body`` is no task."""
    with pytest.raises(InvalidTaskError) as caught:
        SERIALIZER.loads(body, facts())
    return str(caught.value)


@given(TASKS)
def test_any_task_is_read_back(task: Task) -> None:
    """Every member survives, those included that this version does not know."""
    assert task == SERIALIZER.loads(SERIALIZER.dumps(task), facts(task))


@given(TASKS)
def test_any_body_is_json_that_sqs_takes(task: Task) -> None:
    """Bodies hold no character that a backend would refuse, and have a form in UTF-8."""
    body = SERIALIZER.dumps(task)
    assert not REFUSED_BY_SQS.search(body)
    assert body.encode()
    assert task.id == json.loads(body)["id"]


@pytest.mark.parametrize("character", ["\ufffe", "\uffff", "\x00", "\x1f"])
def test_a_character_that_sqs_refuses_is_escaped(character: str) -> None:
    """The rest of the text stays as it is."""
    task = Task(id="t-1", type="t", queue="tasks", created_at=START, payload=f"漢{character}")
    body = SERIALIZER.dumps(task)
    assert f'"漢\\u{ord(character):04x}"' in body
    assert task == SERIALIZER.loads(body, facts(task))


@given(TASKS)
def test_attempts_change_the_counters_only(task: Task) -> None:
    """The next attempt is the same task, one retry on and due at once."""
    written = json.loads(SERIALIZER.dumps(task.next_attempt()))
    before = json.loads(SERIALIZER.dumps(task))
    before.pop("scheduled_for", None)
    assert before | {"retry_count": task.retry_count + 1} == written


def test_wire_form_is_as_documented() -> None:
    """Members that say nothing are absent; durations are seconds and times RFC 3339."""
    task = Task(
        id="t-1",
        type="embedding",
        queue="tasks",
        created_at=START,
        payload={"text": "ä"},
        metadata={"k": "v"},
        scheduled_for=START + timedelta(seconds=1),
        visibility_timeout=timedelta(seconds=300),
    )
    expected = {
        "id": "t-1",
        "type": "embedding",
        "priority": 0,
        "payload": {"text": "ä"},
        "metadata": {"k": "v"},
        "created_at": "2026-01-01T00:00:00.000000Z",
        "max_retries": 3,
        "retry_count": 0,
        "queue": "tasks",
        "visibility_timeout": 300,
        "scheduled_for": "2026-01-01T00:00:01.000000Z",
    }
    assert expected == json.loads(SERIALIZER.dumps(task))


def test_foreign_message_needs_a_type_only() -> None:
    """What somebody else left out is filled in from the message."""
    task = SERIALIZER.loads('{"type": "a", "colour": "red"}', facts())
    expected = Task(id="m-1", type="a", queue="tasks", created_at=START, max_retries=4, extra={"colour": "red"})
    assert expected == task


@pytest.mark.parametrize(
    "member",
    [
        {"type": ""},
        {"type": None},
        {"type": 5},
        {"id": 5},
        {"priority": "1"},
        {"priority": True},
        {"priority": 1.5},
        {"priority": -1},
        {"retry_count": 10**9},
        {"max_retries": []},
        {"redrive_count": {}},
        {"created_at": "yesterday"},
        {"created_at": 5},
        {"created_at": "2026-01-01T00:00:00"},
        {"scheduled_for": "0001-01-01T00:00:00+10:00"},
        {"expires_at": []},
        {"metadata": []},
        {"metadata": {"a": 1}},
        {"visibility_timeout": 0},
        {"visibility_timeout": -5},
        {"visibility_timeout": 1e300},
        {"visibility_timeout": 1e-9},
        {"visibility_timeout": "300"},
        {"visibility_timeout": True},
        {"callback_url": 1},
        {"group": 1},
        {"deduplication_id": False},
    ],
    ids=repr,
)
def test_wrong_member_is_named(member: dict[str, Any]) -> None:
    """The reason of a poison message says which member is wrong."""
    (name,) = member
    assert repr(name) in refusal(json.dumps({"type": "a", **member}))


@pytest.mark.parametrize("body", ["", "nothing", "[]", "5", "null", '{"type": "a", "type": "a"}', "{" * 500])
def test_what_is_no_object_is_no_task(body: str) -> None:
    """The reason says that the body is none."""
    assert refusal(body).startswith("the body is not ")


@given(st.text(max_size=50) | JSON_VALUES.map(json.dumps))
def test_any_body_is_a_task_or_refused(body: str) -> None:
    """Nothing that lies in a queue can stop the one who reads it."""
    try:
        assert isinstance(SERIALIZER.loads(body, facts()), Task)
    except InvalidTaskError:
        return


@given(st.dictionaries(st.sampled_from(sorted(Task.__dataclass_fields__)), JSON_VALUES))
def test_any_members_are_a_task_or_refused(members: dict[str, Any]) -> None:
    """Known members with values of any kind neither."""
    try:
        assert isinstance(SERIALIZER.loads(json.dumps({"type": "a"} | members), facts()), Task)
    except InvalidTaskError:
        return


@given(TIMES)
def test_any_time_is_read_back(time: datetime) -> None:
    """Times keep their microseconds."""
    assert time == parse_time(format_time(time))


@given(TIMES, st.integers(-14 * 60, 14 * 60))
def test_times_are_written_in_utc(time: datetime, minutes: int) -> None:
    """The same moment has one form, whatever the offset; early years have four digits."""
    local = time.astimezone(timezone(timedelta(minutes=minutes)))
    written = format_time(local)
    assert format_time(time) == written
    assert len("2026-01-01T00:00:00.000000Z") == len(written)


def test_read_times_are_in_utc() -> None:
    """Whatever offset they were written with."""
    assert UTC is parse_time("2026-01-01T01:00:00+01:00").tzinfo
