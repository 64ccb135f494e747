"""``tasks enqueue`` against a real HTTP server."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.processes.cli import PATIENCE, PretendedGateway, Received, environment, problem, run_cli

TASK = {"id": "0198", "queue": "tasks", "status": "queued", "type": "echo"}
BATCH = "/v1/queues/tasks/tasks/batch"


def accept_lines(received: Received) -> web.Response:
    """Accept every task of a batch but those of the type ``bad``."""
    results: list[dict[str, Any]] = []
    for index, line in enumerate(received.body.splitlines()):
        if json.loads(line)["type"] == "bad":
            error = {"code": "invalid_task", "detail": "type: [not] known"}
            results.append({"index": index, "status": 422, "error": error})
        else:
            results.append({"index": index, "status": 202, "id": str(index)})
    failed = sum("error" in result for result in results)
    answer = {"accepted": len(results) - failed, "failed": failed, "results": results}
    return web.json_response(answer, status=207 if failed else 202)


async def test_a_task_is_submitted(gateway: PretendedGateway) -> None:
    """The shortest command sends a type and a payload, and prints the id."""
    gateway.on("POST", "/v1/queues/tasks/tasks", web.json_response(TASK, status=202))

    done = await gateway.run_cli("tasks", "enqueue", "tasks", "echo", "--payload", '{"hello": "world"}')

    assert (0, "0198 is queued in tasks\n", "") == (done.exit_code, done.out, done.err)
    (request,) = gateway.requests
    assert {"type": "echo", "payload": {"hello": "world"}} == json.loads(request.body)
    assert "Authorization" not in request.headers


async def test_every_member_of_a_task_has_an_option(gateway: PretendedGateway) -> None:
    """What the contract knows can be said on the command line; the key goes into the header."""
    gateway.on("POST", "/v1/queues/a%2Fb/tasks", web.json_response({**TASK, "deduplicated": True}, status=202))

    done = await gateway.run_cli(
        "tasks", "enqueue", "a/b", "echo", "--priority", "3", "--metadata", "a=1", "--metadata", "b=x=y",
        "--delay", "90s", "--expires-at", "2031-01-01T00:00:00Z", "--max-retries", "0", "--visibility-timeout", "5m",
        "--callback-url", "https://example.com/", "--group", "g", "--deduplication-id", "d", "--idempotency-key", "k",
        MCP_QUEUE_KEY="hunter2",
    )  # fmt: skip

    assert "0198 is queued in tasks (submitted before)\n" == done.out
    (request,) = gateway.requests
    assert {
        "type": "echo",
        "priority": 3,
        "metadata": {"a": "1", "b": "x=y"},
        "delay": "90s",
        "expires_at": "2031-01-01T00:00:00Z",
        "max_retries": 0,
        "visibility_timeout": "5m",
        "callback_url": "https://example.com/",
        "group": "g",
        "deduplication_id": "d",
    } == json.loads(request.body)
    assert ("Bearer hunter2", "k") == (request.headers["Authorization"], request.headers["Idempotency-Key"])


async def test_json_output_is_the_answer(gateway: PretendedGateway) -> None:
    """Programs get the task as the gateway sent it."""
    gateway.on("POST", "/v1/queues/tasks/tasks", web.json_response(TASK, status=202))

    done = await gateway.run_cli("tasks", "enqueue", "tasks", "echo", "--json")

    assert TASK == json.loads(done.out)


async def test_a_refusal_is_shown_as_code_and_detail(gateway: PretendedGateway) -> None:
    """Nothing but what helps is printed."""
    gateway.on("POST", "/v1/queues/nope/tasks", problem(404, "queue_not_found", "there is no queue named 'nope'"))

    done = await gateway.run_cli("tasks", "enqueue", "nope", "echo")

    assert (1, "", "queue_not_found: there is no queue named 'nope'\n") == (done.exit_code, done.out, done.err)


async def test_a_gateway_that_does_not_answer_is_one_line(gateway: PretendedGateway) -> None:
    """No traceback; the address is named without the credentials in it."""
    done = await run_cli("tasks", "enqueue", "tasks", "echo", MCP_QUEUE_URL="http://127.0.0.1:1")

    assert (1, "") == (done.exit_code, done.out)
    assert done.err.startswith("the gateway at http://127.0.0.1:1 does not answer: ")
    assert 1 == done.err.count("\n")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (web.Response(status=502, text="<html>"), "502: Bad Gateway\n"),
        (web.Response(status=302, headers={"Location": "/login"}), "302: Found\n"),
        (web.Response(text="<html>"), "is no gateway of this project: its answer is not JSON\n"),
    ],
)
async def test_something_else_that_answers_is_one_line(
    gateway: PretendedGateway, answer: web.Response, expected: str
) -> None:
    """A proxy's page is not printed."""
    gateway.on("POST", "/v1/queues/tasks/tasks", lambda _: answer)

    done = await gateway.run_cli("tasks", "enqueue", "tasks", "echo")

    assert 1 == done.exit_code
    assert done.err.endswith(expected)
    assert 1 == done.err.count("\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tasks"], "name a QUEUE and a TYPE, or a --file"),
        (["tasks", "echo", "--payload", "{"], "--payload"),
        (["tasks", "echo", "--metadata", "a"], "'a' is not NAME=TEXT"),
        (["tasks", "echo", "--priority", "4"], "--priority"),
        (["tasks", "--file", "nowhere.ndjson"], "nowhere.ndjson"),
        (["tasks", "echo", "--file", "-"], "the lines of the file say everything about their tasks"),
        (["tasks", "--priority", "1", "--file", "-"], "the lines of the file say everything about their tasks"),
    ],
)
async def test_wrong_usage_is_exit_code_2(arguments: list[str], expected: str) -> None:
    """It is told apart from a task that was refused."""
    done = await run_cli("tasks", "enqueue", *arguments)

    assert 2 == done.exit_code
    assert expected in done.err


