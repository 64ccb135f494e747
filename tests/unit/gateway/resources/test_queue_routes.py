"""``/v1/queues``: showing queues, pausing and purging them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_queue.domain.queues import QueueKind, QueueStats
from mcp_queue.services.queues.priority import PriorityQueue
from mcp_queue.testing import InMemoryQueue
from tests.support.clock import NOW
from tests.support.gateway import GatewayKit
from tests.support.http.application import call
from tests.support.tasks import make_spec


async def test_queue_shows_how_it_is_configured(kit: GatewayKit) -> None:
    """Operators see what the configuration came to, durations in seconds."""
    answer = await call(kit.app, "GET", "/v1/queues/tasks")
    expected = {
        "name": "tasks",
        "kind": "standard",
        "backend": "memory",
        "dead_letter_queue": "dlq",
        "holds_dead_letters": False,
        "paused": False,
        "configuration": {
            "visibility_timeout": 300,
            "max_receive_count": 3,
            "max_retries": 3,
            "max_depth": None,
            "max_task_bytes": 1048576,
            "message_group_id": None,
            "failure_policy": None,
            "levels": None,
            "level_policy": None,
        },
    }
    assert (200, expected) == (answer.status, answer.json())


async def test_kinds_show_what_only_they_have(kit: GatewayKit) -> None:
    """A FIFO queue shows its failure policy, a priority queue its levels."""
    fifo = (await call(kit.app, "GET", "/v1/queues/orders")).json()
    priority = (await call(kit.app, "GET", "/v1/queues/work")).json()
    assert ("fifo", "block") == (fifo["kind"], fifo["configuration"]["failure_policy"])
    assert ("priority", {"0": "work-p0", "3": "work-p3"}) == (priority["kind"], priority["configuration"]["levels"])


async def test_list_has_every_queue_but_no_levels(kit: GatewayKit) -> None:
    """Dead-letter queues are listed as what they are."""
    answer = (await call(kit.app, "GET", "/v1/queues")).json()
    listed = [(queue["name"], queue["holds_dead_letters"]) for queue in answer["queues"]]
    assert [("tasks", False), ("orders", False), ("work", False), ("dlq", True)] == listed
    assert answer["next_cursor"] is None


async def test_stats_count_what_lies_in_the_queue(kit: GatewayKit) -> None:
    """Waiting, running and delayed tasks are told apart; the age is that of the oldest waiting one."""
    for task in ({"type": "a"}, {"type": "b"}, {"type": "c", "delay": "1h"}):
        await call(kit.app, "POST", "/v1/queues/tasks/tasks", json=task)
    await kit.tasks.receive(1, NOW)
    await kit.clock.advance(timedelta(seconds=1.5))
    expected = {
        "queue_name": "tasks",
        "approximate_messages": 1,
        "inflight_messages": 1,
        "delayed_messages": 1,
        "oldest_message_age": 1.5,
        "dead_letters": 0,
        "paused": False,
        "attributes": {},
    }
    assert expected == (await call(kit.app, "GET", "/v1/queues/tasks/stats")).json()


async def test_dead_letter_queue_can_be_counted(kit: GatewayKit) -> None:
    """Counting dead letters by the name of their queue changes nothing."""
    answer = await call(kit.app, "GET", "/v1/queues/dlq/stats")
    assert (200, 0, None) == (answer.status, answer.json()["approximate_messages"], answer.json()["dead_letters"])


@pytest.mark.parametrize("content", [b"", b"{}"])
async def test_pause_and_resume_show_the_queue(kit: GatewayKit, content: bytes) -> None:
    """Both are idempotent and take no body, or an empty object."""
    headers = {"Content-Type": "application/json"} if content else {}
    for path, paused in (("pause", True), ("pause", True), ("resume", False), ("resume", False)):
        answer = await call(kit.app, "POST", f"/v1/queues/tasks/{path}", content=content, headers=headers)
        assert (200, paused) == (answer.status, answer.json()["paused"])
        assert paused == (await call(kit.app, "GET", "/v1/queues/tasks/stats")).json()["paused"]


async def test_paused_queue_still_takes_tasks(kit: GatewayKit) -> None:
    """Pausing holds back consumers, not clients."""
    await call(kit.app, "POST", "/v1/queues/tasks/pause")
    assert 202 == (await call(kit.app, "POST", "/v1/queues/tasks/tasks", json={"type": "a"})).status


async def test_pause_takes_no_members(kit: GatewayKit) -> None:
    """An option that the call does not have is refused."""
    answer = await call(kit.app, "POST", "/v1/queues/tasks/pause", json={"for": "5m"})
    assert (422, "invalid_task") == (answer.status, answer.json()["code"])


@pytest.mark.parametrize("path", ["pause", "resume"])
async def test_pause_needs_something_that_remembers_it(kit: GatewayKit, path: str) -> None:
    """Where neither a ledger nor the backend keeps the state, the call is not possible."""
    answer = await call(kit.app, "POST", f"/v1/queues/work/{path}")
    assert (501, "ledger_disabled") == (answer.status, answer.json()["code"])


async def test_purge_empties_the_queue(kit: GatewayKit) -> None:
    """What waits and what is delayed goes, and is counted."""
    for task in ({"type": "a"}, {"type": "b", "delay": "1h"}):
        await call(kit.app, "POST", "/v1/queues/tasks/tasks", json=task)
    answer = await call(kit.app, "POST", "/v1/queues/tasks/purge", json={"confirm": "tasks"})
    assert (200, {"purged": 2}) == (answer.status, answer.json())


async def test_purge_has_to_be_confirmed_by_name(kit: GatewayKit) -> None:
    """Another queue's name empties nothing."""
    await call(kit.app, "POST", "/v1/queues/tasks/tasks", json={"type": "a"})
    answer = await call(kit.app, "POST", "/v1/queues/tasks/purge", json={"confirm": "orders"})
    assert (422, "confirmation_mismatch") == (answer.status, answer.json()["code"])
    assert 1 == (await kit.tasks.stats()).approximate_messages


