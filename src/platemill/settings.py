"""Every setting of platemill, in one frozen object, built at the entry points and passed down.

The only module that reads the environment. A setting ``x`` is given as ``PLATEMILL_X``; an unknown
``PLATEMILL_`` name is refused, so that a typing mistake never silently means the default.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from platemill.errors import ConfigurationError

__all__ = [
    "QUIET_ENVIRONMENT",
    "STAGE_HOURS",
    "LogFormat",
    "Settings",
    "load_settings",
    "settings_page",
    "traces_wanted",
]

LogFormat = Literal["text", "json"]

_PREFIX = "PLATEMILL_"

# What a process that runs Prefect, Ray or Feast is started with: no telemetry, loopback only.
QUIET_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    # OpenCV prints a line for each image it cannot decode; ours is a row with a reason.
    "OPENCV_LOG_LEVEL": "SILENT",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

# How long a stage may take, unless `stage_timeouts` says otherwise.
STAGE_HOURS = {
    "inventory": 6.0,
    "plan": 2.0,
    "recognise": 48.0,
    "budget": 1.0,
    "facts": 4.0,
    "tiles": 4.0,
    "checks": 4.0,
    "features": 6.0,
    "publish": 2.0,
}


def _project_root() -> Path:
    return Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    """What a deployment may choose. Sizes in bytes and times in seconds unless a name says so."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    home: Path = Field(description="the folder that holds all that a deployment writes")
    lake_url: str | None = Field(
        None,
        description="bucket that holds the lake (`s3://bucket/prefix`); credentials, region and "
        "endpoint as `AWS_*` variables; default: the folder HOME/lake",
    )
    lake_timeout_seconds: float = Field(
        30.0, gt=0, description="how long a bucket may leave a request without an answer"
    )
    project: Path = Field(
        default_factory=_project_root,
        description="the folder that holds flows/, ray_jobs/, model_repository/ and warehouse/",
    )
    triton_python: Path | None = Field(
        None, description="Python of Triton's environment; default: PROJECT/.venv-triton/bin/python"
    )
    triton_models: Path | None = Field(
        None,
        description="model repository that profiles start from; default: PROJECT/model_repository",
    )
    profile: Path | None = Field(
        None,
        description="file that says which networks and plate format to use (docs/profiles.md); "
        "default: the project's own",
    )
    triton_overlay: Path | None = Field(
        None,
        description="folder whose MODEL/config.pbtxt change the served models' configs, as "
        "`platemill tune` writes them; default: HOME/overlay, if it is there",
    )
    triton_address: str | None = Field(
        None,
        description="host:port of running Triton servers' gRPC, several with commas between, which "
        "the workers share evenly; default: the Ray job starts one on every node that recognises",
    )
    triton_start_seconds: float = Field(
        180.0, gt=0, description="how long Triton may take to have every model ready"
    )
    triton_answer_seconds: float = Field(
        120.0,
        gt=0,
        description="how long an image may take; after that Triton hangs and is started again",
    )
    layout: str = Field(
        "{camera}/{captured_at:%Y/%m/%d/%H%M%S}.jpg",
        description="path template that camera and time are read from",
    )
    max_image_pixels: int = Field(
        100_000_000, gt=0, description="a larger image is quarantined before it is decoded"
    )
    max_image_bytes: int = Field(
        200_000_000, gt=0, description="a larger file is quarantined before it is read"
    )
    shard_images: int = Field(128, gt=0, description="images in a shard, the unit of commit")
    workers: int = Field(1, gt=0, description="Ray actors that recognise, at most")
    worker_resources: dict[str, PositiveFloat] = Field(
        {},
        description='what a worker takes of its node besides a CPU, as JSON: `{"GPU": 1}`; where '
        "no node has it free, an autoscaling cluster adds one (docs/elastic.md)",
    )
    worker_shards: int = Field(
        1, gt=0, description="waiting shards that justify another worker, and its node"
    )
    node_wait_seconds: float = Field(
        900.0,
        gt=0,
        description="how long a job may have no node with room for a worker before it ends",
    )
    images_in_flight: int = Field(
        6, gt=0, description="images a worker holds at once, where they are recognised one by one"
    )
    bulk_images: int | None = Field(
        None,
        gt=0,
        description="images of one request, where the server recognises them in bulk; default: "
        "what the config of `plate_bulk` says",
    )
    stall_seconds: float = Field(
        900.0,
        gt=0,
        description="how long a worker may finish no image; after that it is ended and replaced",
    )
    ray_address: str | None = Field(
        None,
        description="Jobs API of an existing cluster (http://host:8265); default: a private "
        "cluster on loopback for the run",
    )
    ray_start_seconds: float = Field(
        180.0, gt=0, description="how long the private Ray cluster may take to answer"
    )
    kuberay_template: str | None = Field(
        None,
        description="RayJob that the night's is made from, which makes the night run on KubeRay: "
        "the name of a suspended one in the namespace, or the path of a file, with a slash in it "
        "(docs/kubernetes.md)",
    )
    kuberay_namespace: str = Field(
        "platemill", description="Kubernetes namespace of the template and of the night's RayJob"
    )
    kuberay_start_seconds: float = Field(
        1800.0,
        gt=0,
        description="how long KubeRay may take to have the cluster's head and to submit the job",
    )
    error_budget: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of a day's images of a run above which the night stops before "
        "publishing, if they are quarantined (docs/quarantine.md)",
    )
    error_budget_images: int = Field(
        3, ge=0, description="quarantined images that a day may always have, however small it is"
    )
    poison_images: int = Field(
        20,
        ge=0,
        description="most images of a run that may be quarantined because they kill Triton or a "
        "worker; more are taken for something broken, and the night stops",
    )
    rehash: bool = Field(
        False,
        description="read and hash every image of the archives anew, as if size and time said "
        "nothing",
    )
    mark_emptied_archives: bool = Field(
        False,
        description="mark known images as deleted although their archive shows no image at all, "
        "as an unmounted disk does (docs/archives.md)",
    )
    lease_seconds: float = Field(
        60.0,
        gt=0,
        description="how long a run on another machine may be silent before its work is taken "
        "over (docs/adr/0044-leases-and-fencing.md)",
    )
    stage_timeouts: str | None = Field(
        None,
        description="how long a stage may take at most, `STAGE=SECONDS` with commas between, 0 for "
        "no limit; what is not named keeps its limit: "
        + ", ".join(f"{stage} {hours:g} h" for stage, hours in STAGE_HOURS.items()),
    )
    lease_wait_seconds: float = Field(
        3600.0,
        ge=0,
        description="how long to wait for a run that works on the same days or publishes; 0 "
        "refuses at once",
    )
    duckdb_memory: str = Field(
        "2GB", description="DuckDB's memory limit while building tiles and training sets"
    )
    duckdb_threads: int = Field(
        2, gt=0, description="DuckDB's threads while building tiles and training sets"
    )
    online_url: str | None = Field(
        None,
        description="Redis server of the online store and the database that is published "
        "(`redis://user:password@host:6379/0`); default: a SQLite file in the home "
        "(docs/online-store.md)",
    )
    online_staging_database: int = Field(
        1, ge=0, description="Redis database in which a night is prepared; it belongs to no other"
    )
    node_prices: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {},
        description="what an hour of a node costs, by its kind, as JSON: "
        '`{"cpu": 0.10, "gpu": 0.53}`; default: no prices are shown, only node-hours '
        "(docs/costs.md)",
    )
    currency: str = Field("USD", min_length=1, description="what prices are counted in")
    report_photos: int = Field(
        24,
        ge=0,
        le=200,
        description="how many photos, the least confident first, a night's page shows; 0: no "
        "photo, no plate and no photo's name (docs/night-report.md)",
    )
    report_url: str | None = Field(
        None,
        description="URL under which HOME/runs is served, for Prefect's links to nights' pages; "
        "default: they are links to the file",
    )
    log_format: LogFormat = Field(
        "text",
        description="how a night's and a job's lines on stderr look: `text` or `json` "
        "(docs/observability.md)",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port of loopback on which a night serves its metrics while it runs; the next "
        "free one of ten if it is taken; 0 and default: none (docs/observability.md)",
    )
    triton_metrics: bool = Field(
        False, description="let the servers that a job starts serve their metrics on loopback"
    )
    failpoints: Path | None = Field(
        None, description="for tests only: the folder that arms failpoints (docs/reliability.md)"
    )

    @field_validator("stage_timeouts")
    @classmethod
    def _known_stages(cls, given: str | None) -> str | None:
        _limits(given)
        return given

    def stage_seconds(self, stage: str) -> float | None:
        """How long a stage may take; None for as long as it likes."""
        seconds = _limits(self.stage_timeouts).get(stage, STAGE_HOURS[stage] * 3600)
        return seconds or None

    @property
    def lake(self) -> Path:
        """Facts, tiles, shard records and generations, unless ``lake_url`` says where they are."""
        return self.home / "lake"

    @property
    def lake_cache(self) -> Path:
        """What is kept here of a lake in a bucket."""
        return self.home / "cache" / "lake"

    @property
    def warehouse_file(self) -> Path:
        """The DuckDB file that shows the current generation's tables."""
        return self.home / "warehouse.duckdb"

    @property
    def features(self) -> Path:
        """Feast's registry and embedded online store."""
        return self.home / "features"

    @property
    def runs(self) -> Path:
        """A folder a run: its inventory, plan, logs and summary."""
        return self.home / "runs"

    @property
    def metrics(self) -> Path:
        """What Prometheus finds: the last run's metrics, and the addresses of those that run."""
        return self.home / "metrics"

    @property
    def sql(self) -> Path:
        """The folder of SQL files, one folder a table version."""
        return self.project / "warehouse" / "sql"

    @property
    def models(self) -> Path:
        """The model repository of the project's own networks."""
        return self.triton_models or self.project / "model_repository"

    @property
    def triton_addresses(self) -> tuple[str, ...]:
        """The servers that are given; none where the job starts its own."""
        parts = (self.triton_address or "").split(",")
        return tuple(part.strip() for part in parts if part.strip())

    @property
    def overlay(self) -> Path:
        """The folder of configs that are laid over the served models'; it may be absent."""
        return self.triton_overlay or self.home / "overlay"

    @property
    def triton_interpreter(self) -> Path:
        """Python of Triton's environment."""
        return self.triton_python or self.project / ".venv-triton" / "bin" / "python"

    @property
    def python_path(self) -> str:
        """``PYTHONPATH`` of the project's processes: its edges, and the library of a checkout."""
        return os.pathsep.join([str(self.project), str(self.project / "src")])

    def environment(self) -> dict[str, str]:
        """These settings as variables, for a process that builds its own ``Settings``."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {
            f"{_PREFIX}{name.upper()}": json.dumps(value) if isinstance(value, dict) else str(value)
            for name, value in values.items()
        }


def _limits(given: str | None) -> dict[str, float]:
    limits = {}
    for part in filter(None, map(str.strip, (given or "").split(","))):
        stage, equals, seconds = map(str.strip, part.partition("="))
        if stage not in STAGE_HOURS:
            raise ValueError(f"{part!r} names no stage of {', '.join(STAGE_HOURS)}")
        try:
            limits[stage] = float(seconds) if equals else -1.0
        except ValueError:
            limits[stage] = -1.0
        if not 0 <= limits[stage] < float("inf"):
            raise ValueError(f"{part!r} is no {stage}=SECONDS")
    return limits


def load_settings(**given: object) -> Settings:
    """Build the settings from arguments, then the environment, then the defaults.

    Raises:
        ConfigurationError: a value is wrong or a ``PLATEMILL_`` variable is not a setting.
    """
    known = {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(_PREFIX) and name not in known)
    if unknown:
        raise ConfigurationError(
            f"unknown setting in the environment: {', '.join(unknown)}. "
            f"Known: {', '.join(sorted(known))}"
        )
    try:
        settings = Settings(**{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        raise ConfigurationError(f"wrong settings: {problems}") from None
    except SettingsError as error:
        # A table that is no JSON: pydantic names the field, and its cause what is wrong.
        raise ConfigurationError(f"wrong settings: {error}: {error.__cause__}") from None
    paths = {"home": settings.home.expanduser().resolve()}
    if settings.profile is not None:
        paths["profile"] = settings.profile.expanduser().resolve()
    return settings.model_copy(update=paths)


def traces_wanted() -> bool:
    """Whether the standard variables of OpenTelemetry say where traces go."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return any(os.environ.get(name) for name in names)


def settings_page() -> str:
    """Return ``docs/settings.md``: every setting with its variable, default and description."""
    lines = [
        "# Settings",
        "",
        "Made from `src/platemill/settings.py` by `python -m platemill.settings`.",
        "",
        "A setting is given as a variable; a few are options of the command line, too.",
        "A `PLATEMILL_` variable that is not here is refused.",
        "",
        "| variable | default | what it says |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        if field.is_required():
            default = "required"
        elif field.default_factory is not None:
            default = "the checkout"
        else:
            default = "" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{_PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(settings_page(), end="")
