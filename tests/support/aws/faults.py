"""A proxy in front of SQS that counts calls and breaks those that a test chooses."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from tests.support.aws.proxy import Incoming, Proxy, never
from tests.support.aws.wire import CONTENT_TYPE, Answer, SqsError, SqsRequest, sqs_request

#: What SQS calls each fault; status and texts as recorded, where a recording was found (docs/aws.md).
DENIED = SqsError(
    "AccessDeniedException",
    "AccessDenied",
    403,
    "User: arn:aws:sts::111122223333:assumed-role/mcp-queue-consumer/session is not authorized to perform:"
    " sqs:sendmessage on resource: arn:aws:sqs:us-east-1:111122223333:work because no identity-based policy allows"
    " the sqs:sendmessage action",
)
THROTTLED = SqsError("ThrottlingException", "ThrottlingException", 400, "Rate exceeded")
REQUEST_THROTTLED = SqsError("RequestThrottled", "RequestThrottled", 403, "Request is throttled.")
KMS_DISABLED = SqsError("KmsDisabled", "KMS.DisabledException", 400, "The key is disabled.")
KMS_DENIED = SqsError(
    "KmsAccessDenied",
    "KMS.AccessDeniedException",
    400,
    "The ciphertext refers to a key that does not exist or that you may not use.",
)
KMS_NOT_FOUND = SqsError("KmsNotFound", "KMS.NotFoundException", 400, "The key does not exist.")
KMS_THROTTLED = SqsError("KmsThrottled", "KMS.ThrottlingException", 400, "Rate exceeded")
NO_QUEUE = SqsError(
    "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400, "The specified queue does not exist."
)
FAILING = SqsError("InternalError", "InternalError", 500, "We encountered an internal error. Please try again.")
UNAVAILABLE = SqsError("ServiceUnavailable", "ServiceUnavailable", 503, "Service Unavailable")
PURGING = SqsError(
    "PurgeQueueInProgress",
    "AWS.SimpleQueueService.PurgeQueueInProgress",
    403,
    "Only one PurgeQueue operation on work is allowed every 60 seconds.",
)

#: Says of each call that could be broken whether it is.
Schedule = Callable[[], bool]


def always() -> Schedule:
    """Break every call."""
    return lambda: True


def first(number: int) -> Schedule:
    """Break the first ``number`` calls."""
    left = iter(range(number))
    return lambda: next(left, None) is not None


def sometimes(probability: float, seed: int) -> Schedule:
    """Break calls with ``probability``; the same ones for the same ``seed``."""
    random = Random(seed)
    return lambda: random.random() < probability


class Fault(Protocol):
    """Something that happens to a call instead of its answer."""

    async def strike(self, call: "Call", proxy: "FaultProxy") -> Answer:
        """Return what the caller gets."""
        ...


@dataclass(frozen=True)
class Call:
    """A call on its way: what it asks, and the request that it came in."""

    sqs: SqsRequest
    incoming: Incoming


@dataclass(frozen=True)
class Refuse:
    """Answers with an error; SQS never sees the call. ``query_error``: with the header of the older code."""

    error: SqsError
    query_error: bool = True

    async def strike(self, call: Call, proxy: "FaultProxy") -> Answer:
        """Return the error."""
        return self.error.answer(query_error=self.query_error)


@dataclass(frozen=True)
class Reply:
    """Answers with HTTP 200 and a body of the test's; SQS never sees the call."""

    body: Mapping[str, Any]

    async def strike(self, call: Call, proxy: "FaultProxy") -> Answer:
        """Return the body."""
        return Answer(200, {"Content-Type": CONTENT_TYPE}, json.dumps(self.body).encode())


@dataclass(frozen=True)
class RefuseEntries:
    """Answers a batch call with HTTP 200 and every entry failed; SQS never sees the call."""

    error: SqsError

    async def strike(self, call: Call, proxy: "FaultProxy") -> Answer:
        """Return the failed entries."""
        failed = [self.error.entry(entry["Id"]) for entry in call.sqs.parameters["Entries"]]
        return await Reply({"Successful": [], "Failed": failed}).strike(call, proxy)


@dataclass(frozen=True)
class NoAnswer:
    """Accepts the call and never answers; SQS never sees it."""

    async def strike(self, call: Call, proxy: "FaultProxy") -> Answer:
        """Hang until the caller goes away."""
        await never()
        raise AssertionError("it never ends")


