"""The Terraform module. Without the provider Terraform cannot judge it, so that these look at what they can."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import hcl2
import pytest
import yaml

from mcp_queue.adapters.s3 import TAG
from tests.support.stack import ROOT
from tests.support.tools import output_of

TERRAFORM = ROOT / "deploy" / "terraform"
MODULE = sorted(TERRAFORM.glob("*.tf"))
EXAMPLE = TERRAFORM / "example" / "main.tf"
SQS = ROOT / "app" / "mcp_queue" / "adapters" / "sqs"
#: What the operator does to queues; the rest of the package is the processes'.
APPLY = SQS / "apply.py"
Blocks = dict[str, list[dict[str, Any]]]


def parsed(*paths: Path) -> Blocks:
    """Return the blocks of the files by kind."""
    blocks: Blocks = {}
    for path in paths:
        for kind, found in hcl2.loads(path.read_text(), serialization_options=_PLAIN).items():
            blocks.setdefault(kind, []).extend(found)
    return blocks


_PLAIN = hcl2.SerializationOptions(strip_string_quotes=True, with_comments=False, explicit_blocks=False)


def labels(blocks: Blocks, kind: str, depth: int) -> set[str]:
    """Return the addresses of the blocks of ``kind``, which have ``depth`` labels."""
    found = blocks.get(kind, [])
    if depth == 1:
        return {name for block in found for name in block}
    return {f"{kind_}.{name}" for block in found for kind_, named in block.items() for name in named}


def references(text: str) -> Iterator[str]:
    """Yield every address that the text of a module refers to."""
    code = re.sub(r"#.*", "", text)
    yield from re.findall(r"\b(?:var|local|data\.\w+|aws_\w+|module)\.\w+", code)


def test_every_reference_is_defined_and_every_variable_used() -> None:
    """Terraform would refuse the first, and nobody would miss the second."""
    blocks = parsed(*MODULE)
    defined = {f"var.{name}" for name in labels(blocks, "variable", 1)}
    defined |= {f"local.{name}" for block in blocks["locals"] for name in block}
    defined |= labels(blocks, "resource", 2) | {f"data.{address}" for address in labels(blocks, "data", 2)}
    used = {address for path in MODULE for address in references(path.read_text())}

    # A data source is also found by the part behind its first point.
    assert set() == {address for address in used if address not in defined and f"data.{address}" not in defined}
    assert set() == {f"var.{name}" for name in labels(blocks, "variable", 1)} - used


def test_the_example_gives_what_the_module_asks_for() -> None:
    """Every argument is a variable of the module, and every variable without a default has an argument."""
    variables = {name: body for block in parsed(*MODULE)["variable"] for name, body in block.items()}
    (module,) = (block["mcp_queue"] for block in parsed(EXAMPLE)["module"])
    given = module.keys() - {"source"}

    assert set() == given - variables.keys()
    assert set() == {name for name, body in variables.items() if "default" not in body} - given
    assert TERRAFORM == (EXAMPLE.parent / module["source"]).resolve()


def test_the_example_creates_the_queues_that_kubernetes_names() -> None:
    """By name, kind and dead-letter queue."""
    prefix = next(block["name_prefix"]["default"] for block in parsed(*MODULE)["variable"] if "name_prefix" in block)
    (module,) = (block["mcp_queue"] for block in parsed(EXAMPLE)["module"])
    queues = {**module["dead_letter_queues"], **module["queues"]}
    created = {
        (name, f"{prefix}{name}{'.fifo' if queue.get('fifo') else ''}", queue.get("dead_letter_queue"))
        for name, queue in queues.items()
    }
    config = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "base" / "mcp-queue.yaml").read_text())
    named = {
        (queue["name"], queue["url"], queue.get("dead_letter_queue")) for queue in config["queue"]["sqs"]["queues"]
    }
    assert named == created


def policy(name: str) -> dict[str, set[str]]:
    """Return the allowed actions of a policy document by statement."""
    found: dict[str, set[str]] = {}
    for block in parsed(*MODULE)["data"]:
        document = block.get("aws_iam_policy_document", {}).get(name, {})
        dynamic = [content for block in document.get("dynamic", []) for content in block["statement"]["content"]]
        for statement in [*document.get("statement", []), *dynamic]:
            found[statement["sid"]] = set(statement["actions"])
    return found


def test_every_allowed_action_exists() -> None:
    """A misspelt action is no error to AWS: it only never allows anything."""
    session = botocore.session.get_session()
    for name in ("gateway", "consumer", "shared", "operator"):
        for action in set().union(*policy(name).values()):
            service, operation = action.split(":")
            assert operation in session.get_service_model(service).operation_names, action


def test_the_roles_may_do_what_the_processes_do() -> None:
    """Each call of the code to SQS is allowed to consumer or gateway, by the action of its single form."""
    calls = set().union(*(_calls(path) for path in SQS.rglob("*.py") if path != APPLY))
    needed = {call.removesuffix("Batch") for call in calls}
    assert {"SendMessage", "ReceiveMessage", "DeleteMessage"} <= needed
    allowed = {action.removeprefix("sqs:") for name in ("gateway", "consumer") for action in _actions(name)}
    assert set() == needed - allowed


def test_the_gateway_cannot_take_tasks_away() -> None:
    """It sends, counts and purges; receiving and deleting are the consumer's."""
    assert {"GetQueueAttributes", "GetQueueUrl", "PurgeQueue", "SendMessage"} == {
        action.removeprefix("sqs:") for action in policy("gateway")["Tasks"]
    }


def test_the_operator_may_do_what_applying_queues_does() -> None:
    """It looks queues up, and creates, changes and tags them."""
    needed = _calls(APPLY) | _calls(SQS / "info.py")
    assert {"CreateQueue", "GetQueueUrl", "SetQueueAttributes", "TagQueue"} <= needed
    assert set() == {f"sqs:{call}" for call in needed} - _actions("operator")


def test_the_operator_touches_no_message() -> None:
    """Who changes queues need not see tasks."""
    assert not [action for action in _actions("operator") if "Message" in action]


def _calls(path: Path) -> set[str]:
    return set(re.findall(r'call\(\s*"([A-Z]\w+)"', path.read_text()))


def _actions(name: str) -> set[str]:
    return set().union(*policy(name).values())


def test_payloads_expire_by_the_tag_that_they_are_stored_with() -> None:
    """The rule takes what passes through, and leaves what is kept for a dead letter."""
    source = (ROOT / "app" / "mcp_queue" / "adapters" / "s3.py").read_text()
    (rules,) = (
        block["aws_s3_bucket_lifecycle_configuration"]["payloads"]["rule"]
        for block in parsed(*MODULE)["resource"]
        if "aws_s3_bucket_lifecycle_configuration" in block
    )
    (tag,) = (condition["tag"][0] for rule in rules for condition in rule["filter"] if "tag" in condition)
    assert TAG == tag["key"]
    assert f"'kept' if keep else '{tag['value']}'" in source


def test_the_files_are_formatted() -> None:
    """As ``terraform fmt`` writes them."""
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("terraform is not installed, and no package registry has it")
    output_of(
        terraform,
        "fmt",
        "-check",
        "-diff",
        "-recursive",
        TERRAFORM,
        env={**os.environ, "TF_CLI_CONFIG_FILE": os.devnull},
    )
