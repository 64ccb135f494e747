"""Creates the configured queues at SQS and corrects attributes that differ."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError

from mcp_queue.adapters.sqs.api import limits
from mcp_queue.adapters.sqs.api.client import ClientFactory, SqsClient
from mcp_queue.adapters.sqs.api.errors import DeletedRecentlyError, MissingQueueError
from mcp_queue.adapters.sqs.setup.info import read_redrive, refuse_another, url_of
from mcp_queue.domain.errors import QueueError, QueueSetupError
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.ports import Clock

#: A dead letter waits for a person as long as SQS allows. Its age counts from the first send of its task on standard
#: queues, so a queue keeps its own messages for less.
RETENTION: Final = timedelta(days=10)
DEAD_LETTER_RETENTION: Final = timedelta(days=14)

#: How long a new queue may stay unknown to a part of SQS, and the name of a deleted one be kept.
PATIENCE: Final = timedelta(seconds=60)
_PAUSE: Final = timedelta(seconds=2)
#: SQS has no code of its own for it.
_NO_TARGET: Final = "Dead letter target does not exist"

Attributes = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeDefaults:
    """The attributes of every queue. Without ``kms_key`` queues are encrypted by keys that SQS owns."""

    wait_time: timedelta = limits.MAX_WAIT
    kms_key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """An attribute or tag that differs from the configuration, in readable form; ``before`` is empty if not set."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The changes that one queue needs. ``address`` is its URL, ARN or name in the configuration."""

    name: str
    address: str
    new: bool
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ExistingQueue:
    url: str
    attributes: Attributes
    tags: Mapping[str, str]


async def apply_queues(
    specs: Sequence[QueueSpec], defaults: AttributeDefaults, clients: ClientFactory, *, dry_run: bool
) -> list[Plan]:
    """Create or correct the queues of ``specs``, which all lie at SQS; return what was, or would be, done.

    A queue that is given by URL or ARN is corrected, but never created. All queues are read before any is changed.

    Raises:
        QueueSetupError: a queue cannot be what it is configured as, or SQS refuses a call.

    """
    try:
        client = await clients.client(connections=1)
    except BotoCoreError as error:
        message = f"no connection to SQS: {error}"
        raise QueueSetupError(message) from error
    try:
        return await QueueProvisioner(client, specs, defaults, clients.clock).run(dry_run=dry_run)
    finally:
        await client.aclose()