@dataclass(frozen=True)
class Reset:
    """Breaks the connection at once; SQS never sees the call."""

    async def strike(self, call: Call, proxy: "FaultProxy") -> Answer:
        """Break it."""
        call.incoming.reset()
        await never()
        raise AssertionError("it never ends")


@dataclass(frozen=True)
class AppliedThenReset:
    """Lets SQS do what is asked, then breaks the connection instead of answering."""

    async def strike(self, call: Call, proxy: "FaultProxy") -> Answer:
        """Lose the answer."""
        answer = await proxy.forward(call.incoming)
        call.incoming.reset()
        return answer


@dataclass(frozen=True)
class ResetAfter:
    """Breaks the connection ``seconds`` after the call came, the poll at SQS too."""

    seconds: float

    async def strike(self, call: Call, proxy: "FaultProxy") -> Answer:
        """Forward, but no longer than that."""
        try:
            async with asyncio.timeout(self.seconds):
                return await proxy.forward(call.incoming)
        except TimeoutError:
            call.incoming.reset()
            await never()
            raise AssertionError("it never ends") from None


@dataclass
class Injection:
    """A fault and the calls that it strikes: those of an operation, on one queue where ``queue`` names one.

    ``queue`` is the end of the queue's name before ``.fifo``, so that tests need not know the prefix. ``operation``
    may be ``*``.
    """

    operation: str
    fault: Fault
    schedule: Schedule
    queue: str | None = None
    struck: int = 0

    def strikes(self, call: SqsRequest) -> bool:
        """Whether the fault happens to ``call``."""
        if self.operation not in ("*", call.operation):
            return False
        if self.queue is not None and not _is(call, self.queue):
            return False
        if not self.schedule():
            return False
        self.struck += 1
        return True


@dataclass
class Journal:
    """Every call that reached the proxy, in order."""

    calls: list[SqsRequest] = field(default_factory=list)

    def count(self, operation: str | None = None, queue: str | None = None) -> int:
        """Count the calls of an operation, on the queue whose name ends so."""
        return sum(
            (operation is None or call.operation == operation) and (queue is None or _is(call, queue))
            for call in self.calls
        )

    def by_operation(self) -> Mapping[str, int]:
        """Count the calls by operation."""
        return Counter(call.operation for call in self.calls)

    def of(self, operation: str) -> list[Mapping[str, Any]]:
        """Return the parameters of the calls of an operation."""
        return [call.parameters for call in self.calls if call.operation == operation]


class FaultProxy(Proxy):
    """Passes calls on, except those that a fault was injected for."""

    def __init__(self, upstream: str) -> None:
        """Break nothing yet."""
        super().__init__(upstream)
        self.journal = Journal()
        self._injections: list[Injection] = []

    def inject(
        self, operation: str, fault: Fault | SqsError, schedule: Schedule | None = None, *, queue: str | None = None
    ) -> Injection:
        """Let ``fault`` happen to the calls of ``operation``, to all of them without a ``schedule``.

        Of several faults for a call the first whose schedule says so happens.
        """
        fault = Refuse(fault) if isinstance(fault, SqsError) else fault
        injection = Injection(operation, fault, schedule or always(), queue)
        self._injections.append(injection)
        return injection

    def heal(self) -> None:
        """Break nothing any more."""
        self._injections.clear()

    def start_counting(self) -> Journal:
        """Forget the calls so far; return the journal of those to come."""
        self.journal = Journal()
        return self.journal

    async def answer(self, incoming: Incoming) -> Answer:
        """Count a call, then break it or pass it on."""
        request = sqs_request(incoming.headers, incoming.body)
        if request is None:
            return await self.forward(incoming)
        self.journal.calls.append(request)
        for injection in self._injections:
            if injection.strikes(request):
                return await injection.fault.strike(Call(request, incoming), self)
        return await self.forward(incoming)


def _is(call: SqsRequest, queue: str) -> bool:
    return call.queue.removesuffix(".fifo").endswith(queue)


def without_header(error: SqsError) -> Refuse:
    """Return ``error`` as SQS answers a caller that did not ask for the older code."""
    return Refuse(error, query_error=False)


@asynccontextmanager
async def fault_proxy(upstream: str) -> AsyncIterator[FaultProxy]:
    """Run a fault proxy in front of ``upstream``."""
    proxy = FaultProxy(upstream)
    async with proxy.serving():
        yield proxy
