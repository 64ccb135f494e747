"""``/v1/queues/{queue}/dlq`` and ``/v1/redrives``, with a ledger and without."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.task import Task, TaskStatus
from tests.support.clock import NOW, SECOND, START
from tests.support.dead_letters import dead_letters
from tests.support.gateway import GatewayKit
from tests.support.http.application import Answer, call
from tests.support.ledger import ledger_harness, sqlite_url
from tests.support.tasks import a_dead_letter, a_task, an_end

DLQ = "/v1/queues/tasks/dlq"


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[GatewayKit]:
    """Return a gateway over a ledger."""
    async with sqlite_url(tmp_path) as url, ledger_harness(url) as harness:
        yield GatewayKit(harness=harness)


async def store(kit: GatewayKit, *failed: DeadLetter) -> None:
    """Put dead letters into the ledger."""
    assert kit.harness is not None
    await kit.harness.ledger.dead_letters.store_dead_letters(failed)


async def dead_letter(kit: GatewayKit, task: Task) -> None:
    """Dead-letter a task of the queue ``tasks``."""
    await kit.tasks.enqueue(task)
    (delivery,) = await kit.tasks.receive(1, NOW)
    await kit.tasks.dead_letter(delivery, dead_letter_message(task, "it broke", kit.clock.now(), "tasks"))


async def send(kit: GatewayKit, method: str, path: str, body: object = None) -> Answer:
    """Make a request, with a JSON body where there is one."""
    if body is None:
        return await call(kit.app, method, path)
    return await call(kit.app, method, path, json=body)


async def test_summary_counts_what_waits(stored: GatewayKit) -> None:
    """Stored or not yet stored: the figure is one, here and in the queue's counts."""
    await store(stored, *dead_letters(2))
    await dead_letter(stored, a_task())
    expected = {"queue_name": "tasks", "approximate_messages": 3, "oldest_failed_at": "2025-12-31T23:59:58.000000Z"}
    assert expected == (await call(stored.app, "GET", DLQ)).json()
    assert 3 == (await call(stored.app, "GET", "/v1/queues/tasks/stats")).json()["dead_letters"]


async def test_list_shows_what_an_operator_needs(stored: GatewayKit) -> None:
    """Why, when, from where, after how many attempts, and the last answer; no payload."""
    task = a_task("t", payload={"big": 1}, metadata={"team": "a"}, max_retries=5, group="g")
    await store(stored, a_dead_letter(task, attempts=6, response_status=503))
    expected = {
        "id": "t",
        "type": "embedding",
        "failure_reason": "it broke",
        "failed_at": "2026-01-01T00:00:00.000000Z",
        "original_queue": "tasks",
        "attempts": 6,
        "response_status": 503,
        "redrive_count": 0,
        "priority": 0,
        "metadata": {"team": "a"},
        "created_at": "2026-01-01T00:00:00.000000Z",
        "max_retries": 5,
        "callback_url": None,
        "group": "g",
    }
    answer = await call(stored.app, "GET", f"{DLQ}/tasks")
    assert (200, {"tasks": [expected], "next_cursor": None}) == (answer.status, answer.json())


async def test_list_is_filtered_and_paged(stored: GatewayKit) -> None:
    """Cursors lead through all pages of a filter."""
    await store(
        stored,
        *(a_dead_letter(a_task(f"t{number}"), failed_at=START + number * SECOND) for number in range(5)),
        a_dead_letter(a_task("x"), failure_reason="timeout"),
    )
    shown, path = [], f"{DLQ}/tasks?reason=BROKE&failed_after=2026-01-01T00:00:00Z&limit=3"
    page = (await call(stored.app, "GET", path)).json()
    shown += [dead_letter["id"] for dead_letter in page["tasks"]]
    page = (await call(stored.app, "GET", f"{path}&cursor={page['next_cursor']}")).json()
    shown += [dead_letter["id"] for dead_letter in page["tasks"]]
    assert (["t4", "t3", "t2", "t1"], None) == (shown, page["next_cursor"])
    assert [] == (await call(stored.app, "GET", f"{DLQ}/tasks?type=other")).json()["tasks"]


