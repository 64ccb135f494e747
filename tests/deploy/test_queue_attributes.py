"""Terraform and ``mcp-queue queues apply`` give a queue the same attributes."""

import json
from dataclasses import replace

import pytest

from mcp_queue.adapters.sqs.setup.apply import AttributeDefaults, wanted_attributes
from mcp_queue.config import load_settings
from mcp_queue.domain.queues import RECEIVES_HEADROOM, QueueKind, QueueSpec
from tests.support.terraform.files import MODULE, Body, Directory

#: How Terraform calls the attributes of SQS.
_NAMES = {
    "VisibilityTimeout": "visibility_timeout_seconds",
    "MessageRetentionPeriod": "message_retention_seconds",
    "ReceiveMessageWaitTimeSeconds": "receive_wait_time_seconds",
    "MaximumMessageSize": "max_message_size",
    "DeduplicationScope": "deduplication_scope",
    "FifoThroughputLimit": "fifo_throughput_limit",
}
#: A dead-letter queue is polled rarely, by one process: Terraform leaves these at the defaults of SQS.
_OF_TASK_QUEUES = {"VisibilityTimeout", "ReceiveMessageWaitTimeSeconds", "DeduplicationScope", "FifoThroughputLimit"}


@pytest.mark.parametrize("kind", [QueueKind.STANDARD, QueueKind.FIFO])
def test_a_task_queue_is_the_same(kind: QueueKind) -> None:
    """Every attribute but the encryption, for which Terraform makes a key of its own."""
    spec = default_spec(kind)
    wanted = wanted_attributes(spec, "dlq", AttributeDefaults(kms_key="key"))
    arguments = terraform_queue("tasks")
    fifo = kind is QueueKind.FIFO

    policy = json.loads(wanted.pop("RedrivePolicy"))
    assert receives(kind) + RECEIVES_HEADROOM == policy["maxReceiveCount"]
    choice = f"each.value.fifo ? {receives(QueueKind.FIFO)} : {receives(QueueKind.STANDARD)}) + {RECEIVES_HEADROOM}"
    assert choice in arguments["redrive_policy"]
    wanted.pop("KmsMasterKeyId")
    found = {name: resolved(arguments[_NAMES[name]], fifo=fifo) for name in wanted}
    assert wanted == found


@pytest.mark.parametrize("kind", [QueueKind.STANDARD, QueueKind.FIFO])
def test_a_dead_letter_queue_is_the_same(kind: QueueKind) -> None:
    """It keeps messages of the same size for the same time."""
    spec = replace(default_spec(kind), dead_letter_queue=None)
    wanted = wanted_attributes(spec, None, AttributeDefaults(kms_key="key"))
    arguments = terraform_queue("dead_letters")

    compared = wanted.keys() - _OF_TASK_QUEUES - {"KmsMasterKeyId"}
    assert {"MessageRetentionPeriod", "MaximumMessageSize"} == compared
    assert {name: wanted[name] for name in compared} == {name: str(arguments[_NAMES[name]]) for name in compared}


def default_spec(kind: QueueKind) -> QueueSpec:
    """Return a task queue of ``kind`` with every default of the configuration."""
    return next(spec for spec in load_settings({}).queues if spec.kind is kind and spec.dead_letter_queue is not None)


def receives(kind: QueueKind) -> int:
    """Return the default of ``max_receive_count``."""
    return default_spec(kind).max_receive_count


def terraform_queue(name: str) -> Body:
    """Return the arguments of one queue resource of the module."""
    return Directory(MODULE).typed("resource")[f"aws_sqs_queue.{name}"]


def resolved(expression: object, *, fifo: bool) -> str:
    """Return the value of an argument for a queue that sets nothing but its kind."""
    text = str(expression).removeprefix("${").removesuffix("}")
    if text == "each.value.visibility_timeout":
        variables = (MODULE / "variables.tf").read_text()
        return variables.partition("visibility_timeout = optional(number, ")[2].partition(")")[0]
    _, conditional, choices = text.partition("each.value.fifo ? ")
    if conditional:
        yes, _, no = choices.partition(" : ")
        text = yes if fifo else no
    return text.strip('"')
