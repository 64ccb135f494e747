"""A proxy in front of SQS and S3 that refuses what the Terraform module does not grant.

Callers are told apart by their access key, which is the name of their role.
"""

import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.aws.faults import DENIED
from tests.support.aws.iam import Account, Role
from tests.support.aws.proxy import Incoming, Proxy
from tests.support.aws.wire import Answer, SqsRequest, s3_error, sqs_request

_KEY = re.compile(r"Credential=([^/]+)/")
#: What SQS does for the caller when it moves messages out of a dead-letter queue.
_MOVING = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
_OBJECT_ACTIONS = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


@dataclass(frozen=True)
class Right:
    """What a request needs."""

    action: str
    resource: str


class IamProxy(Proxy):
    """Passes on what the caller's role allows, and remembers what it refused."""

    def __init__(self, upstream: str, roles: Mapping[str, Role], account: Account) -> None:
        """Let each of ``roles`` do what it may in ``account``."""
        super().__init__(upstream)
        self._roles = roles
        self._account = account
        self.refused: list[tuple[str, Right]] = []

    async def answer(self, incoming: Incoming) -> Answer:
        """Refuse, or pass on."""
        key = _KEY.search(incoming.headers.get("Authorization", ""))
        name = key[1] if key else ""
        role = self._roles.get(name)
        request = sqs_request(incoming.headers, incoming.body)
        if request is not None:
            for right in sqs_rights(request, self._account):
                if self._refuses(name, role, right):
                    return _denied(name, right)
            return await self.forward(incoming)
        return await self._s3(name, role, incoming)

    async def _s3(self, name: str, role: Role | None, incoming: Incoming) -> Answer:
        for right in s3_rights(incoming.method, incoming.target, incoming.headers, self._account):
            if self._refuses(name, role, right):
                return s3_error("AccessDenied", 403, f"{name} may not do {right.action}")
        answer = await self.forward(incoming)
        bucket = self._account.bucket_arn(_path(incoming.target)[0])
        # S3 hides from those who may not list a bucket whether a key is in it.
        missing = answer.status == 404 and (b"NoSuchKey" in answer.body or incoming.method == "HEAD")
        if missing and self._refuses(name, role, Right("s3:ListBucket", bucket)):
            return s3_error("AccessDenied", 403, f"{name} may not do s3:ListBucket")
        return answer

    def _refuses(self, name: str, role: Role | None, right: Right) -> bool:
        if role is not None and role.allows(right.action, right.resource):
            return False
        self.refused.append((name, right))
        return True


def sqs_rights(request: SqsRequest, account: Account) -> list[Right]:
    """Return what a call of SQS needs. A batch call needs the right of its single form."""
    resource = "*" if request.operation == "ListQueues" else _queue_arn(request, account)
    rights = [Right(f"sqs:{request.operation.removesuffix('Batch')}", resource)]
    if request.operation == "StartMessageMoveTask":
        rights += [Right(f"sqs:{action}", resource) for action in _MOVING]
        if destination := request.parameters.get("DestinationArn"):
            rights.append(Right("sqs:SendMessage", destination))
    return rights


def _queue_arn(request: SqsRequest, account: Account) -> str:
    if source := request.parameters.get("SourceArn"):
        return str(source)
    if handle := request.parameters.get("TaskHandle"):  # JSON in base64, which names the queue
        return str(json.loads(base64.b64decode(handle))["sourceArn"])
    return account.queue_arn(request.queue)


def s3_rights(method: str, target: str, headers: Mapping[str, str], account: Account) -> list[Right]:
    """Return what a request to S3 needs. Buckets are named in the path."""
    bucket, key = _path(target)
    query = parse_qs(urlsplit(target).query, keep_blank_values=True)
    if not key:
        action = {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}[method]
        return [Right(f"s3:{action}", account.bucket_arn(bucket))]
    resource = f"{account.bucket_arn(bucket)}/{key}"
    if "tagging" in query:
        return [Right(f"s3:{_OBJECT_ACTIONS[method]}Tagging", resource)]
    rights = [Right(f"s3:{_OBJECT_ACTIONS[method]}", resource)]
    if "x-amz-tagging" in headers:
        rights.append(Right("s3:PutObjectTagging", resource))
    return rights


def _path(target: str) -> tuple[str, str]:
    bucket, _, key = unquote(urlsplit(target).path).removeprefix("/").partition("/")
    return bucket, key


def _denied(name: str, right: Right) -> Answer:
    action = right.action.lower()
    text = (
        f"User: arn:aws:sts::111122223333:assumed-role/{name}/session is not authorized to perform: {action} on"
        f" resource: {right.resource} because no identity-based policy allows the {action} action"
    )
    return DENIED.saying(text).answer()


@asynccontextmanager
async def iam_proxy(upstream: str, roles: Mapping[str, Role], account: Account) -> AsyncIterator[IamProxy]:
    """Run an IAM-enforcing proxy in front of ``upstream``."""
    proxy = IamProxy(upstream, roles, account)
    async with proxy.serving():
        yield proxy
