"""A real Prometheus finds a run and its real Triton, and answers what the dashboard asks."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from fake_models import write_fake_models
from prometheus_server import PrometheusServer
from small_journal import small_night, write_events
from small_lake import settings_for

from platemill.observe.run import observed
from platemill.serving.embedded import free_ports
from platemill.settings import Settings
from ray_jobs.actors import TritonNode

pytestmark = pytest.mark.triton

MONITORING = Path(__file__).parents[2] / "infra" / "monitoring"
RUN = "20260504T010000-abcdef"
IMAGES = 9


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("monitored")
    models = write_fake_models(folder / "models")
    (port,) = free_ports(1)
    settings = settings_for(
        folder / "home", triton_models=models, triton_metrics=True, metrics_port=port
    )
    (settings.runs / RUN).mkdir(parents=True)
    return settings


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[TritonNode]:
    """A node's server, as a job starts it, that has recognised some pictures."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.environment().items():
            patch.setenv(name, value)
        node = TritonNode(RUN)
        try:
            image = triton.InferInput("input__0", [8, 8, 3], "UINT8")
            image.set_data_from_numpy(np.zeros((8, 8, 3), np.uint8))
            with triton.InferenceServerClient(node.address()) as client:
                for _ in range(IMAGES):
                    client.infer("plate_recognition", [image])
            yield node
        finally:
            node.stop()


def metrics_of(settings: Settings) -> str:
    """The address at which the only Triton can be found."""
    (file,) = (settings.metrics / "targets").glob("*-triton-*.json")
    address: str = json.loads(file.read_text())[0]["targets"][0]
    return address


def test_triton_serves_the_metrics_that_are_listed_on_loopback(
    settings: Settings, server: TritonNode
) -> None:
    address = metrics_of(settings)
    assert address.startswith("127.0.0.1:")
    counted = f'nv_inference_count{{model="plate_recognition",version="1"}} {IMAGES}'

    def text_with_the_count() -> str:
        # Triton counts a request a moment after it has answered it.
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
            text: str = answer.read().decode()
        return text if counted in text else ""

    text = PrometheusServer.until(text_with_the_count)
    served = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    listed = set((MONITORING / "triton-metrics.txt").read_text().split())
    # A machine without a GPU has nothing to say of one.
    gpu = {name for name in listed if "gpu" in name or "energy" in name}
    assert served - gpu == listed - gpu


def test_prometheus_finds_them_and_answers_the_dashboard(
    settings: Settings, server: TritonNode, tmp_path: Path
) -> None:
    write_events(settings.runs / RUN, small_night())
    dashboard = json.loads((MONITORING / "grafana/dashboards/platemill.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    with (
        observed(settings, RUN),
        PrometheusServer.running(
            MONITORING / "prometheus.yml", settings.metrics, tmp_path
        ) as prometheus,
    ):

        def scraped() -> bool:
            up = {target["labels"].get("part"): target["health"] for target in prometheus.targets()}
            # Rates need two scrapes.
            enough = prometheus.query('min_over_time(up{job="platemill"}[1m])')
            counted = prometheus.query('count_over_time(up{job="platemill"}[1m]) >= 3')
            return up.get("run") == up.get("triton") == "up" and len(enough) == len(counted) == 2

        prometheus.until(scraped, 120)
        labels = prometheus.query('platemill_images_done{part="run"}')[0]["metric"]
        assert labels["run_id"] == RUN
        assert not any("owner" in name for name in labels)
        (done,) = prometheus.query('platemill_images_done{part="run"}')
        assert float(done["value"][1]) == 50
        (count,) = prometheus.query('nv_inference_count{part="triton",model="plate_recognition"}')
        assert float(count["value"][1]) == IMAGES
        empty = [expression for expression in asked if not prometheus.query(expression)]
    # No GPU, no node exporter, and of the stages that the journal has none is still running.
    silent = ("nv_gpu_", 'job="node"')
    assert [e for e in empty if not any(word in e for word in silent)] == []
    # What the run left is for the node exporter, whose metrics these are.
    assert "platemill_run_succeeded 1.0" in (settings.metrics / "last-run.prom").read_text()
    assert list((settings.metrics / "targets").glob(f"{RUN}.json")) == []
