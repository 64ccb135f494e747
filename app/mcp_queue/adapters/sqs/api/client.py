"""Makes clients of SQS that are kept open; every call has a deadline and is counted."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from aiobotocore.config import AioConfig
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from mcp_queue.adapters.aws import aws_session
from mcp_queue.adapters.sqs.api.direct import DirectTransport
from mcp_queue.adapters.sqs.api.errors import ThrottledError, UnansweredError, error_of_response
from mcp_queue.domain.errors import BackendUnavailableError, QueueSetupError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.ports import Clock

if TYPE_CHECKING:
    from types_aiobotocore_cloudwatch import CloudWatchClient
    from types_aiobotocore_sqs import SQSClient

#: Longest that one call may take, tries of the transport included.
CALL_DEADLINE: Final = timedelta(seconds=18)
#: A poll is given up when it answers this much later than it was asked to.
POLL_GRACE: Final = timedelta(seconds=10)

#: For emulators, which take any.
_ANY_REGION: Final = "us-east-1"
_ANY_KEY: Final = "emulator"

_CONNECT_TIMEOUT = 3
_READ_TIMEOUT = 6
_BACKOFF: Final = ExponentialBackoff(timedelta(milliseconds=100), timedelta(seconds=2))


class CallMetrics(Protocol):
    """Counts the calls to SQS."""

    def sqs_call(self, operation: str, outcome: str) -> None:
        """Count a call, or an entry that failed within one.

        ``outcome``: ok, refused, lease_lost, throttled, failed, defect, unanswered, abandoned (a poll that hung), or
        the operator's to mend: kms (a key cannot be used) and operator (permissions, a queue that is gone).
        """
        ...

    def sqs_batch(self, operation: str, entries: int) -> None:
        """Observe how many entries a batch call carried."""
        ...


@dataclass(frozen=True, slots=True)
class Repeats:
    """Repeats calls of which it is not known that they happened: botocore, the other place that could, does not.

    A batch that SQS throttled is repeated by its batcher, which holds its other calls back meanwhile. A purge is not
    repeated, since a second one within 60 s is refused.
    """

    clock: Clock
    random: Callable[[], float]
    tries: int = 3

    def wanted(self, operation: str, error: BackendUnavailableError, tried: int) -> bool:
        """Return whether a call that ended in ``error`` after ``tried`` earlier ones is made again."""
        if tried + 1 >= self.tries or operation == "PurgeQueue":
            return False
        return isinstance(error, UnansweredError) or (
            isinstance(error, ThrottledError) and not operation.endswith("Batch")
        )

    async def pause(self, tried: int) -> None:
        """Wait before the next try."""
        await self.clock.sleep(_BACKOFF.delay(tried, self.random()).total_seconds())


class SqsClient:
    """One connection pool, and the calls made through it."""

    def __init__(
        self,
        sqs: "SQSClient",
        metrics: CallMetrics,
        close: Callable[[], Awaitable[None]],
        direct: DirectTransport | None = None,
        repeats: "Repeats | None" = None,
    ) -> None:
        """Make each call once, or as often as ``repeats`` says while it gets no answer or a refusal that passes."""
        self._sqs = sqs
        self._metrics = metrics
        self._close = close
        self._direct = direct
        self._repeats = repeats

    async def call(
        self, operation: str, parameters: Mapping[str, Any], *, deadline: timedelta = CALL_DEADLINE
    ) -> Mapping[str, Any]:
        """Make one call.

        Raises:
            UnansweredError: there was no answer within ``deadline``.
            QueueError: what the answer means.

        """
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                return await self._repeated(operation, parameters)
        except TimeoutError as error:
            self._metrics.sqs_call(operation, "unanswered")
            message = f"no answer from SQS: none within {deadline}"
            raise UnansweredError(message) from error

    async def _repeated(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        for tried in count():
            try:
                return await self._once(operation, parameters)
            except BackendUnavailableError as error:
                if self._repeats is None or not self._repeats.wanted(operation, error, tried):
                    raise
            await self._repeats.pause(tried)
        raise AssertionError("tries are counted without end")

    async def _once(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            answer = await self._ask(operation, parameters)
        except ClientError as error:
            translated, outcome = error_of_response(error)
            self._metrics.sqs_call(operation, outcome)
            raise translated from error
        except (BotoCoreError, ResponseParserError, OSError) as error:  # also a token file that cannot be read
            self._metrics.sqs_call(operation, "unanswered")
            message = f"no answer from SQS: {error}"
            raise UnansweredError(message) from error
        self._metrics.sqs_call(operation, "ok")
        return answer

    async def _ask(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._direct is not None and (answer := await self._direct.call(operation, parameters)) is not None:
            return answer
        ask: Callable[..., Awaitable[Mapping[str, Any]]] = getattr(self._sqs, xform_name(operation))
        return await ask(**parameters)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._close()


class ClientFactory:
    """Makes clients. Credentials, region and endpoint come from AWS's own chain where they are not given."""

    def __init__(
        self,
        *,
        region: str | None,
        endpoint_url: str | None,
        metrics: CallMetrics,
        clock: Clock,
        random: Callable[[], float],
        queues_region: str | None = None,
    ) -> None:
        """Use ``queues_region``, which the address of a queue says, where no region is set."""
        self._queues_region = queues_region
        self.clock = clock
        self._random = random
        self._session = aws_session()
        self._region = region
        self._endpoint_url = endpoint_url
        self._metrics = metrics

    async def client(self, *, connections: int, retry: bool = True, read_timeout: float = _READ_TIMEOUT) -> SqsClient:
        """Return a new client of at most ``connections``; with ``retry`` it repeats calls that failed for a moment.

        Raises:
            QueueSetupError: no region, or no credentials, can be found.

        """
        config = AioConfig(
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=read_timeout,
            max_pool_connections=connections,
            retries={"mode": "standard", "total_max_attempts": 1},
        )
        await self._fill_in()
        stack = AsyncExitStack()
        sqs = await stack.enter_async_context(
            self._session.create_client("sqs", region_name=self._region, endpoint_url=self._endpoint_url, config=config)
        )
        repeats = Repeats(self.clock, self._random) if retry else None
        return SqsClient(sqs, self._metrics, stack.aclose, await self._direct_transport(sqs), repeats)

    async def _fill_in(self) -> None:
        """Fill in the region of the queues, and for an emulator, which plain http means, any region and credentials."""
        emulator = self._endpoint_url is not None and self._endpoint_url.startswith("http://")
        if self._region is None and self._session.get_config_variable("region") is None:
            self._region = self._queues_region or (_ANY_REGION if emulator else None)
            if self._region is None:
                raise QueueSetupError("no AWS region is set: set AWS_REGION, or give a queue by its URL or ARN")
        if await self._session.get_credentials() is None:
            if not emulator:
                raise QueueSetupError("no AWS credentials were found: neither variables, nor a profile, nor a role")
            self._session.set_credentials(_ANY_KEY, _ANY_KEY)

    async def _direct_transport(self, sqs: "SQSClient") -> DirectTransport | None:
        credentials = await self._session.get_credentials()
        if credentials is None:
            return None
        endpoint: Any = sqs._endpoint  # type: ignore[attr-defined]  # noqa: SLF001  # botocore gives its connections no public name
        direct = DirectTransport(endpoint.http_session, credentials, self.clock)
        sqs.meta.events.register("before-send.sqs", direct.learn_endpoint)
        return direct

    def cloudwatch(self) -> AbstractAsyncContextManager["CloudWatchClient"]:
        """Return a client of CloudWatch, to be entered. Its endpoint is AWS's own, whatever that of SQS is."""
        config = AioConfig(connect_timeout=_CONNECT_TIMEOUT, read_timeout=_READ_TIMEOUT, retries={"mode": "standard"})
        return self._session.create_client("cloudwatch", region_name=self._region, config=config)