async def test_cursor_of_another_list_is_refused(stored: GatewayKit) -> None:
    """It would show a page from an unrelated place."""
    await store(stored, a_dead_letter(a_task("t1")), a_dead_letter(a_task("t2")))
    cursor = (await call(stored.app, "GET", f"{DLQ}/tasks?limit=1")).json()["next_cursor"]
    assert 200 == (await call(stored.app, "GET", f"{DLQ}/tasks?cursor={cursor}")).status
    assert 422 == (await call(stored.app, "GET", f"/v1/tasks?cursor={cursor}")).status


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("limit=0", ["query", "limit"]),
        ("limit=201", ["query", "limit"]),
        ("limit=ten", ["query", "limit"]),
        ("cursor=nonsense", ["query", "cursor"]),
        ("failed_after=yesterday", ["query", "failed_after"]),
        ("reasons=x", ["query", "reasons"]),
        ("type=", ["query", "type"]),
        ("type=a&type=b", ["query", "type"]),
        ("reason=%FF", ["query"]),
        ("&".join(f"a{number}=1" for number in range(30)), ["query"]),
    ],
)
async def test_query_that_says_nothing_sensible_is_refused(stored: GatewayKit, query: str, loc: list[str]) -> None:
    """A misspelt option never passes silently."""
    answer = await call(stored.app, "GET", f"{DLQ}/tasks?{query}")
    assert (422, "invalid_task", loc) == (answer.status, answer.json()["code"], answer.json()["errors"][0]["loc"])


async def test_one_comes_with_payload_and_history(stored: GatewayKit) -> None:
    """Each attempt with its time, its end and its answer."""
    assert stored.harness is not None
    task = a_task("t", payload={"n": 1})
    end = an_end(task, TaskStatus.DEAD_LETTERED, error="it broke", response_status=503)
    await stored.harness.ledger.executions.record(end)
    await store(stored, a_dead_letter(task))
    answer = (await call(stored.app, "GET", f"{DLQ}/tasks/t")).json()
    attempt = {
        "attempt": 1,
        "started_at": "2026-01-01T00:00:00.000000Z",
        "duration": 2,
        "status": "dead_lettered",
        "error": "it broke",
        "response_status": 503,
    }
    assert ({"n": 1}, [attempt], 503) == (answer["payload"], answer["history"], answer["response_status"])
    assert "body" not in answer


async def test_body_that_is_no_task_is_shown_as_it_came(stored: GatewayKit) -> None:
    """Any of the queues with that dead-letter queue may have sent it, and can delete it."""
    dead_letter = DeadLetter(
        task_id="m", redrive_count=0, queue="dlq", failure_reason="not JSON", failed_at=START, body="{oops"
    )
    await store(stored, dead_letter)
    for queue in ("tasks", "orders"):
        shown = (await call(stored.app, "GET", f"/v1/queues/{queue}/dlq/tasks/m")).json()
        assert (None, "{oops", None, None) == (
            shown["type"],
            shown["body"],
            shown["payload"],
            shown["original_queue"],
        )
    answer = await call(stored.app, "POST", f"{DLQ}/tasks/m/redrive")
    assert (422, "invalid_task") == (answer.status, answer.json()["code"])
    assert "can only be deleted" in answer.json()["detail"]
    assert 204 == (await call(stored.app, "DELETE", f"{DLQ}/tasks/m")).status
    assert 404 == (await call(stored.app, "GET", f"{DLQ}/tasks/m")).status


@pytest.mark.parametrize("body", [None, {}])
async def test_one_goes_back_to_its_queue(stored: GatewayKit, body: object) -> None:
    """The answer is the task, queued under its old id; edits are optional."""
    await store(stored, a_dead_letter(a_task("t", payload=1, retry_count=3)))
    answer = await send(stored, "POST", f"{DLQ}/tasks/t/redrive", body)
    task = answer.json()
    assert (200, "t", "queued", 0, 1) == (
        answer.status,
        task["id"],
        task["status"],
        task["retry_count"],
        task["payload"],
    )
    assert 1 == (await stored.tasks.stats()).approximate_messages
    again = await call(stored.app, "POST", f"{DLQ}/tasks/t/redrive")
    assert (404, "task_not_found") == (again.status, again.json()["code"])


async def test_one_is_edited_on_its_way(stored: GatewayKit) -> None:
    """Edits keep to the rules of new tasks."""
    await store(stored, a_dead_letter(a_task("t", type="job", payload=1)))
    path = f"{DLQ}/tasks/t/redrive"
    for wrong in ({"callback_url": "http://localhost/"}, {"max_retries": 101}, {"priority": 3}, {"metadata": {"a": 1}}):
        answer = await call(stored.app, "POST", path, json=wrong)
        assert (422, "invalid_task") == (answer.status, answer.json()["code"])
    edits = {"payload": {"n": 2}, "metadata": {"a": "1"}, "callback_url": "https://example.com/", "max_retries": 7}
    task = (await call(stored.app, "POST", path, json=edits)).json()
    assert edits == {name: task[name] for name in edits}


