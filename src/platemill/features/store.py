"""Feast's store of a deployment, configured by the file that ``feast`` itself reads."""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platemill.errors import ConfigurationError
from platemill.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["ONLINE_FILE", "REGISTRY_FILE", "open_store"]

ONLINE_FILE = "online_store.db"
REGISTRY_FILE = "registry.db"


def open_store(
    settings: Settings, folder: Path | None = None, *, corrected_past: bool = False
) -> FeatureStore:
    """Open the feature store. Keep it: opening takes seconds, a lookup a millisecond.

    Args:
        settings: where the home is, and the project with ``feature_repo/``.
        folder: a folder with another registry and online store, one that is being prepared;
            default: the published ones.
        corrected_past: whether ``get_historical_features`` may use what was known only later.

    Raises:
        ConfigurationError: ``feature_store.yaml`` cannot be read.
    """
    import yaml
    from feast import FeatureStore, RepoConfig

    repository = settings.project / "feature_repo"
    path = repository / "feature_store.yaml"
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
    if settings.lake_url is not None:
        written["offline_store"]["lake_url"] = settings.lake_url
    if corrected_past:
        written["offline_store"]["corrected_past"] = True
    if folder is not None:
        written["registry"]["path"] = f"sqlite:///{folder / REGISTRY_FILE}"
        written["online_store"]["path"] = str(folder / ONLINE_FILE)
    return FeatureStore(config=RepoConfig(**written, repo_path=repository))
