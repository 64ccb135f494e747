"""Moves all messages of a dead-letter queue back by SQS's own means, one move at a time."""

from collections.abc import Mapping
from typing import Any, Final

from typing_extensions import override

from mcp_queue.adapters.sqs.api.client import SqsClient
from mcp_queue.adapters.sqs.setup.info import QueueInfo
from mcp_queue.domain.dead_letters.dead_letter import RedriveStatus
from mcp_queue.domain.dead_letters.reading import RedriveProgress
from mcp_queue.domain.errors import NotSupportedError, RateLimitedError
from mcp_queue.ports import MessageMover

_STATUSES: Final = {
    "RUNNING": RedriveStatus.RUNNING,
    "CANCELLING": RedriveStatus.RUNNING,
    "COMPLETED": RedriveStatus.COMPLETED,
    "CANCELLED": RedriveStatus.CANCELED,
    "FAILED": RedriveStatus.FAILED,
}
#: The rates that SQS knows, in messages a second.
_RATES: Final = range(1, 501)


class SqsMover(MessageMover):
    """Moves from one dead-letter queue to one queue."""

    def __init__(self, calls: SqsClient, *, dead_letters: QueueInfo, target: QueueInfo) -> None:
        self._calls = calls
        self._dead_letters = dead_letters
        self._target = target

    @override
    async def start(self, max_per_second: float | None) -> None:
        if self._target.redrive is None or self._target.redrive.target_arn != self._dead_letters.arn:
            raise NotSupportedError("SQS moves only from the queue that a redrive policy names")
        # Dead letters that we sent there ourselves have no source at SQS, so the target is given.
        request: dict[str, Any] = {"SourceArn": self._dead_letters.arn, "DestinationArn": self._target.arn}
        if max_per_second is not None:
            if int(max_per_second) not in _RATES:
                message = f"SQS moves {_RATES[0]} to {_RATES[-1]} messages a second"
                raise NotSupportedError(message)
            request["MaxNumberOfMessagesPerSecond"] = int(max_per_second)
        if (await self._latest() or {}).get("Status") in {"RUNNING", "CANCELLING"}:
            raise RateLimitedError("SQS is moving messages from this dead-letter queue already")
        await self._calls.call("StartMessageMoveTask", request)

    @override
    async def progress(self, redrive_id: str) -> RedriveProgress | None:
        move = await self._latest()
        if move is None:
            return None
        return RedriveProgress(
            id=redrive_id,
            status=_STATUSES[move["Status"]],
            matched=move.get("ApproximateNumberOfMessagesToMove"),
            redriven=move.get("ApproximateNumberOfMessagesMoved", 0),
        )

    @override
    async def cancel(self) -> None:
        handle = (await self._latest() or {}).get("TaskHandle")
        if handle is not None:
            await self._calls.call("CancelMessageMoveTask", {"TaskHandle": handle})

    async def _latest(self) -> Mapping[str, Any] | None:
        answer = await self._calls.call("ListMessageMoveTasks", {"SourceArn": self._dead_letters.arn})
        return next(iter(answer.get("Results", ())), None)
