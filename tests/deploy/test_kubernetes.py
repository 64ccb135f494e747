"""The Kubernetes manifests: each overlay as kustomize builds it."""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml

from mcp_queue.config import load_settings
from mcp_queue.domain.queues import QueueSpec
from tests.support.tools import ROOT, output_of, program

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
COMPONENT = KUBERNETES / "components" / "prometheus-operator"
SCHEMAS = Path(__file__).parent / "schemas"
#: The oldest Kubernetes that has everything the manifests use without a feature gate, and the newest.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
Manifest = dict[str, Any]


@pytest.fixture(scope="module", params=["base", *OVERLAYS, "with the component"])
def manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """Every object of the base, of one overlay, or of an overlay of a user's own that adds the component."""
    match request.param:
        case "base":
            directory = KUBERNETES / "base"
        case "with the component":
            directory = users_overlay(tmp_path_factory.mktemp("overlay"))
        case overlay:
            directory = KUBERNETES / "overlays" / overlay
    return list(yaml.safe_load_all(output_of(program("kubectl"), "kustomize", directory)))


def users_overlay(directory: Path) -> Path:
    """Write an overlay with ServiceMonitors, another image and another region."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "mcp-queue",
        "resources": [os.path.relpath(KUBERNETES / "overlays" / "keda", directory)],
        "components": [os.path.relpath(COMPONENT, directory)],
        "images": [{"name": "mcp-queue", "newName": "registry.example/mcp-queue", "newTag": "1.2.3"}],
        "configMapGenerator": [
            {"name": "mcp-queue-settings", "behavior": "merge", "literals": ["AWS_REGION=eu-central-1"]}
        ],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return directory


def test_a_user_changes_image_and_settings_in_an_overlay(tmp_path: Path) -> None:
    """Without an edit of the base, whose files are rendered."""
    built = list(yaml.safe_load_all(output_of(program("kubectl"), "kustomize", users_overlay(tmp_path))))
    images = {container["image"] for _, pod in pod_specs(built) for container in pod["containers"]}
    (settings,) = [one for one in built if one["metadata"]["name"].startswith("mcp-queue-settings")]
    assert {"registry.example/mcp-queue:1.2.3"} == images
    assert {"AWS_REGION": "eu-central-1", "QUEUE_CONFIG": "/etc/mcp-queue/mcp-queue.yaml"} == settings["data"]


def test_the_base_needs_no_custom_resource() -> None:
    """It applies to a cluster without the Prometheus operator and without KEDA; the component adds ServiceMonitors."""
    base = yaml.safe_load_all(output_of(program("kubectl"), "kustomize", KUBERNETES / "base"))
    assert set() == {one["kind"] for one in base} & {path.stem for path in SCHEMAS.iterdir()}


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the one object of that kind and name."""
    (found,) = [one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod_specs(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield the pod of every workload with the workload's name."""
    for one in manifests:
        if one["kind"] in {"Deployment", "Job"}:
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_obeys_its_schema(manifests: list[Manifest], version: str) -> None:
    """Kubernetes knows every kind and every member, and so do the schemas of the custom resources."""
    for manifest in manifests:
        custom = SCHEMAS / f"{manifest['kind']}.json"
        if custom.exists():
            jsonschema.validate(manifest, json.loads(custom.read_text()))
        else:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_all_but_the_namespace_lie_in_it(manifests: list[Manifest]) -> None:
    """Nothing ends in the namespace that a user happens to have selected."""
    elsewhere = [one["kind"] for one in manifests if one["metadata"].get("namespace") != "mcp-queue"]
    assert ["Namespace"] == elsewhere


def test_every_pod_is_restricted(manifests: list[Manifest]) -> None:
    """Pods obey the restricted pod security standard that the namespace enforces, with read-only root file systems."""
    for name, pod in pod_specs(manifests):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert "RuntimeDefault" == pod["securityContext"]["seccompProfile"]["type"], name
        for container in pod["containers"]:
            security = container["securityContext"]
            assert {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            } == security, name


def test_every_volume_is_defined_and_used(manifests: list[Manifest]) -> None:
    """A mount without its volume would keep the pod from starting."""
    for name, pod in pod_specs(manifests):
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert {volume["name"] for volume in pod["volumes"]} == mounted, name


def test_every_pod_has_its_requests_and_a_memory_limit(manifests: list[Manifest]) -> None:
    """The autoscaler of the gateway measures by the requests."""
    for name, pod in pod_specs(manifests):
        for container in pod["containers"]:
            assert {"cpu", "memory"} == container["resources"]["requests"].keys(), name
            assert {"memory"} == container["resources"]["limits"].keys(), name


@pytest.mark.parametrize("role", ["gateway", "consumer"])
def test_probes_and_services_go_to_the_port_of_the_process(manifests: list[Manifest], role: str) -> None:
    """The ports are the defaults of the settings, and every reference to them is by the name of the port."""
    settings = load_settings({})
    (container,) = named(manifests, "Deployment", f"mcp-queue-{role}")["spec"]["template"]["spec"]["containers"]
    service = named(manifests, "Service", f"mcp-queue-{role}")["spec"]

    assert [role] == container["args"]
    assert [{"name": "http", "containerPort": getattr(settings, role).port}] == container["ports"]
    assert ("/readyz", "http") == tuple(container["readinessProbe"]["httpGet"].values())
    assert ("/healthz", "http") == tuple(container["livenessProbe"]["httpGet"].values())
    assert ["http"] == [port["targetPort"] for port in service["ports"]]
    for monitor in (one for one in manifests if one["kind"] == "ServiceMonitor"):
        assert ["http"] == [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]]


def test_a_pod_is_not_killed_before_it_has_drained(manifests: list[Manifest]) -> None:
    """A consumer awaits its long polls and then its work; a gateway what it has accepted."""
    settings = load_settings({})
    consumer = named(manifests, "Deployment", "mcp-queue-consumer")["spec"]["template"]["spec"]
    gateway = named(manifests, "Deployment", "mcp-queue-gateway")["spec"]["template"]["spec"]
    pause = gateway["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]

    grace = timedelta(seconds=consumer["terminationGracePeriodSeconds"])
    assert settings.sqs.wait_time + settings.shutdown_grace < grace
    grace = timedelta(seconds=gateway["terminationGracePeriodSeconds"])
    assert timedelta(seconds=pause) + settings.shutdown_grace < grace


def test_selectors_find_what_they_are_meant_for(manifests: list[Manifest]) -> None:
    """Services, budgets, policies and monitors select by labels that exist."""
    templates = [one["spec"]["template"] for one in manifests if one["kind"] in {"Deployment", "Job"}]
    pods = [template["metadata"]["labels"] for template in templates]
    services = [one["metadata"]["labels"] for one in manifests if one["kind"] == "Service"]
    for one in manifests:
        spec = one.get("spec", {})
        match one["kind"]:
            case "Service":
                wanted, among = spec["selector"], pods
            case "PodDisruptionBudget":
                wanted, among = spec["selector"]["matchLabels"], pods
            case "NetworkPolicy":
                wanted, among = spec["podSelector"]["matchLabels"], pods
            case "ServiceMonitor":
                wanted, among = spec["selector"]["matchLabels"], services
            case _:
                continue
        assert 1 == sum(wanted.items() <= labels.items() for labels in among), one["metadata"]["name"]


def test_every_pod_has_a_network_policy(manifests: list[Manifest]) -> None:
    """What no policy selects may talk to anything."""
    selected = [one["spec"]["podSelector"]["matchLabels"] for one in manifests if one["kind"] == "NetworkPolicy"]
    for name, _ in pod_specs(manifests):
        assert {"app.kubernetes.io/name": name} in selected


def test_autoscalers_and_accounts_name_what_exists(manifests: list[Manifest]) -> None:
    """Deployments are scaled by one autoscaler at most, and each runs as its own account."""
    scaled = sorted(
        one["spec"]["scaleTargetRef"]["name"]
        for one in manifests
        if one["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}
    )
    assert scaled in (["mcp-queue-gateway"], ["mcp-queue-consumer", "mcp-queue-gateway"])
    for role in ("gateway", "consumer"):
        deployment = named(manifests, "Deployment", f"mcp-queue-{role}")["spec"]
        assert "replicas" not in deployment
        assert named(manifests, "ServiceAccount", deployment["template"]["spec"]["serviceAccountName"])


def test_the_gateway_is_scaled_by_what_a_process_can_use(manifests: list[Manifest]) -> None:
    """By an amount below its one core, and above what is requested for it; a share of the request would be less."""
    (metric,) = named(manifests, "HorizontalPodAutoscaler", "mcp-queue-gateway")["spec"]["metrics"]
    target = metric["resource"]["target"]
    (container,) = named(manifests, "Deployment", "mcp-queue-gateway")["spec"]["template"]["spec"]["containers"]
    assert "AverageValue" == target["type"]
    requested = millicores(container["resources"]["requests"]["cpu"])
    assert requested < millicores(target["averageValue"]) < 1000


def millicores(amount: str) -> int:
    """Read an amount of processor time."""
    return int(amount.removesuffix("m")) if amount.endswith("m") else 1000 * int(amount)


def egress(manifests: list[Manifest], name: str) -> set[tuple[str, int, str]]:
    """Return the single addresses that a policy lets out to, with port and protocol."""
    return {
        (peer["ipBlock"]["cidr"], port["port"], port.get("protocol", "TCP"))
        for rule in named(manifests, "NetworkPolicy", name)["spec"]["egress"]
        for peer in rule.get("to", [])
        if "ipBlock" in peer
        for port in rule.get("ports", [])
    }


@pytest.mark.parametrize("name", ["mcp-queue-gateway", "mcp-queue-consumer", "mcp-queue-migrate"])
def test_names_are_resolved_wherever_dns_answers(manifests: list[Manifest], name: str) -> None:
    """Also by NodeLocal DNSCache, and by the nodes of EKS Auto Mode, under either of the two default addresses."""
    allowed = egress(manifests, name)
    for address in ("169.254.20.10/32", "10.100.0.10/32", "172.20.0.10/32"):
        assert {(address, 53, "UDP"), (address, 53, "TCP")} <= allowed


@pytest.mark.parametrize("name", ["mcp-queue-gateway", "mcp-queue-consumer"])
def test_credentials_come_from_the_agent_of_pod_identity(manifests: list[Manifest], name: str) -> None:
    """It answers on the node, by its IPv4 and its IPv6 address."""
    assert {("169.254.170.23/32", 80, "TCP"), ("fd00:ec2::23/128", 80, "TCP")} <= egress(manifests, name)


def test_queues_have_a_bucket_for_large_tasks(manifests: list[Manifest], tmp_path: Path) -> None:
    """As the Terraform module creates one."""
    settings = load_settings(environment(manifests, tmp_path))
    consumed = [spec for spec in settings.queues if spec.name not in settings.dead_letter_queues]
    assert consumed
    assert [] == [spec.name for spec in consumed if spec.payload_bucket is None]


def test_the_configuration_starts_without_a_warning(manifests: list[Manifest], tmp_path: Path) -> None:
    """The processes read the mounted file with the variables of their pods."""
    settings = load_settings(environment(manifests, tmp_path))
    assert () == settings.warnings


def test_consumers_are_scaled_by_the_queues_that_they_consume(manifests: list[Manifest], tmp_path: Path) -> None:
    """Every queue that is worked on has its trigger, and no dead-letter queue has."""
    settings = load_settings(environment(manifests, tmp_path))
    consumed = [spec for spec in settings.queues if spec.name not in settings.dead_letter_queues]
    scaled = sorted(triggers(manifests))
    assert scaled == (sorted(expected_trigger(spec, manifests) for spec in consumed) if scaled else [])


def test_an_overlay_scales_the_consumers(manifests: list[Manifest], request: pytest.FixtureRequest) -> None:
    """Every overlay does; the base leaves it open."""
    assert bool(list(triggers(manifests))) == ("[base]" not in request.node.name)


def environment(manifests: list[Manifest], directory: Path) -> dict[str, str]:
    """Return the variables of the pods, with the mounted file in ``directory``."""
    (config,) = [one for one in manifests if one["metadata"]["name"].startswith("mcp-queue-config")]
    (settings,) = [one for one in manifests if one["metadata"]["name"].startswith("mcp-queue-settings")]
    path = directory / "mcp-queue.yaml"
    path.write_text(config["data"]["mcp-queue.yaml"])
    mounted = settings["data"]["QUEUE_CONFIG"]
    assert "/etc/mcp-queue/mcp-queue.yaml" == mounted
    return {**settings["data"], "QUEUE_CONFIG": str(path), "LEDGER_URL": "postgresql+asyncpg://ledger/mcp_queue"}


def triggers(manifests: list[Manifest]) -> Iterator[str]:
    """Yield what the consumers are scaled by: the SQS name with KEDA, the queue's name with a metric."""
    for one in manifests:
        if one["kind"] == "ScaledObject":
            yield from (trigger["metadata"]["queueURL"] for trigger in one["spec"]["triggers"])
        elif one["kind"] == "HorizontalPodAutoscaler" and one["metadata"]["name"] == "mcp-queue-consumer":
            metrics = one["spec"]["metrics"]
            yield from (metric["external"]["metric"]["selector"]["matchLabels"]["queue"] for metric in metrics)


def expected_trigger(spec: QueueSpec, manifests: list[Manifest]) -> str:
    """Return what a trigger of the queue names."""
    keda = any(one["kind"] == "ScaledObject" for one in manifests)
    return str(spec.url) if keda else spec.name