async def test_many_are_redriven_or_only_counted(stored: GatewayKit) -> None:
    """Up to 1,000 at once: the answer says what became of each that was refused."""
    await store(stored, *dead_letters(3), DeadLetter(
        task_id="m", redrive_count=0, queue="tasks", failure_reason="not JSON", failed_at=START, body="{"
    ))  # fmt: skip
    answer = await call(stored.app, "POST", f"{DLQ}/redrive", json={"all": True, "dry_run": True})
    assert (200, {"matched": 4, "redriven": 0, "failed": []}) == (answer.status, answer.json())
    answer = await call(stored.app, "POST", f"{DLQ}/redrive", json={"filter": {"reason": "not json"}})
    [failed] = answer.json()["failed"]
    assert (1, 0, "m", "invalid_task") == (
        answer.json()["matched"],
        answer.json()["redriven"],
        failed["id"],
        failed["code"],
    )
    answer = await call(stored.app, "POST", f"{DLQ}/redrive", json={"ids": ["nobody"]})
    assert {"matched": 0, "redriven": 0, "failed": []} == answer.json()
    answer = await call(stored.app, "POST", f"{DLQ}/redrive", json={"filter": {"type": "embedding"}})
    assert {"matched": 3, "redriven": 3, "failed": []} == answer.json()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": False},
        {"all": True, "ids": ["a"]},
        {"ids": []},
        {"ids": ["a"] * 1001},
        {"ids": [1]},
        {"filter": {}},
        {"filter": {"reasons": "x"}},
        {"all": True, "max_per_second": 0},
        {"all": True, "max_per_second": True},
        {"all": True, "max_per_second": "fast"},
        {"all": True, "dry_run": "yes"},
        [],
    ],
)
async def test_redrive_of_many_says_exactly_which(stored: GatewayKit, body: object) -> None:
    """An empty filter is no way to say all."""
    answer = await call(stored.app, "POST", f"{DLQ}/redrive", json=body)
    assert (422, "invalid_task") == (answer.status, answer.json()["code"])


async def test_redrive_at_a_rate_is_a_resource(stored: GatewayKit) -> None:
    """It can be watched and stopped."""
    await store(stored, *dead_letters(3))
    answer = await call(stored.app, "POST", f"{DLQ}/redrive", json={"all": True, "max_per_second": 2})
    view = answer.json()
    assert (202, f"/v1/redrives/{view['id']}") == (answer.status, answer.headers["location"])
    assert ("running", 3, 0, 0) == (view["status"], view["matched"], view["redriven"], view["failed"])
    assert view == (await call(stored.app, "GET", answer.headers["location"])).json()
    canceled = await call(stored.app, "POST", f"{answer.headers['location']}/cancel")
    assert (200, "canceled") == (canceled.status, canceled.json()["status"])
    unknown = await call(stored.app, "GET", "/v1/redrives/nobody")
    assert (404, "not_found") == (unknown.status, unknown.json()["code"])


async def test_purge_is_confirmed_by_the_name(stored: GatewayKit) -> None:
    """Dead letters of other queues are not touched."""
    await store(stored, *dead_letters(3), *dead_letters(1, queue="orders"))
    wrong = await call(stored.app, "POST", f"{DLQ}/purge", json={"confirm": "orders"})
    assert (422, "confirmation_mismatch") == (wrong.status, wrong.json()["code"])
    answer = await call(stored.app, "POST", f"{DLQ}/purge", json={"confirm": "tasks"})
    assert (200, {"purged": 3}) == (answer.status, answer.json())
    assert 1 == (await call(stored.app, "GET", "/v1/queues/orders/dlq")).json()["approximate_messages"]