class PollingClient:
    """Makes the long polls on connections of their own, so that no send or delete waits behind a poll.

    A poll that hangs is abandoned together with its client. A new client replaces it, and the old one is closed when
    its other polls have ended.
    """

    def __init__(self, make: Callable[[], Awaitable[SqsClient]], metrics: CallMetrics) -> None:
        self._make = make
        self._metrics = metrics
        self._replacing = asyncio.Lock()
        self._under_way: dict[SqsClient, int] = {}

    async def __aenter__(self) -> Self:
        self._current = await self._make()
        self._under_way[self._current] = 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._under_way:
            client, _ = self._under_way.popitem()
            await client.aclose()

    async def receive(self, parameters: Mapping[str, Any], wait: timedelta) -> Mapping[str, Any]:
        """Make one poll that answers within ``wait``.

        Raises:
            QueueError: as ``SqsClient.call`` does; ``UnansweredError`` also where the poll hung.

        """
        client = self._current
        self._under_way[client] += 1
        deadline = wait + POLL_GRACE
        try:
            return await client.call("ReceiveMessage", parameters, deadline=deadline)
        except UnansweredError as error:
            if isinstance(error.__cause__, TimeoutError):
                self._metrics.sqs_call("ReceiveMessage", "abandoned")
                await self._replace(client)
            raise
        finally:
            await self._ended(client)

    async def _replace(self, hung: SqsClient) -> None:
        async with self._replacing:
            if self._current is hung:
                self._current = await self._make()
                self._under_way[self._current] = 0

    async def _ended(self, client: SqsClient) -> None:
        if client not in self._under_way:
            return
        self._under_way[client] -= 1
        if client is not self._current and not self._under_way[client]:
            del self._under_way[client]
            await client.aclose()
