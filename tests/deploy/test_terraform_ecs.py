"""The ECS Fargate example: its tasks start, drain, and are scaled by what waits. Nothing here reaches AWS."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_queue.config import Settings, load_settings
from tests.support.config import known_variables
from tests.support.terraform.files import ECS, Directory, value_of
from tests.support.tools import ROOT

example = Directory(ECS)
PROCESSES: Mapping[str, Mapping[str, Any]] = example.local["processes"]
#: Not settings: where Python puts temporary files, and what the entry point writes to the file of QUEUE_CONFIG.
OWN = {"TMPDIR", "MCP_QUEUE_YAML"}

processes = pytest.mark.parametrize("name", sorted(PROCESSES))


def containers() -> dict[str, dict[str, Any]]:
    """Return the containers of a task by name; that of the process is called ``${each.key}``."""
    task = example.typed("resource")["aws_ecs_task_definition.this"]
    return {one["name"]: one for one in value_of(task["container_definitions"])}


def environment(name: str, directory: Path) -> dict[str, str]:
    """Return the variables of a process, with its file in ``directory``."""
    path = directory / "mcp-queue.yaml"
    queues = [
        {key: re.sub(r"\$\{.*\}", f"name-of-{queue['name']}", value) for key, value in queue.items()}
        for queue in example.local["queues"]
    ]
    for queue in queues:
        queue["url"] += ".fifo" if queue["type"] == "fifo" else ""
    path.write_text(yaml.safe_dump({"queue": {"sqs": {"queues": queues}}}))
    settings = {**example.local["settings"], **PROCESSES[name]["settings"]}
    secrets = {
        "LEDGER_URL": "postgresql+asyncpg://mcp_queue:x@ledger:5432/mcp_queue?ssl=require",
        "CALLBACK_SECRETS": "whsec_" + 43 * "A" + "=",
    }
    given = {key: secrets[key] for key in {"LEDGER_URL", *PROCESSES[name]["secrets"]}}
    return {**settings, **given, "AWS_REGION": "us-east-1", "QUEUE_CONFIG": str(path)}


@processes
def test_a_process_starts_without_a_warning(name: str, tmp_path: Path) -> None:
    """Its variables are settings, and they contradict nothing."""
    variables = environment(name, tmp_path)
    assert set() == variables.keys() - known_variables() - OWN
    settings = load_settings({key: value for key, value in variables.items() if key not in OWN})
    assert () == settings.warnings


def test_the_file_has_queues_and_keys() -> None:
    """Which are what the processes read in it."""
    written = value_of(example.local["settings"]["MCP_QUEUE_YAML"])
    assert {"queue": {"sqs": {"queues": "${local.queues}"}}, "gateway": {"keys": "${var.api_keys}"}} == written


def test_the_entry_point_writes_the_file_and_becomes_the_process(tmp_path: Path) -> None:
    """As process 1 of its container, so that the signal to stop reaches it; with its arguments as they are."""
    program = tmp_path / "mcp-queue"
    program.write_text('#!/bin/sh\necho "$$ $# $1"\ncat "$QUEUE_CONFIG"\n')
    program.chmod(0o755)
    text = 'gateway:\n  keys: [{"name": "it\'s % $HOME \\\\n"}]\n'
    started = subprocess.Popen(
        [*(re.sub(r"\\(.)", r"\1", part) for part in example.local["entry_point"]), "gateway"],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "MCP_QUEUE_YAML": text,
            "QUEUE_CONFIG": str(tmp_path / "mcp-queue.yaml"),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = started.communicate(timeout=30)
    assert f"{started.pid} 1 gateway\n{text}" == output


def test_the_file_lies_where_the_container_may_write() -> None:
    """The root file system is read-only; the image gives the directory to its user, and the task mounts it."""
    process = containers()["${each.key}"]
    (mount,) = process["mountPoints"]
    (volume,) = example.typed("resource")["aws_ecs_task_definition.this"]["volume"]
    declared = re.search(r"^VOLUME (\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)

    assert all(container["readonlyRootFilesystem"] for container in containers().values())
    assert (volume["name"], False) == (mount["sourceVolume"], mount["readOnly"])
    assert declared is not None
    assert declared[1] == mount["containerPath"] == example.local["settings"]["TMPDIR"]
    assert mount["containerPath"] == str(Path(example.local["settings"]["QUEUE_CONFIG"]).parent)


def test_the_ledger_is_migrated_before_a_process_starts() -> None:
    """By a container of the same task, whose end is waited for, and whose failure keeps the process from starting."""
    migrate, process = containers()["migrate"], containers()["${each.key}"]
    assert (["ledger", "migrate"], False) == (migrate["command"], migrate["essential"])
    assert [{"containerName": "migrate", "condition": "SUCCESS"}] == process["dependsOn"]
    assert ["LEDGER_URL"] == [secret["name"] for secret in migrate["secrets"]]


@processes
def test_a_task_is_not_killed_before_it_has_drained(name: str, tmp_path: Path) -> None:
    """120 s are the most that Fargate waits."""
    settings: Settings = load_settings(
        {key: value for key, value in environment(name, tmp_path).items() if key not in OWN}
    )
    assert "${local.stop_timeout}" == containers()["${each.key}"]["stopTimeout"]
    assert 120 == example.local["stop_timeout"]
    assert (settings.sqs.wait_time + settings.shutdown_grace).total_seconds() < example.local["stop_timeout"]


@processes
def test_a_port_is_that_of_the_process(name: str) -> None:
    """The ports are the defaults of the settings."""
    assert getattr(load_settings({}), name).port == PROCESSES[name]["port"]


def test_the_load_balancer_asks_whether_the_gateway_is_ready() -> None:
    """At the port that the service has registered."""
    resources = example.typed("resource")
    group = resources["aws_lb_target_group.gateway"]
    (service,) = resources["aws_ecs_service.gateway"]["load_balancer"]
    assert "/readyz" == group["health_check"][0]["path"]
    assert ("gateway", group["port"]) == (service["container_name"], service["container_port"])
    assert "HTTPS" == resources["aws_lb_listener.gateway"]["protocol"]


def test_ecs_may_read_every_secret_that_it_gives_to_a_task() -> None:
    """And every secret has a value."""
    resources = example.typed("resource")
    secrets = {name.partition(".")[2] for name in resources if name.startswith("aws_secretsmanager_secret.")}
    valued = {name.partition(".")[2] for name in resources if name.startswith("aws_secretsmanager_secret_version.")}
    (statement,) = example.typed("data")["aws_iam_policy_document.execution"]["statement"]
    assert {f"${{aws_secretsmanager_secret.{name}.arn}}" for name in secrets} == set(statement["resources"])
    assert secrets == valued


def test_consumers_are_scaled_by_what_waits_for_each_of_them() -> None:
    """The sum over the queues that are worked on, divided by the consumers that run."""
    policy = example.typed("resource")["aws_appautoscaling_policy.consumer"]
    (tracking,) = policy["target_tracking_scaling_policy_configuration"]
    (metric,) = tracking["customized_metric_specification"]
    running, backlog = metric["metrics"]
    (setting,) = example.typed("resource")["aws_ecs_cluster.this"]["setting"]

    assert '(${join(" + ", keys(local.backlog))}) / consumers' == backlog["expression"]
    assert ("consumers", "RunningTaskCount") == (running["id"], running["metric_stat"][0]["metric"][0]["metric_name"])
    assert [True] == [one["return_data"] for one in (running, backlog) if one["return_data"]]
    # Without it there is no RunningTaskCount.
    assert ("containerInsights", "enabled") == (setting["name"], setting["value"])
    for name in ("ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"):
        assert name in example.local["backlog"]


@processes
def test_terraform_leaves_the_number_of_tasks_to_autoscaling(name: str) -> None:
    """An apply would otherwise undo what it has decided."""
    resources = example.typed("resource")
    (lifecycle,) = resources[f"aws_ecs_service.{name}"]["lifecycle"]
    assert ["desired_count"] == lifecycle["ignore_changes"]
    assert f"aws_ecs_service.{name}.name" in resources[f"aws_appautoscaling_target.{name}"]["resource_id"]


def test_the_database_survives_a_zone_and_a_mistake() -> None:
    """A standby in another zone, backups, encryption, and no deletion by accident."""
    database = example.typed("resource")["aws_db_instance.ledger"]
    assert (True, True, True) == (database["multi_az"], database["storage_encrypted"], database["deletion_protection"])
    assert 7 <= database["backup_retention_period"]
    assert "final_snapshot_identifier" in database