@pytest.mark.parametrize("body", [{}, {"confirm": 1}, {"confirm": "tasks", "force": True}, []])
async def test_purge_takes_the_confirmation_only(kit: GatewayKit, body: object) -> None:
    """Any other body is refused."""
    answer = await call(kit.app, "POST", "/v1/queues/tasks/purge", json=body)
    assert (422, "invalid_task") == (answer.status, answer.json()["code"])


@pytest.mark.parametrize("path", ["pause", "resume", "purge"])
async def test_dead_letter_queue_has_no_switches(kit: GatewayKit, path: str) -> None:
    """Its dead letters belong to the queues they came from."""
    body = {"confirm": "dlq"} if path == "purge" else {}
    answer = await call(kit.app, "POST", f"/v1/queues/dlq/{path}", json=body)
    assert (404, "not_found") == (answer.status, answer.json()["code"])


@pytest.mark.parametrize("path", ["", "/stats", "/pause", "/resume", "/purge"])
async def test_every_call_knows_its_queue(kit: GatewayKit, path: str) -> None:
    """A queue that is not configured answers 404, whatever is asked of it."""
    body = {"confirm": "nope"} if path == "/purge" else {}
    method = "GET" if path in {"", "/stats"} else "POST"
    answer = await call(kit.app, method, f"/v1/queues/nope{path}", json=body)
    assert (404, "queue_not_found") == (answer.status, answer.json()["code"])


class Described(InMemoryQueue):
    """A queue with all attributes that SQS has."""

    async def stats(self) -> QueueStats:
        """Count, and describe."""
        attributes = {"DelaySeconds": "0", "Policy": "{}", "KmsMasterKeyId": "key", "QueueArn": "arn:aws:sqs"}
        return replace(await super().stats(), attributes=attributes)


async def test_stats_show_no_policy_and_no_key(kit: GatewayKit) -> None:
    """They name roles and accounts; of a level too."""
    queue = Described(make_spec("described"), clock=kit.clock, serializer=kit.serializer)
    levels = PriorityQueue(make_spec("levels", QueueKind.PRIORITY), {0: queue})
    kit = GatewayKit(extra={"described": queue, "levels": levels})
    plain = (await call(kit.app, "GET", "/v1/queues/described/stats")).json()
    joined = (await call(kit.app, "GET", "/v1/queues/levels/stats")).json()
    assert {"DelaySeconds": "0"} == plain["attributes"]
    assert {"described.DelaySeconds": "0"} == joined["attributes"]
