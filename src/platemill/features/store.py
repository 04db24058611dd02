"""Feast's store of a deployment, configured by the file that ``feast`` itself reads."""

from __future__ import annotations

import contextlib
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platemill.errors import ConfigurationError
from platemill.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = [
    "DEFINITIONS_FILE",
    "ONLINE_FILE",
    "REGISTRY_FILE",
    "REPOSITORY_FILES",
    "open_store",
    "registry_defines",
    "store_configuration",
]

REPOSITORY_FILES = {"sqlite": "feature_store.yaml", "redis": "redis.yaml"}
"""Feast's configuration for each online store; `feast --feature-store-yaml` takes the second."""

ONLINE_FILE = "online_store.db"
REGISTRY_FILE = "registry.db"
DEFINITIONS_FILE = "definitions.txt"
"""Beside a registry whose online store is in Redis: the hash of what it defines."""


def open_store(
    settings: Settings,
    folder: Path | None = None,
    online_url: str | None = None,
    *,
    corrected_past: bool = False,
) -> FeatureStore:
    """Open the feature store. Keep it: opening takes seconds, a lookup a millisecond.

    Args:
        settings: where the home is, and the project with ``feature_repo/``.
        folder: a folder with another registry and SQLite store, one that is being prepared;
            default: the published ones.
        online_url: another Redis database, one that is being prepared; default: the published one.
        corrected_past: whether ``get_historical_features`` may use what was known only later.

    Raises:
        ConfigurationError: ``feature_store.yaml`` cannot be read.
    """
    from feast import FeatureStore, RepoConfig

    written = store_configuration(settings, folder, online_url)
    if corrected_past:
        written["offline_store"]["corrected_past"] = True
    return FeatureStore(config=RepoConfig(**written, repo_path=settings.project / "feature_repo"))


def store_configuration(
    settings: Settings, folder: Path | None = None, online_url: str | None = None
) -> dict[str, Any]:
    """What Feast's configuration says for a deployment; see ``open_store``. Imports no Feast."""
    import yaml

    name = REPOSITORY_FILES["sqlite" if settings.online_url is None else "redis"]
    path = settings.project / "feature_repo" / name
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the feature store's configuration {path} cannot be read ({error.strerror}); "
            "is PLATEMILL_PROJECT the project's folder?"
        ) from error
    written: dict[str, Any] = yaml.safe_load(
        string.Template(text).safe_substitute(PLATEMILL_HOME=str(settings.home))
    )
    if settings.online_url is not None:
        # Not by the template: a password may have signs that YAML takes for its own.
        written["online_store"]["url"] = online_url or settings.online_url
    if settings.lake_url is not None:
        written["offline_store"]["lake_url"] = settings.lake_url
    if folder is not None:
        written["registry"]["path"] = f"sqlite:///{folder / REGISTRY_FILE}"
        if settings.online_url is None:
            written["online_store"]["path"] = str(folder / ONLINE_FILE)
    return written


def registry_defines(folder: Path, said: str) -> bool:
    """Whether the registry in a folder, of a store in Redis, has the definitions of that hash."""
    with contextlib.suppress(FileNotFoundError):
        there = (folder / REGISTRY_FILE).exists()
        return there and (folder / DEFINITIONS_FILE).read_text() == said
    return False
