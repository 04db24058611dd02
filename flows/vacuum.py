"""The vacuum flow: old generations, and every file that nobody needs any more, are removed.

``vacuum`` is what ``platemill vacuum`` does, for a deployment that does it every week.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from platemill.errors import ConfigurationError
from platemill.launch.generations import vacuum as remove
from platemill.settings import load_settings

__all__ = ["vacuum"]


@flow(name="vacuum", persist_result=False)
def vacuum(
    home: str | None = None,
    keep: int = 7,
    staged_days: float = 30.0,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Remove what the newest generations, live runs and resumable runs do not need.

    Args:
        home: the deployment's folder; default: the setting.
        keep: how many generations stay; two at least, for readers may have the last open.
        staged_days: how long shards stay that were recognised by a run that died before it
            published.
        dry_run: only tell.

    Returns:
        As ``platemill vacuum --json``: ``kept, removed, files, bytes, kinds, dry_run``.
    """
    logger = get_run_logger()
    if keep < 2:
        raise ConfigurationError(f"keep is {keep}: two generations stay at least")
    settings = load_settings(home=home)
    said = remove(settings, keep=keep, staged_days=staged_days, dry_run=dry_run, log=logger.info)
    verb = "would remove" if dry_run else "removed"
    files = f"{said['files']} files of {said['bytes']} bytes"
    what = f"{verb} {len(said['removed'])} generations, {files}"
    logger.info("%s; %d generations are left", what, len(said["kept"]))
    create_table_artifact(key="vacuum", table=said["kinds"], description=what)
    return said
