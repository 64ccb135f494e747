"""``/v1/schedules``: recurring tasks."""

from typing import Any

import pytest

from tests.support.clock import HOUR, NOW
from tests.support.gateway import GatewayKit
from tests.support.http.application import Answer, call
from tests.support.ledger import LedgerHarness

NIGHTLY = {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "queue": "tasks", "task": {"type": "echo", "payload": 1}}


async def put(kit: GatewayKit, name: str = "nightly", **members: Any) -> Answer:
    """Store a schedule."""
    return await call(kit.app, "PUT", f"/v1/schedules/{name}", json={**NIGHTLY, **members})


async def test_new_schedule_answers_201_and_a_replaced_one_200(remembering: GatewayKit) -> None:
    """Both show the schedule as it counts, defaults included."""
    new = await put(remembering)
    expected = {
        **NIGHTLY,
        "name": "nightly",
        "paused": False,
        "misfire": "skip",
        "next_run_at": "2026-01-01T02:00:00.000000Z",
        "last_run_at": None,
    }
    assert (201, expected) == (new.status, new.json())
    replaced = await put(remembering, misfire="run_once")
    assert (200, {**expected, "misfire": "run_once"}) == (replaced.status, replaced.json())
    assert replaced.json() == (await call(remembering.app, "GET", "/v1/schedules/nightly")).json()


async def test_schedule_tells_when_it_ran(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """And when it runs next."""
    await put(remembering, cron="0 * * * *")
    await harness.clock.advance(HOUR)
    await remembering.scheduling.run_due()
    found = (await call(remembering.app, "GET", "/v1/schedules/nightly")).json()
    ran, runs_next = "2026-01-01T01:00:00.000000Z", "2026-01-01T02:00:00.000000Z"
    assert (ran, runs_next) == (found["last_run_at"], found["next_run_at"])


async def test_paused_schedule_has_no_next_run(remembering: GatewayKit) -> None:
    """It is kept for later."""
    answer = await put(remembering, paused=True)
    assert (201, True, None) == (answer.status, answer.json()["paused"], answer.json()["next_run_at"])


async def test_schedules_are_listed_page_by_page(remembering: GatewayKit) -> None:
    """By name; an unknown cursor is refused."""
    for name in ("b", "c", "a"):
        await put(remembering, name)
    first = (await call(remembering.app, "GET", "/v1/schedules?limit=2")).json()
    second = (await call(remembering.app, "GET", f"/v1/schedules?cursor={first['next_cursor']}")).json()
    assert ["a", "b", "c"] == [found["name"] for found in first["schedules"] + second["schedules"]]
    assert second["next_cursor"] is None
    assert 422 == (await call(remembering.app, "GET", "/v1/schedules?cursor=x")).status


async def test_deleted_schedule_is_gone(remembering: GatewayKit) -> None:
    """The answer has no body, and there is nothing to delete again."""
    await put(remembering)
    answer = await call(remembering.app, "DELETE", "/v1/schedules/nightly")
    assert (204, b"") == (answer.status, answer.body)
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/run")):
        answer = await call(remembering.app, method, f"/v1/schedules/nightly{path}")
        assert (404, "not_found") == (answer.status, answer.json()["code"])


async def test_run_answers_with_the_task(remembering: GatewayKit) -> None:
    """It is in its queue when the answer comes, and can be followed."""
    await put(remembering, paused=True)
    answer = await call(remembering.app, "POST", "/v1/schedules/nightly/run")
    assert (202, "echo", 1, "queued") == (
        answer.status, answer.json()["type"], answer.json()["payload"], answer.json()["status"],
    )  # fmt: skip
    (delivery,) = await remembering.tasks.receive(1, NOW)
    assert delivery.task is not None
    assert f"/v1/tasks/{delivery.task.id}" == answer.headers["location"]
    assert 200 == (await call(remembering.app, "GET", answer.headers["location"])).status


@pytest.mark.parametrize(
    ("members", "loc"),
    [
        ({"cron": "often"}, ["body", "cron"]),
        ({"timezone": "Mars/Olympus"}, ["body", "timezone"]),
        ({"queue": "nowhere"}, ["body", "queue"]),
        ({"misfire": "panic"}, ["body", "misfire"]),
        ({"pausd": True}, ["body", "pausd"]),
        ({"task": []}, ["body", "task"]),
        ({"task": {"type": "echo", "paylod": 1}}, ["body", "task", "paylod"]),
    ],
)
async def test_schedule_that_makes_no_sense_is_refused(
    remembering: GatewayKit, members: dict[str, Any], loc: list[str]
) -> None:
    """Each mistake is named where it stands."""
    answer = await put(remembering, **members)
    assert (422, "invalid_task", loc) == (answer.status, answer.json()["code"], answer.json()["errors"][0]["loc"])


@pytest.mark.parametrize("name", ["a%20b", ".", "..", ".hidden"])
async def test_name_is_plain(remembering: GatewayKit, name: str) -> None:
    """It stands in a path, from which some clients take a dot for something else."""
    assert 422 == (await put(remembering, name)).status


async def test_changes_are_in_the_audit_log(remembering: GatewayKit) -> None:
    """A schedule decides what runs, and where its results go."""
    await put(remembering)
    await call(remembering.app, "POST", "/v1/schedules/nightly/run")
    await call(remembering.app, "DELETE", "/v1/schedules/nightly")
    entries = (await call(remembering.app, "GET", "/v1/audit")).json()["entries"]
    assert [("anonymous", action, "/v1/schedules/nightly") for action in ("delete", "run", "put")] == [
        (entry["actor"], entry["action"], entry["target"]) for entry in entries
    ]


async def test_run_takes_no_members(remembering: GatewayKit) -> None:
    """An option that the call does not have is refused."""
    await put(remembering)
    assert 422 == (await call(remembering.app, "POST", "/v1/schedules/nightly/run", json={"at": 1})).status


async def test_schedules_need_the_ledger(kit: GatewayKit) -> None:
    """Nothing else would remember them."""
    tries = [await put(kit)]
    for method, path in (("GET", ""), ("GET", "/n"), ("DELETE", "/n"), ("POST", "/n/run")):
        tries.append(await call(kit.app, method, f"/v1/schedules{path}"))
    assert {(501, "ledger_disabled")} == {(answer.status, answer.json()["code"]) for answer in tries}
