"""What notifiers send, over real HTTP."""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.notifiers import LogNotifier, SlackNotifier, WebhookNotifier, slack_text
from mcp_queue.domain.callbacks.addresses import ANYWHERE
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterNotice
from mcp_queue.domain.errors import CallbackFailedError, CallbackRejectedError
from mcp_queue.wiring.dead_letters import Uncounted
from tests.support.clock import MINUTE, START
from tests.support.http.receiver import Answer, Receiver

NOTICE = DeadLetterNotice(
    id=1,
    notifier="ops",
    queue="tasks",
    type="order.paid",
    count=1000,
    first_failed_at=START,
    last_failed_at=START + MINUTE,
    examples=({"id": "t-1", "reason": "the callback answered 503"},),
)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Return whom notifiers post to, at an address that no client could name."""
    async with Receiver() as running:
        yield running


@pytest.fixture
async def sender() -> AsyncIterator[AiohttpCallbackSender]:
    """Return what notifiers of a process post by."""
    async with AiohttpCallbackSender(ANYWHERE, SystemClock(), Uncounted()) as opened:
        yield opened


async def test_webhook_gets_everything_as_json(receiver: Receiver, sender: AiohttpCallbackSender) -> None:
    """An operator's own address may be a private one."""
    headers = {"Authorization": "Bearer secret"}
    await WebhookNotifier(sender, receiver.url("/hook"), headers).notify(NOTICE)
    [request] = receiver.requests
    assert ("POST", "/hook", "application/json", "Bearer secret") == (
        request.method,
        request.path,
        request.headers["content-type"],
        request.headers["authorization"],
    )
    assert {
        "event": "dead_letters",
        "queue": "tasks",
        "type": "order.paid",
        "count": 1000,
        "first_failed_at": "2026-01-01T00:00:00.000000Z",
        "last_failed_at": "2026-01-01T00:01:00.000000Z",
        "examples": [{"id": "t-1", "reason": "the callback answered 503"}],
    } == json.loads(request.body)


async def test_slack_gets_a_message(receiver: Receiver, sender: AiohttpCallbackSender) -> None:
    """One text, as an incoming webhook takes it."""
    await SlackNotifier(sender, receiver.url("/services/T/B/x")).notify(NOTICE)
    text = (
        "*1000 tasks of type `order.paid` dead-lettered* in queue `tasks`,"
        " from 2026-01-01 00:00:00 UTC to 2026-01-01 00:01:00 UTC\n"
        "• `t-1`: the callback answered 503"
    )
    assert {"text": text} == json.loads(receiver.requests[0].body)


@pytest.mark.parametrize(("status", "error"), [(503, CallbackFailedError), (404, CallbackRejectedError)])
async def test_refusal_is_an_error(
    receiver: Receiver, sender: AiohttpCallbackSender, status: int, error: type[Exception]
) -> None:
    """Whoever sends it tries again later."""
    receiver.script("/", Answer(status=status))
    with pytest.raises(error):
        await WebhookNotifier(sender, receiver.url("/"), {}).notify(NOTICE)


async def test_log_gets_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """A warning with the same members."""
    await LogNotifier().notify(NOTICE)
    [record] = caplog.records
    assert (logging.WARNING, "tasks", "order.paid", 1000) == (
        record.levelno,
        vars(record)["queue"],
        vars(record)["task_type"],
        vars(record)["count"],
    )


def test_message_cannot_be_forged_by_a_task() -> None:
    """What comes from outside mentions nobody, links nowhere, and stays on its line."""
    examples = ({"id": "<!channel>", "reason": "a\nb `code` <https://evil.example|click> & more " + "x" * 500},)
    notice = replace(NOTICE, type=None, count=1, last_failed_at=START, examples=examples)
    head, example = slack_text(notice).split("\n")
    assert "*1 task dead-lettered* in queue `tasks`, at 2026-01-01 00:00:00 UTC" == head
    assert example.startswith("• `&lt;!channel&gt;`: a b 'code' &lt;https://evil.example|click&gt; &amp; more xxx")
    assert len(example) < 300
