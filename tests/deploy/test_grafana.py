"""The dashboards as Grafana reads them."""

from collections import Counter
from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.support.monitoring import dashboards
from tests.support.tools import ROOT

DASHBOARDS = dashboards()
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"


def test_there_are_two() -> None:
    """The processes, and the queues."""
    assert ["queues", "service"] == sorted(DASHBOARDS)
    assert ["mcp-queue-queues", "mcp-queue-service"] == sorted(dashboard["uid"] for dashboard in DASHBOARDS.values())


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_a_title_and_a_number_of_their_own(name: str) -> None:
    """Grafana would drop the second of two panels with one number."""
    panels = DASHBOARDS[name]["panels"]
    assert [] == [number for number, count in Counter(panel["id"] for panel in panels).items() if count > 1]
    assert all(panel["title"] for panel in panels)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_lie_beside_each_other(name: str) -> None:
    """Within the 24 columns, none over another."""
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARDS[name]["panels"]], 2):
        assert not overlap(one, other), (one, other)
    assert all(place["x"] + place["w"] <= 24 for place in (panel["gridPos"] for panel in DASHBOARDS[name]["panels"]))


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether two places share a cell."""
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_asks_the_chosen_data_source(name: str) -> None:
    """By the variable, so that the dashboards work in any Grafana; in the compose stack it is the provisioned one."""
    dashboard = DASHBOARDS[name]
    (variable,) = [one for one in dashboard["templating"]["list"] if one["type"] == "datasource"]
    for panel in dashboard["panels"]:
        for part in (panel, *panel.get("targets", [])):
            if panel["type"] != "row":
                assert {"type": "prometheus", "uid": "${datasource}"} == part["datasource"]
    assert variable["current"]["value"] in {source["uid"] for source in provisioned()}


def provisioned() -> list[dict[str, Any]]:
    """Return the data sources of the compose stack."""
    found: list[dict[str, Any]] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    return found