async def test_every_action_is_audited(stored: GatewayKit) -> None:
    """Who, what, to what and how many; reading is no action, and neither is a dry run."""
    failed = dead_letters(6)
    one, two = failed[0].task_id, failed[1].task_id
    await store(stored, *failed)
    for method, path, body in (
        ("GET", f"{DLQ}/tasks", None),
        ("POST", f"{DLQ}/redrive", {"all": True, "dry_run": True}),
        ("POST", f"{DLQ}/tasks/{one}/redrive", {}),
        ("DELETE", f"{DLQ}/tasks/{two}", None),
        ("POST", f"{DLQ}/redrive", {"ids": [failed[2].task_id]}),
        ("POST", f"{DLQ}/purge", {"confirm": "tasks"}),
        ("POST", "/v1/queues/tasks/pause", {}),
        ("POST", "/v1/queues/tasks/resume", {}),
        ("POST", "/v1/queues/tasks/purge", {"confirm": "tasks"}),
    ):
        assert (await send(stored, method, path, body)).status < 300
    page = (await call(stored.app, "GET", "/v1/audit?limit=4")).json()
    rest = (await call(stored.app, "GET", f"/v1/audit?cursor={page['next_cursor']}")).json()
    entries = [*page["entries"], *rest["entries"]]
    assert {"anonymous"} == {entry["actor"] for entry in entries}
    assert [
        ("purge", "/v1/queues/tasks", 2),
        ("resume", "/v1/queues/tasks", None),
        ("pause", "/v1/queues/tasks", None),
        ("purge", DLQ, 3),
        ("redrive", DLQ, 1),
        ("delete", f"{DLQ}/tasks/{two}", 1),
        ("redrive", f"{DLQ}/tasks/{one}", 1),
    ] == [(entry["action"], entry["target"], entry["count"]) for entry in entries]


@pytest.mark.parametrize("path", ["", "/tasks", "/tasks/t"])
@pytest.mark.parametrize(("queue", "code"), [("nope", "queue_not_found"), ("dlq", "not_found")])
async def test_every_view_knows_its_queue(kit: GatewayKit, path: str, queue: str, code: str) -> None:
    """A queue that holds the dead letters of others has no view of its own."""
    answer = await call(kit.app, "GET", f"/v1/queues/{queue}/dlq{path}")
    assert (404, code) == (answer.status, answer.json()["code"])


async def test_without_a_ledger_the_list_is_a_sample(kit: GatewayKit) -> None:
    """It says so, and changes nothing."""
    await dead_letter(kit, a_task("t"))
    answer = (await call(kit.app, "GET", f"{DLQ}/tasks")).json()
    assert (["t"], True, None) == (
        [dead_letter["id"] for dead_letter in answer["tasks"]],
        answer["sampled"],
        answer["next_cursor"],
    )
    summary = (await call(kit.app, "GET", DLQ)).json()
    assert (1, None) == (summary["approximate_messages"], summary["oldest_failed_at"])
    assert [] == (await call(kit.app, "GET", f"{DLQ}/tasks/t")).json()["history"]


async def test_without_a_ledger_dead_letters_are_taken_out_of_their_queue(kit: GatewayKit) -> None:
    """One, or all that are found; the answer says that there may be others."""
    for task_id in ("a", "b", "c"):
        await dead_letter(kit, a_task(task_id))
    assert 200 == (await call(kit.app, "POST", f"{DLQ}/tasks/a/redrive")).status
    assert 204 == (await call(kit.app, "DELETE", f"{DLQ}/tasks/b")).status
    answer = await call(kit.app, "POST", f"{DLQ}/redrive", json={"all": True})
    assert {"matched": 1, "redriven": 1, "failed": [], "sampled": True} == answer.json()
    assert (0, 2) == (
        (await kit.dlq.stats()).approximate_messages,
        (await kit.tasks.stats()).approximate_messages,
    )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{DLQ}/redrive", {"all": True, "max_per_second": 5}),
        ("POST", f"{DLQ}/purge", {"confirm": "tasks"}),
        ("GET", f"{DLQ}/tasks?cursor=abc", None),
        ("GET", "/v1/redrives/0198", None),
        ("POST", "/v1/redrives/0198/cancel", {}),
        ("GET", "/v1/audit", None),
    ],
)
async def test_what_cannot_be_done_without_a_ledger_says_why(
    kit: GatewayKit, method: str, path: str, body: object
) -> None:
    """501 is not a failure: it is this set-up."""
    answer = await send(kit, method, path, body)
    assert (501, "ledger_disabled") == (answer.status, answer.json()["code"])
    assert answer.json()["detail"]


@pytest.mark.parametrize("path", ["/tasks", "/tasks/t"])
async def test_queue_without_a_dead_letter_queue_says_so(kit: GatewayKit, path: str) -> None:
    """It has nothing to do with the ledger, so the code does not name that."""
    answer = await call(kit.app, "GET", f"/v1/queues/work/dlq{path}")
    assert (501, "not_supported") == (answer.status, answer.json()["code"])
    assert "'work' has no dead-letter queue" in answer.json()["detail"]
