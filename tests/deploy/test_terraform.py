"""The Terraform module. Without the provider Terraform cannot judge it, so that these look at what they can."""

import os
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml

from mcp_queue.adapters.s3 import TAG
from mcp_queue.config import load_settings
from tests.support.terraform.files import ECS, EKS, MODULE, Directory, unknown_attributes, wrong_arguments
from tests.support.tools import ROOT, output_of

SQS = ROOT / "app" / "mcp_queue" / "adapters" / "sqs"
#: What the operator does to queues; the rest of the package is the processes'.
APPLY = SQS / "setup" / "apply.py"
#: Actions whose names are not those of operations.
ACTIONS = {"s3:ListBucket": "s3:ListObjectsV2"}

module = Directory(MODULE)
examples = pytest.mark.parametrize("example", [Directory(EKS), Directory(ECS)], ids=lambda one: one.path.name)
everywhere = pytest.mark.parametrize(
    "directory", [module, Directory(EKS), Directory(ECS)], ids=lambda one: one.path.name
)


def outputs_of_modules(directory: Directory) -> dict[str, set[str]]:
    """Return what the modules that a directory uses give back, by their names."""
    return {name: set(module.named("output")) for name in directory.named("module")}


@everywhere
def test_every_reference_is_defined_and_every_variable_used(directory: Directory) -> None:
    """Terraform would refuse the first, and nobody would miss the second."""
    used = {reference.address for reference in directory.references()}
    assert set() == used - directory.addresses()
    assert set() == {f"var.{name}" for name in directory.named("variable")} - used
    assert set() == {f"local.{name}" for name in directory.local} - used


@everywhere
def test_every_attribute_that_is_read_exists(directory: Directory) -> None:
    """Of resources and data by the table of their types, of modules by their outputs."""
    assert set() == unknown_attributes(directory, outputs_of_modules(directory))


@everywhere
def test_every_argument_is_one_that_its_type_takes(directory: Directory) -> None:
    """In nested blocks too, and none that is required is missing."""
    assert [] == wrong_arguments(directory)


def test_a_misspelt_argument_is_found(tmp_path: Path) -> None:
    """By its name, in a nested block that is made for each element, and where one is missing."""
    (tmp_path / "main.tf").write_text(
        """
        resource "aws_sqs_queue" "tasks" {
          fifo = true
        }
        resource "aws_s3_bucket_policy" "tasks" {
          bucket = aws_sqs_queue.tasks.address
        }
        data "aws_iam_policy_document" "tasks" {
          dynamic "statement" {
            for_each = [true]
            content {
              action = ["sqs:SendMessage"]
            }
          }
          statements {
          }
        }
        """
    )
    directory = Directory(tmp_path)
    assert [
        "aws_sqs_queue.tasks: no argument fifo",
        "aws_s3_bucket_policy.tasks: policy is missing",
        "aws_iam_policy_document.tasks: no block statements",
        "aws_iam_policy_document.tasks: statement: no argument action",
        "aws_iam_policy_document.tasks: statement: actions is missing",
    ] == wrong_arguments(directory)
    assert {"aws_sqs_queue.tasks.address"} == unknown_attributes(directory, {})


@examples
def test_an_example_gives_what_the_module_asks_for(example: Directory) -> None:
    """Every argument is a variable of the module, and every variable without a default has an argument."""
    variables = module.named("variable")
    used = example.named("module")["mcp_queue"]
    given = {name: value for name, value in used.items() if name not in {"source", "__is_block__"}}

    assert set() == given.keys() - variables.keys()
    assert set() == {name for name, body in variables.items() if "default" not in body} - given.keys()
    assert MODULE == (example.path / used["source"]).resolve()
    # Terraform drops a member that the type of an object does not have without a word.
    for name in ("run_by", "keda"):
        assert set() == given.get(name, {}).keys() - set(re.findall(r"(\w+) = ", variables[name]["type"]))


@examples
def test_an_example_creates_the_queues_that_kubernetes_names(example: Directory) -> None:
    """By name, kind and dead-letter queue."""
    prefix = module.named("variable")["name_prefix"]["default"]
    used = example.named("module")["mcp_queue"]
    queues = {**used["dead_letter_queues"], **used["queues"]}
    created = {
        (name, f"{prefix}{name}{'.fifo' if queue.get('fifo') else ''}", queue.get("dead_letter_queue"))
        for name, queue in queues.items()
    }
    config = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "base" / "mcp-queue.yaml").read_text())
    named = {
        (queue["name"], queue["url"], queue.get("dead_letter_queue")) for queue in config["queue"]["sqs"]["queues"]
    }
    assert named == created


@everywhere
def test_nothing_names_a_partition(directory: Directory) -> None:
    """ARNs and host names differ in China and GovCloud; names of services and of the audience of tokens do not."""
    assert [] == re.findall(r"arn:aws[\w-]*:", directory.text)
    named = set(re.findall(r"[\w.-]+\.amazonaws\.com[\w.]*", directory.text))
    assert set() == named - {"ecs-tasks.amazonaws.com", "pods.eks.amazonaws.com", "sts.amazonaws.com"}


def queue(name: str) -> dict[str, Any]:
    """Return what the queues of tasks, or of dead letters, are created with."""
    body: dict[str, Any] = module.typed("resource")[f"aws_sqs_queue.{name}"]
    return body


@pytest.mark.parametrize("name", ["tasks", "dead_letters"])
def test_a_queue_takes_the_largest_task(name: str) -> None:
    """The provider's own default would be a quarter of it."""
    assert load_settings({}).gateway.max_task_bytes <= queue(name)["max_message_size"]


