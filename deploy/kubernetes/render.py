# ruff: noqa: INP001  # a script, no module
"""Writes the kustomize base, overlays and component from the Helm chart, so that what both install is the same.

python deploy/kubernetes/render.py [DIRECTORY]      # without one, into deploy/kubernetes
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import yaml

HERE = Path(__file__).parent
CHART = HERE.parent / "helm" / "mcp-queue"
HEADER = "# Rendered from deploy/helm/mcp-queue by `make manifests`; do not edit.\n"
BASE = ("service-accounts", "gateway", "consumer", "migrate", "network-policies")

#: In the base kustomize makes the ConfigMaps, under names that change with them. Its overlays scale the consumers.
BASE_VALUES: dict[str, Any] = {"configMaps": {"create": False}, "consumer": {"replicas": None}}


def rendered(values: dict[str, Any]) -> dict[str, str]:
    """Return what each template of the chart gives, by the name of its file without the extension."""
    with helm_python.Chart.load(CHART) as chart:
        found = chart.render(values, name="mcp-queue", namespace="mcp-queue")
    return {Path(path).stem: text for path, text in found.items()}


def files() -> Iterator[tuple[str, str]]:
    """Yield each file, relative to the directory of the manifests, with its contents."""
    base = rendered(BASE_VALUES)
    yield from ((f"base/{name}.yaml", base[name]) for name in BASE)
    config, settings = yaml.safe_load_all(rendered({})["config-maps"])
    yield "base/mcp-queue.yaml", config["data"]["mcp-queue.yaml"]
    yield "base/settings.env", "".join(f"{name}={value}\n" for name, value in sorted(settings["data"].items()))
    for overlay, file in (("hpa", "autoscaler"), ("keda", "scaled-object")):
        scaled = rendered({"consumer": {"autoscaling": {"type": overlay}}})
        yield f"overlays/{overlay}/{file}.yaml", scaled["consumer-autoscaler"]
    monitors = rendered({"serviceMonitors": {"enabled": True}})["service-monitors"]
    yield "components/prometheus-operator/service-monitors.yaml", monitors


def main() -> None:
    """Write every file."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name, text in files():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + text.strip("\n").removeprefix("---\n") + "\n")


if __name__ == "__main__":
    main()
