"""The strict SQS as a server that speaks the JSON protocol, for clients of other processes."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from botocore import xform_name
from botocore.exceptions import ClientError

from mcp_queue.adapters.clock import SystemClock
from tests.support.aws.strict_service import StrictService
from tests.support.aws.wire import CONTENT_TYPE, Answer, SqsError, sqs_request

_QUERY = "AWS.SimpleQueueService."
#: Shapes whose names in the query protocol are not themselves with a prefix; from the table of recorded answers.
_SHAPES = {
    "NonExistentQueue": "QueueDoesNotExist",
    "InvalidParameterValue": "InvalidParameterValueException",
    "MissingParameter": "MissingRequiredParameterException",
    "QueueAlreadyExists": "QueueNameExists",
    "KMS.NotFoundException": "KmsNotFound",
}
_CODES = {"QueueDoesNotExist": "NonExistentQueue"}
#: Errors whose code bears no prefix.
_BARE = {"InvalidAttributeName", "InvalidAttributeValue", "ReceiptHandleIsInvalid", "ResourceNotFoundException"}


def wire_error(error: ClientError) -> SqsError:
    """Return an error of the service in memory as it travels."""
    described = error.response["Error"]
    name = described["Code"].removeprefix(_QUERY)
    name = _CODES.get(name, name)
    shape = _SHAPES.get(name, name)
    bare = name in _BARE or (name in _SHAPES and name != "NonExistentQueue")
    status = 403 if name == "PurgeQueueInProgress" else 400
    return SqsError(shape, name if bare else f"{_QUERY}{name}", status, described["Message"])


async def answer(service: StrictService, request: web.Request) -> Answer:
    """Return the answer to a call."""
    call = sqs_request(request.headers, await request.read())
    assert call is not None, "only SQS is spoken here"
    act = getattr(service, xform_name(call.operation), None)
    if act is None:
        return SqsError("UnknownOperationException", "UnknownOperationException").answer()
    try:
        body = await act(**_with_bytes(call.parameters))
    except ClientError as error:
        asked = request.headers.get("x-amzn-query-mode") == "true"
        return wire_error(error).answer(query_error=asked)
    return Answer(200, {"Content-Type": CONTENT_TYPE}, json.dumps(body, default=_base64).encode())


def _with_bytes(value: Any) -> Any:
    """Return parameters with binary values decoded, as botocore's caller gives them."""
    if isinstance(value, dict):
        return {
            name: base64.b64decode(member) if name == "BinaryValue" else _with_bytes(member)
            for name, member in value.items()
        }
    return [_with_bytes(one) for one in value] if isinstance(value, list) else value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


@asynccontextmanager
async def strict_server() -> AsyncIterator[str]:
    """Serve on a free port of the loopback, on the machine's clock; yield the URL."""
    service = StrictService(SystemClock())

    async def handle(request: web.Request) -> web.Response:
        found = await answer(service, request)
        return web.Response(status=found.status, headers=found.headers, body=found.body)

    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
