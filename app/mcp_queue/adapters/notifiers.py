"""Notifies people of dead letters: by the log, a webhook or Slack."""

import logging
from collections.abc import Mapping
from datetime import timedelta

from typing_extensions import override

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterNotice
from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.ports import CallbackRequest, CallbackSender, Notifier

logger = logging.getLogger(__name__)

_TIMEOUT = timedelta(seconds=10)
#: Longest reason that one line of a message repeats.
_REASON = 200


class LogNotifier(Notifier):
    """Writes a log line."""

    @override
    async def notify(self, notice: DeadLetterNotice) -> None:
        extra = {
            "queue": notice.queue,
            "task_type": notice.type,
            "count": notice.count,
            "first_failed_at": format_time(notice.first_failed_at),
            "last_failed_at": format_time(notice.last_failed_at),
            "examples": [dict(example) for example in notice.examples],
        }
        logger.warning("dead letters", extra=extra)


class WebhookNotifier(Notifier):
    """Posts JSON to a URL."""

    def __init__(self, sender: CallbackSender, url: str, headers: Mapping[str, str]) -> None:
        self._sender = sender
        self._url = url
        self._headers = headers

    @override
    async def notify(self, notice: DeadLetterNotice) -> None:
        content = {
            "event": "dead_letters",
            "queue": notice.queue,
            "type": notice.type,
            "count": notice.count,
            "first_failed_at": format_time(notice.first_failed_at),
            "last_failed_at": format_time(notice.last_failed_at),
            "examples": [dict(example) for example in notice.examples],
        }
        await post(self._sender, self._url, content, self._headers)


class SlackNotifier(Notifier):
    """Posts a message as Slack's incoming webhooks take it, and those of Mattermost and others."""

    def __init__(self, sender: CallbackSender, url: str) -> None:
        self._sender = sender
        self._url = url

    @override
    async def notify(self, notice: DeadLetterNotice) -> None:
        await post(self._sender, self._url, {"text": slack_text(notice)}, {})


def slack_text(notice: DeadLetterNotice) -> str:
    """Return ``notice`` in Slack's own markup; what comes from tasks can neither mention anybody nor link."""
    tasks = "1 task" if notice.count == 1 else f"{notice.count} tasks"
    kind = f" of type `{_plain(notice.type)}`" if notice.type is not None else ""
    head = f"*{tasks}{kind} dead-lettered* in queue `{_plain(notice.queue)}`, {_span(notice)}"
    examples = [f"• `{_plain(one['id'])}`: {_plain(one['reason'])}" for one in notice.examples]
    return "\n".join([head, *examples])


async def post(sender: CallbackSender, url: str, content: object, headers: Mapping[str, str]) -> None:
    """Post ``content`` as JSON; raises as ``CallbackSender.send`` does."""
    await sender.send(
        CallbackRequest(
            url=url,
            body=dumps(content).encode(),
            timeout=_TIMEOUT,
            headers={"Content-Type": "application/json", **headers},
        )
    )


def _span(notice: DeadLetterNotice) -> str:
    first, last = (f"{moment:%Y-%m-%d %H:%M:%S} UTC" for moment in (notice.first_failed_at, notice.last_failed_at))
    return f"at {first}" if first == last else f"from {first} to {last}"


def _plain(text: str) -> str:
    # https://docs.slack.dev/messaging/formatting-message-text#escaping
    cut = text if len(text) <= _REASON else f"{text[:_REASON]}…"
    line = " ".join(cut.replace("`", "'").split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
