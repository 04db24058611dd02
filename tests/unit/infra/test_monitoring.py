"""The dashboard asks for metrics that exist, in PromQL that parses; the configs are sound."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from small_journal import small_night, write_events

from platemill.observe.metrics import RunMetrics

MONITORING = Path(__file__).parents[3] / "infra" / "monitoring"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "platemill.json"
TRITON = (MONITORING / "triton-metrics.txt").read_text().split()


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


EXPRESSIONS = [target["expr"] for panel in panels() for target in panel.get("targets", ())]


def selectors(node: Any) -> Iterator[Any]:
    """The vector selectors of a parsed expression."""
    found: list[Any] = []
    promql_parser.walk(
        node,
        lambda one: found.append(one) if isinstance(one, promql_parser.VectorSelector) else None,
    )
    return iter(found)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_parses_and_asks_for_metrics_that_exist(
    expression: str, tmp_path: Path
) -> None:
    write_events(tmp_path, small_night())
    metrics = RunMetrics(tmp_path, "r1")
    running = list(metrics.collect())
    metrics.end(succeeded=True)
    ours = {
        sample.name: set(sample.labels)
        for family in (*running, *metrics.collect())
        for sample in family.samples
    }
    seen = list(selectors(promql_parser.parse(expression)))
    assert seen
    for selector in seen:
        assert selector.name in {*ours, *TRITON}
        given = {matcher.name for matcher in selector.matchers.matchers}
        # Each selector says whose metrics it means: a run's, a server's, the node exporter's.
        assert given & {"part", "job"}
        if selector.name in ours:
            assert given <= {"part", "job", *ours[selector.name]}


def test_every_metric_of_a_run_is_on_the_dashboard_or_known_not_to_be(tmp_path: Path) -> None:
    known = {
        "platemill_run_info",
        "platemill_server_start_seconds",
        "platemill_servers_started",
    }
    names = {family.name for family in RunMetrics(tmp_path, "r1").collect()}
    shown = " ".join(EXPRESSIONS)
    assert {name for name in names if name not in shown} == known


def test_panels_have_titles_units_and_places_of_their_own() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["title"]
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in covered) < 24
        assert not covered & cells, panel["title"]
        cells |= covered
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-kubernetes.yml"])
def test_prometheus_accepts_its_configuration(name: str, tmp_path: Path) -> None:
    config = yaml.safe_load((MONITORING / name).read_text())
    for job in config["scrape_configs"]:
        # Debian's Prometheus is built without it; the rest of the job is checked.
        job.pop("kubernetes_sd_configs", None)
    (tmp_path / name).write_text(yaml.safe_dump(config))
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_in_kubernetes_the_pods_that_a_night_makes_are_scraped() -> None:
    base = MONITORING.parent / "kubernetes" / "base"
    (job,) = yaml.safe_load((MONITORING / "prometheus-kubernetes.yml").read_text())[
        "scrape_configs"
    ]
    part_of, container, port = job["relabel_configs"][0]["regex"].split(";")
    labels = yaml.safe_load((base / "kustomization.yaml").read_text())["labels"][0]
    assert labels["pairs"]["app.kubernetes.io/part-of"] == part_of
    assert labels["includeTemplates"]
    (job_template,) = yaml.safe_load_all((base / "rayjob.yaml").read_text())
    ports = [
        (found["name"], named["name"])
        for group in job_template["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        for found in group["template"]["spec"]["initContainers"]
        for named in found.get("ports", ())
    ]
    assert (container, port) in ports


def test_grafana_finds_the_dashboards_and_prometheus() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())
    (datasource,) = source["datasources"]
    assert (datasource["type"], datasource["access"]) == ("prometheus", "proxy")
    assert "127.0.0.1" in datasource["url"]
    provider = yaml.safe_load((provisioning / "dashboards" / "platemill.yml").read_text())
    assert provider["providers"][0]["type"] == "file"
    variable = json.loads(DASHBOARD.read_text())["templating"]["list"][0]
    assert (variable["type"], variable["query"]) == ("datasource", datasource["type"])