async def test_a_wrong_address_of_the_gateway_is_exit_code_2() -> None:
    """The line names the variable."""
    done = await run_cli("queues", "list", MCP_QUEUE_URL="gateway")

    assert (2, "MCP_QUEUE_URL: 'gateway' is no http or https URL\n") == (done.exit_code, done.err)


@pytest.mark.parametrize(
    "arguments", [["queues", "stats", "\udcff"], ["tasks", "show", "\udcff"], ["schedules", "show", "\udcff"]]
)
async def test_names_that_are_no_text_are_the_gateways_to_refuse(
    gateway: PretendedGateway, arguments: list[str]
) -> None:
    """A shell passes on whatever bytes it was given."""
    done = await gateway.run_cli(*arguments)

    assert (1, "not_found: there is no such route\n") == (done.exit_code, done.err)
    assert "%FF" in gateway.requests[-1].path


async def test_a_header_with_a_line_break_is_not_sent(gateway: PretendedGateway) -> None:
    """One line says so, and no traceback."""
    done = await gateway.run_cli("tasks", "enqueue", "tasks", "echo", "--idempotency-key", "a\nb")

    assert (1, []) == (done.exit_code, gateway.requests)
    assert done.err.startswith("this cannot be sent: ")
    assert 1 == len(done.err.splitlines())


async def test_a_payload_with_a_member_twice_is_refused(gateway: PretendedGateway) -> None:
    """The command line reads JSON as the gateway does, which would never see the first of the two."""
    done = await gateway.run_cli("tasks", "enqueue", "tasks", "echo", "--payload", '{"a": 1, "a": 2}')

    assert (2, []) == (done.exit_code, gateway.requests)
    assert "member 'a' stands twice" in done.err


