"""The Helm chart: what it renders, which values it refuses, and that the kustomize files are its output."""

import hashlib
import sys
import tomllib
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml

from mcp_queue.config import load_settings
from tests.support.tools import ROOT, output_of

CHART = ROOT / "deploy" / "helm" / "mcp-queue"
KUBERNETES = ROOT / "deploy" / "kubernetes"
#: Of others: there is no schema of Kubernetes for them.
CUSTOM = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor"}
Values = dict[str, Any]
Manifest = dict[str, Any]


def rendered(values: Values | None = None) -> list[Manifest]:
    """Return every object that a release with ``values`` has."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name="mcp-queue", namespace="mcp-queue")
    return [one for text in files.values() for one in yaml.safe_load_all(text) if one is not None]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the one object of that kind and name."""
    (found,) = [one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def test_the_kustomize_files_are_what_the_chart_renders(tmp_path: Path) -> None:
    """So that both ways of installing install the same. ``make manifests`` writes them."""
    output_of(sys.executable, KUBERNETES / "render.py", tmp_path)
    fresh = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert fresh == {path: (KUBERNETES / path).read_text() for path in fresh}
    by_hand = {path.name for path in KUBERNETES.rglob("*.yaml")} - {path.name for path in fresh}
    assert {"kustomization.yaml", "namespace.yaml"} == by_hand


def test_the_linter_finds_nothing() -> None:
    """But for the icon, which a chart need not have."""
    report = helm_python.lint(CHART, strict=True)
    assert [] == report["errors"]
    assert ["icon is recommended"] == [message["error"] for message in report["messages"]]


@pytest.mark.parametrize("scaling", ["none", "keda", "hpa"])
def test_every_object_obeys_the_schema_of_the_oldest_kubernetes(scaling: str) -> None:
    """Which the chart itself names."""
    with helm_python.Chart.load(CHART) as chart:
        assert ">=1.30.0-0" == chart.metadata["kubeVersion"]
    manifests = rendered({"consumer": {"autoscaling": {"type": scaling}}, "serviceMonitors": {"enabled": True}})
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, "1.30", strict=True)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"gateways": {}}, "gateways"),
        ({"gateway": {"replicas": 3}}, "replicas"),
        ({"settings": {"QUEUE_WORKER_COUNT": 20}}, "QUEUE_WORKER_COUNT"),
        ({"settings": {"AWS_REGION": None}}, "AWS_REGION"),
        ({"consumer": {"autoscaling": {"type": "vpa"}}}, "type"),
        ({"consumer": {"replicas": 0}}, "replicas"),
        ({"config": {"queue": {"sqs": {"queues": []}}}}, "queues"),
        ({"config": {"queue": {"sqs": {"queues": [{"url": "tasks"}]}}}}, "name"),
        ({"networkPolicies": {"dnsAddresses": ["10.96.0.10"]}}, "dnsAddresses"),
    ],
)
def test_wrong_values_are_refused(values: Values, key: str) -> None:
    """Before anything is installed, with the key that is wrong."""
    with helm_python.Chart.load(CHART) as chart, pytest.raises(helm_python.HelmValuesError, match=key):
        chart.render(values)


def test_the_default_values_are_accepted_and_start_without_a_warning(tmp_path: Path) -> None:
    """The processes read the mounted file with the variables of their pods."""
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema()
    manifests = rendered()
    file = tmp_path / "mcp-queue.yaml"
    file.write_text(named(manifests, "ConfigMap", "mcp-queue-config")["data"]["mcp-queue.yaml"])
    variables = named(manifests, "ConfigMap", "mcp-queue-settings")["data"]
    ledger = {"LEDGER_URL": "postgresql+asyncpg://ledger/mcp_queue"}
    assert () == load_settings({**variables, **ledger, "QUEUE_CONFIG": str(file)}).warnings


@pytest.mark.parametrize("changed", [{"settings": {"LOG_LEVEL": "debug"}}, {"config": {"logs": {"level": "debug"}}}])
def test_a_changed_setting_starts_new_pods(changed: Values) -> None:
    """A pod reads its ConfigMaps only when it starts."""
    for role in ("gateway", "consumer"):
        before, after = (
            named(rendered(values), "Deployment", f"mcp-queue-{role}")["spec"]["template"]["metadata"]["annotations"]
            for values in ({}, changed)
        )
        assert len(hashlib.sha256().hexdigest()) == len(before["checksum/config"])
        assert before != after


@pytest.mark.parametrize(("scaling", "expected"), [("none", 5), ("keda", None), ("hpa", None)])
def test_a_count_of_consumers_holds_only_where_nothing_scales_them(scaling: str, expected: int | None) -> None:
    """Each upgrade would otherwise undo what the autoscaler has decided."""
    manifests = rendered({"consumer": {"replicas": 5, "autoscaling": {"type": scaling}}})
    assert expected == named(manifests, "Deployment", "mcp-queue-consumer")["spec"].get("replicas")


def test_consumers_are_scaled_by_the_levels_of_a_priority_queue() -> None:
    """Which are queues at SQS. The priority queue itself is none, and dead-letter queues are not worked on."""
    queues = [
        {"name": "work", "type": "priority", "levels": {"3": "work-p3", "0": "work-p0"}, "dead_letter_queue": "failed"},
        {"name": "work-p3", "url": "prod-work-p3"},
        {"name": "work-p0", "url": "prod-work-p0"},
        {"name": "failed", "url": "prod-failed"},
    ]
    scaling = {"consumer": {"autoscaling": {"type": "keda"}}, "settings": {"AWS_REGION": "eu-central-1"}}
    manifests = rendered({**scaling, "config": {"queue": {"sqs": {"queues": queues}}}})
    triggers = named(manifests, "ScaledObject", "mcp-queue-consumer")["spec"]["triggers"]
    assert ["prod-work-p3", "prod-work-p0"] == [trigger["metadata"]["queueURL"] for trigger in triggers]
    assert {"eu-central-1"} == {trigger["metadata"]["awsRegion"] for trigger in triggers}


def test_network_policies_take_further_rules_and_can_be_left_out() -> None:
    """A collector or a receiver inside the cluster is reached by gateway and consumer, not by the migration."""
    rule = {"to": [{"namespaceSelector": {"matchLabels": {"team": "receivers"}}}]}
    manifests = rendered({"networkPolicies": {"egress": [rule]}})
    with_rule = {
        one["metadata"]["name"] for one in manifests if one["kind"] == "NetworkPolicy" and rule in one["spec"]["egress"]
    }
    assert {"mcp-queue-gateway", "mcp-queue-consumer"} == with_rule
    without = rendered({"networkPolicies": {"enabled": False}})
    assert "NetworkPolicy" not in {one["kind"] for one in without}


def test_the_ledger_is_migrated_before_the_processes_change() -> None:
    """By a hook of install and upgrade, which replaces its own job."""
    annotations = named(rendered(), "Job", "mcp-queue-migrate")["metadata"]["annotations"]
    assert {
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    } == annotations


def test_the_chart_has_the_version_of_the_program() -> None:
    """The image's tag is the chart's version of the program."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    with helm_python.Chart.load(CHART) as chart:
        assert (version, version) == (chart.version, chart.metadata["appVersion"])
    images = {
        container["image"]
        for one in rendered({"image": {"repository": "registry.example/mcp-queue"}})
        if one["kind"] in {"Deployment", "Job"}
        for container in one["spec"]["template"]["spec"]["containers"]
    }
    assert {f"registry.example/mcp-queue:{version}"} == images