class QueueProvisioner:
    """Reads all queues, then changes them one by one."""

    def __init__(
        self, client: SqsClient, specs: Sequence[QueueSpec], defaults: AttributeDefaults, clock: Clock
    ) -> None:
        self._client = client
        self._clock = clock
        self._specs = {spec.name: spec for spec in specs}
        self._defaults = defaults
        self._arns: dict[str, str] = {}

    async def run(self, *, dry_run: bool) -> list[Plan]:
        """Return what each queue needs, in the order of the configuration; without ``dry_run`` do it."""
        found = {spec.name: await self._describe(spec) for spec in self._specs.values()}
        self._arns = {name: queue.attributes["QueueArn"] for name, queue in found.items() if queue is not None}
        plans = {}
        # Dead-letter queues come first: a redrive policy names a queue that is there.
        for spec in sorted(self._specs.values(), key=lambda spec: spec.dead_letter_queue is not None):
            queue = found[spec.name]
            wanted = wanted_attributes(spec, self._target(spec), self._defaults)
            attributes = differences(wanted, queue.attributes if queue is not None else {})
            tags = _missing(self._defaults.tags, queue.tags if queue is not None else {})
            plans[spec.name] = self._plan(spec, queue, attributes, tags)
            if not dry_run and (queue is None or attributes or tags):
                await self._change(spec, queue, attributes, tags)
        return [plans[name] for name in self._specs]

    async def _describe(self, spec: QueueSpec) -> _ExistingQueue | None:
        address = spec.url or spec.name
        try:
            url = await url_of(self._client, address)
            answer = await self._client.call("GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]})
            tags = await self._client.call("ListQueueTags", {"QueueUrl": url}) if self._defaults.tags else {}
        except MissingQueueError as error:
            if ":" not in address:
                return None
            message = f"queue {spec.name!r}: there is no {address}; only queues that are given by name are created"
            raise QueueSetupError(message) from error
        except QueueError as error:
            raise _refusal(spec, error) from error
        attributes: Attributes = answer["Attributes"]
        refuse_another(spec, attributes["QueueArn"])
        if (attributes.get("FifoQueue") == "true") != spec.fifo:
            message = f"queue {spec.name!r}: SQS cannot make {address} a {spec.kind} queue: delete it, or name another"
            raise QueueSetupError(message)
        return _ExistingQueue(url=url, attributes=attributes, tags=tags.get("Tags") or {})

    async def _change(
        self, spec: QueueSpec, queue: _ExistingQueue | None, attributes: Attributes, tags: Mapping[str, str]
    ) -> None:
        call = self._patiently
        try:
            if queue is None:
                kind = {"FifoQueue": "true"} if spec.fifo else {}
                named = {"QueueName": spec.url or spec.name, "Attributes": {**kind, **attributes}}
                url = (await call("CreateQueue", named | ({"tags": tags} if tags else {})))["QueueUrl"]
                answer = await call("GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["QueueArn"]})
                self._arns[spec.name] = answer["Attributes"]["QueueArn"]
                return
            if attributes:
                await call("SetQueueAttributes", {"QueueUrl": queue.url, "Attributes": attributes})
            if tags:
                await call("TagQueue", {"QueueUrl": queue.url, "Tags": tags})
        except QueueError as error:
            raise _refusal(spec, error) from error

    async def _patiently(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a call again while SQS does not know everywhere what it has created or deleted."""
        deadline = self._clock.monotonic() + PATIENCE.total_seconds()
        while True:
            try:
                return await self._client.call(operation, parameters)
            except QueueError as error:
                if not _passes(error) or self._clock.monotonic() >= deadline:
                    raise
            await self._clock.sleep(_PAUSE.total_seconds())

    def _target(self, spec: QueueSpec) -> str | None:
        """Return the queue that SQS itself moves messages to, by its ARN, or by its name before it is created."""
        dead_letters = self._specs.get(spec.dead_letter_queue or "")
        if dead_letters is None or dead_letters.fifo != spec.fifo:
            return None
        return self._arns.get(dead_letters.name, dead_letters.name)

    def _plan(
        self, spec: QueueSpec, queue: _ExistingQueue | None, attributes: Attributes, tags: Mapping[str, str]
    ) -> Plan:
        before = queue.attributes if queue is not None else {}
        old_tags = queue.tags if queue is not None else {}
        changes = [
            Change(name, self._readable(name, before.get(name, "")), self._readable(name, value))
            for name, value in attributes.items()
        ]
        changes += [Change(f"tag {name}", old_tags.get(name, ""), value) for name, value in tags.items()]
        return Plan(name=spec.name, address=spec.url or spec.name, new=queue is None, changes=changes)

    def _readable(self, name: str, value: str) -> str:
        if name != "RedrivePolicy" or (policy := read_redrive(value)) is None:
            return value
        names = {arn: name for name, arn in self._arns.items()}
        return f"to {names.get(policy.target_arn, policy.target_arn)} after {policy.max_receive_count} receives"


def wanted_attributes(spec: QueueSpec, target: str | None, defaults: AttributeDefaults) -> dict[str, str]:
    """Return the attributes of ``spec``'s queue, whose messages SQS moves to ``target``."""
    holds_dead_letters = spec.dead_letter_queue is None
    wanted = {
        "VisibilityTimeout": _seconds(spec.visibility_timeout),
        "MessageRetentionPeriod": _seconds(DEAD_LETTER_RETENTION if holds_dead_letters else RETENTION),
        "ReceiveMessageWaitTimeSeconds": _seconds(defaults.wait_time),
        "MaximumMessageSize": str(limits.MAX_MESSAGE_BYTES),
    }
    if defaults.kms_key is None:
        wanted["SqsManagedSseEnabled"] = "true"
    else:
        wanted["KmsMasterKeyId"] = defaults.kms_key
    if spec.fifo:
        # High throughput: SQS's limits then hold for each group, not for the queue.
        wanted |= {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    if target is not None:
        wanted["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": spec.backend_receives})
    return wanted


def differences(wanted: Attributes, found: Attributes) -> dict[str, str]:
    """Return what has to be set for a queue with the attributes ``found``."""
    different = {name: value for name, value in wanted.items() if found.get(name) != value}
    if read_redrive(wanted.get("RedrivePolicy")) == read_redrive(found.get("RedrivePolicy")):
        different.pop("RedrivePolicy", None)
    if int(found.get("MessageRetentionPeriod", 0)) > int(wanted["MessageRetentionPeriod"]):
        del different["MessageRetentionPeriod"]  # SQS would delete what has waited longer
    if found.get("KmsMasterKeyId"):
        different.pop("SqsManagedSseEnabled", None)  # it would take the place of the better encryption
    return different


def _missing(wanted: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in wanted.items() if found.get(name) != value}


def _passes(error: QueueError) -> bool:
    return isinstance(error, MissingQueueError | DeletedRecentlyError) or _NO_TARGET in str(error)


def _refusal(spec: QueueSpec, error: QueueError) -> QueueSetupError:
    return QueueSetupError(f"queue {spec.name!r} ({spec.url or spec.name}): {error}")


def _seconds(duration: timedelta) -> str:
    return str(limits.whole_seconds(duration))
