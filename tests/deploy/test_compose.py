"""The compose stack: no engine runs here, so that the file is held against what it names."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
import yaml

from mcp_queue.config import Settings, load_settings
from tests.support.config import known_variables
from tests.support.sqs import localstack
from tests.support.tools import ROOT, output_of, program

COMPOSE = ROOT / "docker-compose.yml"
INIT = ROOT / "deploy" / "localstack" / "create-bucket.py"
APP = ("gateway", "consumer", "queues", "migrate")
#: What the images of others listen on, by their documentation.
LISTENING = {"localstack": {4566}, "postgres": {5432}, "prometheus": {9090}, "grafana": {3000}, "jaeger": {16686, 4318}}
#: Read by the libraries themselves, not by our settings.
STANDARD = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "OTEL_EXPORTER_OTLP_ENDPOINT"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Every service, as compose itself reads the file."""
    resolved = output_of(program("docker-compose"), "--file", COMPOSE, "config", "--format", "json")
    found: dict[str, Any] = json.loads(resolved)["services"]
    return found


def test_compose_takes_the_file() -> None:
    """It obeys the compose specification, without a warning."""
    assert "" == output_of(program("docker-compose"), "--file", COMPOSE, "config", "--quiet")


def test_every_image_is_pinned_by_an_exact_tag(services: dict[str, Any]) -> None:
    """What works today works tomorrow."""
    for name, service in services.items():
        if name in APP:
            assert ("mcp-queue:dev", str(ROOT)) == (service["image"], service["build"]["context"])
        else:
            assert re.search(r":v?\d+\.\d+(\.\d+)?$", service["image"]), service["image"]


def test_everything_is_published_on_loopback_alone(services: dict[str, Any]) -> None:
    """And under the port that it has inside, so that an address reads the same in both places."""
    for name, service in services.items():
        for port in service.get("ports", []):
            assert ("127.0.0.1", str(port["target"])) == (port["host_ip"], port["published"]), name


def test_published_ports_are_listened_on(services: dict[str, Any]) -> None:
    """The application's by its settings, the others' by their documentation."""
    settings = load_settings({})
    listening = {
        **LISTENING,
        "gateway": {settings.gateway.port},
        "consumer": {settings.consumer.port},
        "queues": set(),
        "migrate": set(),
    }
    for name, service in services.items():
        assert {port["target"] for port in service.get("ports", [])} <= listening[name]


def test_every_mount_exists_and_cannot_be_written(services: dict[str, Any]) -> None:
    """A path that is not there would be made by the engine, as an empty directory."""
    for name, service in services.items():
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                assert Path(mount["source"]).exists(), name
                assert mount["read_only"], name


def test_every_variable_is_one_that_somebody_reads(services: dict[str, Any]) -> None:
    """A misspelt one would be no setting at all."""
    for name in APP:
        assert set() == services[name]["environment"].keys() - known_variables() - STANDARD


def test_addresses_name_services_and_their_ports(services: dict[str, Any]) -> None:
    """In the variables, in the targets of Prometheus and in the data sources of Grafana."""
    settings = load_settings({})
    listening = {**LISTENING, "gateway": {settings.gateway.port}, "consumer": {settings.consumer.port}}
    variables = [value for name in APP for value in services[name]["environment"].values() if "://" in str(value)]
    for address in (*variables, *scrape_targets(), *data_sources()):
        parts = urlsplit(address)
        assert parts.hostname in services, address
        assert parts.port in listening[parts.hostname], address


def scrape_targets() -> Iterator[str]:
    """Yield what Prometheus scrapes."""
    configuration = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    for job in configuration["scrape_configs"]:
        yield from (f"http://{target}" for group in job["static_configs"] for target in group["targets"])


def data_sources() -> Iterator[str]:
    """Yield where Grafana reads."""
    path = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    yield from (source["url"] for source in yaml.safe_load(path.read_text())["datasources"])


def test_mounts_lie_where_they_are_looked_for(services: dict[str, Any]) -> None:
    """The settings file, LocalStack's script, the rules, and Grafana's two directories."""
    targets = {name: {mount["target"] for mount in service.get("volumes", [])} for name, service in services.items()}
    for name in APP:
        assert {services[name]["environment"]["QUEUE_CONFIG"]} == targets[name]
    dashboards = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/mcp-queue.yml").read_text())
    assert {"/etc/grafana/provisioning", dashboards["providers"][0]["options"]["path"]} == targets["grafana"]
    assert {"/etc/prometheus"} == targets["prometheus"]
    assert {f"/etc/localstack/init/ready.d/{INIT.name}"} == targets["localstack"]


def test_every_service_is_waited_for_until_it_is_healthy(services: dict[str, Any]) -> None:
    """Each has a health check, the application's in its image; gateway and consumer start after what they need."""
    for name, service in services.items():
        assert name in APP or "healthcheck" in service, name
    for name in ("gateway", "consumer"):
        conditions = {other: need["condition"] for other, need in services[name]["depends_on"].items()}
        assert dict.fromkeys(("queues", "migrate"), "service_completed_successfully") == conditions
    for name, other in (("queues", "localstack"), ("migrate", "postgres")):
        assert "service_healthy" == services[name]["depends_on"][other]["condition"]


def test_the_application_is_contained_and_may_drain(services: dict[str, Any]) -> None:
    """A root file system that cannot be written, no capabilities, and time for polls and running work."""
    settings = load_settings({})
    for name in APP:
        service = services[name]
        assert (True, ["ALL"]) == (service["read_only"], service["cap_drop"])
        assert settings.sqs.wait_time + settings.shutdown_grace < duration(service["stop_grace_period"])


def duration(text: str) -> timedelta:
    """Read a duration as compose writes it."""
    units = {"h": 3600, "m": 60, "s": 1}
    return timedelta(seconds=sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text)))


def stack_settings(services: dict[str, Any], name: str) -> Settings:
    """Return the settings of a service, with the mounted file in its place."""
    environment = {key: str(value) for key, value in services[name]["environment"].items()}
    (mount,) = services[name]["volumes"]
    return load_settings({**environment, "QUEUE_CONFIG": mount["source"]})


@pytest.mark.parametrize("name", APP)
def test_the_settings_start_without_a_warning(services: dict[str, Any], name: str) -> None:
    """They contradict nothing, and nothing in them is probably not meant."""
    assert () == stack_settings(services, name).warnings


def test_the_script_creates_the_bucket_of_the_settings(
    services: dict[str, Any], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queues are made by the service that applies the settings; to run the script again changes nothing."""
    server = localstack.of_session(request.config)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    settings = stack_settings(services, "consumer")
    for _ in range(2):
        exec(compile(INIT.read_bytes(), INIT, "exec"), {})  # LocalStack runs it in just this way

    assert ["queues", "apply"] == services["queues"]["command"]
    buckets = {spec.payload_bucket for spec in settings.queues} - {None}
    assert buckets <= {bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]}


def client(service: str) -> Any:
    """Return a client as the environment sets it up. Its methods are made at run time, so that no type knows them."""
    return botocore.session.get_session().create_client(service)