async def test_a_file_goes_in_batches_of_a_thousand(gateway: PretendedGateway, tmp_path: Path) -> None:
    """No batch is larger than the gateway takes; blank lines are no tasks."""
    gateway.on("POST", BATCH, accept_lines)
    path = tmp_path / "tasks.ndjson"
    path.write_text("\n".join('{"type": "echo"}\n' for _ in range(2500)))

    done = await gateway.run_cli("tasks", "enqueue", "--file", str(path))

    assert (0, "2500 tasks submitted to tasks, 0 refused\n", "") == (done.exit_code, done.out, done.err)
    assert [1000, 1000, 500] == [len(request.body.splitlines()) for request in gateway.requests]
    assert {"application/x-ndjson"} == {request.headers["Content-Type"] for request in gateway.requests}


async def test_a_batch_stays_within_what_a_request_takes(gateway: PretendedGateway, tmp_path: Path) -> None:
    """Large tasks make small batches."""
    gateway.on("POST", BATCH, accept_lines)
    path = tmp_path / "tasks.ndjson"
    line = json.dumps({"type": "echo", "payload": "x" * 3_000_000})
    path.write_text("\n".join([line] * 7))

    done = await gateway.run_cli("tasks", "enqueue", "tasks", "--file", str(path))

    assert 0 == done.exit_code
    assert [5, 2] == [len(request.body.splitlines()) for request in gateway.requests]


async def test_refused_lines_are_named(gateway: PretendedGateway, tmp_path: Path) -> None:
    """Each wrong line can be found, in whichever batch it went; the others are accepted."""
    gateway.on("POST", BATCH, accept_lines)
    path = tmp_path / "tasks.ndjson"
    lines = ['{"type": "echo"}'] * 1200
    lines[4] = lines[1100] = '{"type": "bad"}'
    path.write_text("\n".join(lines))

    done = await gateway.run_cli("tasks", "enqueue", "--file", str(path))

    assert (1, "1198 tasks submitted to tasks, 2 refused\n") == (done.exit_code, done.out)
    assert [
        f"{path}:5: invalid_task: type: [not] known",
        f"{path}:1101: invalid_task: type: [not] known",
    ] == done.err.splitlines()


async def test_tasks_come_from_the_standard_input_too(gateway: PretendedGateway) -> None:
    """Pipelines need no file."""
    gateway.on("POST", BATCH, accept_lines)

    done = await gateway.run_cli(
        "tasks", "enqueue", "--file", "-", "--json", stdin=b'{"type": "echo"}\r\n{"type": "bad"}\r\n'
    )

    assert (1, {"accepted": 1, "failed": 1}) == (done.exit_code, json.loads(done.out))
    assert "<stdin>:2: invalid_task: type: [not] known\n" == done.err


async def test_a_busy_gateway_is_asked_again(gateway: PretendedGateway) -> None:
    """Where nothing of a batch was taken, sending it again cannot double a task."""
    busy = iter([problem(429, "rate_limited", "wait", {"Retry-After": "0"}), problem(503, "overloaded", "wait")])
    gateway.on("POST", BATCH, lambda received: next(busy, None) or accept_lines(received))

    done = await gateway.run_cli("tasks", "enqueue", "--file", "-", stdin=b'{"type": "echo"}')

    assert (0, 3) == (done.exit_code, len(gateway.requests))


async def test_a_batch_that_may_have_been_taken_is_not_sent_again(gateway: PretendedGateway) -> None:
    """The lines whose fate is unknown are named instead."""
    gateway.on("POST", BATCH, problem(503, "backend_unavailable", "SQS does not answer", {"Retry-After": "1"}))

    done = await gateway.run_cli("tasks", "enqueue", "--file", "-", stdin=b'{"type": "echo"}\n' * 3)

    assert (1, 1) == (done.exit_code, len(gateway.requests))
    assert "lines 1 to 3 are not confirmed: backend_unavailable: SQS does not answer\n" == done.err