def test_dead_letters_are_kept_longer_than_tasks() -> None:
    """Their age goes on from that of the task. A queue that is there keeps its retention."""
    assert timedelta(days=10) == timedelta(seconds=queue("tasks")["message_retention_seconds"])
    assert timedelta(days=14) == timedelta(seconds=queue("dead_letters")["message_retention_seconds"])
    (lifecycle,) = queue("tasks")["lifecycle"]
    assert ["message_retention_seconds"] == lifecycle["ignore_changes"]


def test_an_alarm_goes_off_before_a_task_is_too_old() -> None:
    """For every queue, at an age that is shorter than the retention."""
    alarm = module.typed("resource")["aws_cloudwatch_metric_alarm.age"]
    assert ("${var.queues}", "ApproximateAgeOfOldestMessage") == (alarm["for_each"], alarm["metric_name"])
    assert "${each.value.max_message_age}" == alarm["threshold"]
    conditions = [rule["condition"] for rule in module.named("variable")["queues"]["validation"]]
    retention = queue("tasks")["message_retention_seconds"]
    assert any(f"queue.max_message_age < {retention}" in condition for condition in conditions)


def test_a_dead_letter_queue_names_no_more_sources_than_sqs_allows() -> None:
    """At most ten; one with more is open to all."""
    body = module.typed("resource")["aws_sqs_queue_redrive_allow_policy.dead_letters"]
    chosen = re.fullmatch(
        r"\$\{\(length\(each\.value\) > 10 \? jsonencode\((.*)\) : jsonencode\((.*)\)\)\}", body["redrive_allow_policy"]
    )
    assert chosen is not None
    many, few = chosen.groups()
    assert '{redrivePermission = "allowAll"}' == many
    assert few.startswith('{redrivePermission = "byQueue", sourceQueueArns = [')


def trusts() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the statements about who may take a role: what each is made for, and itself, by its name."""
    document = module.typed("data")["aws_iam_policy_document.trust"]
    found = [block["statement"] for block in document["dynamic"]]
    return {one["content"][0]["sid"]: (one["for_each"], one["content"][0]) for one in found}


@pytest.mark.parametrize(
    ("sid", "only_if", "principal", "actions"),
    [
        ("ServiceAccount", "var.run_by.oidc_provider_arn", "${statement.value}", {"sts:AssumeRoleWithWebIdentity"}),
        ("PodIdentity", "var.run_by.pod_identity", "pods.eks.amazonaws.com", {"sts:AssumeRole", "sts:TagSession"}),
        ("EcsTask", "var.run_by.ecs", "ecs-tasks.amazonaws.com", {"sts:AssumeRole"}),
    ],
)
def test_roles_are_taken_by_what_runs_the_processes_alone(
    sid: str, only_if: str, principal: str, actions: set[str]
) -> None:
    """Each way in is there only when asked for, and bound to one cluster or account."""
    made_for, statement = trusts()[sid]
    assert only_if in made_for
    assert [principal] == statement["principals"][0]["identifiers"]
    assert actions == set(statement["actions"])
    bound = {condition["variable"] for condition in statement["condition"]}
    assert bound in ({"${local.oidc_issuer}:sub", "${local.oidc_issuer}:aud"}, {"aws:SourceAccount", "aws:SourceArn"})


def test_cloudwatch_is_read_only_where_it_is_asked_for() -> None:
    """The permission holds for every metric of the account, so it is not given in advance."""
    document = module.typed("data")["aws_iam_policy_document.shared"]
    assert not [one for one in document["statement"] if any("cloudwatch" in action for action in one["actions"])]
    (dynamic,) = [block["statement"] for block in document["dynamic"]]
    assert "${var.cloudwatch_age ? [true] : []}" == dynamic["for_each"]
    assert ["cloudwatch:GetMetricStatistics"] == dynamic["content"][0]["actions"]


def test_a_missing_payload_can_be_told_from_a_refusal() -> None:
    """S3 answers 404 only to those who may list the bucket, which is granted on the bucket and not on its objects."""
    document = module.typed("data")["aws_iam_policy_document.shared"]
    (listing,) = [one for one in document["statement"] if one["actions"] == ["s3:ListBucket"]]
    assert ["${aws_s3_bucket.payloads.arn}"] == listing["resources"]


def test_keda_reads_the_depths_of_queues_and_nothing_else() -> None:
    """No message, and no dead-letter queue."""
    (statement,) = module.typed("data")["aws_iam_policy_document.keda"]["statement"]
    assert {"sqs:GetQueueAttributes", "sqs:GetQueueUrl"} == set(statement["actions"])
    assert "${local.task_arns}" == statement["resources"]


def policy(name: str) -> dict[str, set[str]]:
    """Return the allowed actions of a policy document by statement."""
    document = module.typed("data")[f"aws_iam_policy_document.{name}"]
    dynamic = [content for block in document.get("dynamic", []) for content in block["statement"]["content"]]
    return {one["sid"]: set(one["actions"]) for one in [*document.get("statement", []), *dynamic]}


def test_every_allowed_action_exists() -> None:
    """A misspelt action is no error to AWS: it only never allows anything."""
    session = botocore.session.get_session()
    for name in ("gateway", "consumer", "shared", "operator", "keda"):
        for action in set().union(*policy(name).values()):
            service, operation = ACTIONS.get(action, action).split(":")
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
    needed = _calls(APPLY) | _calls(SQS / "setup" / "info.py")
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
    rules = module.typed("resource")["aws_s3_bucket_lifecycle_configuration.payloads"]["rule"]
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
        MODULE,
        env={**os.environ, "TF_CLI_CONFIG_FILE": os.devnull},
    )