async def test_a_batch_that_is_too_large_goes_in_parts(gateway: PretendedGateway) -> None:
    """Few bytes may hold more values than a request takes; a line that is too large by itself is named."""

    def picky(received: Received) -> web.Response:
        lines = received.body.splitlines()
        if len(lines) > 2 or b"huge" in received.body:
            return problem(413, "request_too_large", "more than 250000 values")
        return accept_lines(received)

    gateway.on("POST", BATCH, picky)
    lines = [b'{"type": "echo"}'] * 5 + [b'{"type": "huge"}', b'{"type": "bad"}']

    done = await gateway.run_cli("tasks", "enqueue", "--file", "-", stdin=b"\n".join(lines))

    assert (1, "5 tasks submitted to tasks, 2 refused\n") == (done.exit_code, done.out)
    assert [
        "<stdin>:6: request_too_large: more than 250000 values",
        "<stdin>:7: invalid_task: type: [not] known",
    ] == done.err.splitlines()


async def test_what_a_part_was_answered_is_told_though_the_next_is_not(gateway: PretendedGateway) -> None:
    """Refused lines of a part that was taken are not lost with the other's silence."""
    silent = problem(503, "backend_unavailable", "SQS does not answer")

    def picky(received: Received) -> web.Response:
        if len(received.body.splitlines()) > 2:
            return problem(413, "request_too_large", "more than 250000 values")
        return accept_lines(received) if b"bad" in received.body else silent

    gateway.on("POST", BATCH, picky)
    lines = [b'{"type": "echo"}', b'{"type": "bad"}', b'{"type": "echo"}', b'{"type": "echo"}']

    done = await gateway.run_cli("tasks", "enqueue", "--file", "-", stdin=b"\n".join(lines))

    assert 1 == done.exit_code
    assert [
        "<stdin>:2: invalid_task: type: [not] known",
        "lines 3 to 4 are not confirmed: backend_unavailable: SQS does not answer",
    ] == done.err.splitlines()


async def test_a_reason_tells_no_line_of_the_batch(gateway: PretendedGateway) -> None:
    """The gateway counts the lines that it was sent, from 0; the user knows those of the file, from 1."""
    error = {"code": "invalid_task", "detail": "1.x: there is no such member"}
    results = [{"index": 0, "status": 202, "id": "0"}, {"index": 1, "status": 422, "error": error}]
    gateway.on("POST", BATCH, web.json_response({"accepted": 1, "failed": 1, "results": results}, status=207))

    done = await gateway.run_cli("tasks", "enqueue", "--file", "-", stdin=b'{"type": "a"}\n{"type": "b", "x": 1}')

    assert "<stdin>:2: invalid_task: x: there is no such member\n" == done.err


async def test_a_byte_order_mark_is_no_part_of_the_first_task(gateway: PretendedGateway) -> None:
    """Some editors put one in front of what they write in UTF-8."""
    gateway.on("POST", BATCH, accept_lines)

    done = await gateway.run_cli("tasks", "enqueue", "--file", "-", stdin=b'\xef\xbb\xbf{"type": "echo"}\n')

    assert (0, "1 tasks submitted to tasks, 0 refused\n") == (done.exit_code, done.out)


async def test_an_interrupted_submission_says_how_far_it_came(gateway: PretendedGateway) -> None:
    """Ctrl-C names the lines whose fate is unknown, so that nobody has to submit everything again."""
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mcp_queue", "tasks", "enqueue", "--file", "-",
        env=environment(MCP_QUEUE_URL=gateway.url),
        stdin=PIPE,
        stderr=PIPE,
        # Whoever started this suite in the background has it ignore Ctrl-C; a terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip

    def take_one(received: Received) -> web.Response:
        if len(gateway.requests) == 1:
            return accept_lines(received)
        command.send_signal(signal.SIGINT)
        return problem(429, "queue_full", "wait", {"Retry-After": "30"})

    gateway.on("POST", BATCH, take_one)
    _, err = await asyncio.wait_for(command.communicate(b'{"type": "echo"}\n' * 1500), PATIENCE)

    assert 130 == command.returncode
    assert b"lines 1001 to 1500 are not confirmed: interrupted; 1000 tasks were submitted before\n" == err
