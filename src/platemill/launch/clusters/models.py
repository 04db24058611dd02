"""Put the model repository where a pod's Triton looks for it, and see that it is the plan's.

``python -m platemill.launch.clusters.models --source S --target T --run-folder R`` runs before
Triton in every pod of a night. The rows of a run carry the pipeline version of its plan, so a
repository of another version must not serve it: this refuses it, and tells the run why.

The source is a folder of the image or of a bucket (``s3://bucket/prefix``, with ``AWS_*``
variables). Triton itself could read a bucket, but a model that uses its neighbours' files would
not find them there.

Example: python -m platemill.launch.clusters.models --source s3://mill/models --target /models
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from platemill.errors import ConfigurationError, PlatemillError, ServerUnavailable
from platemill.launch.records import write_exit
from platemill.recognize.plan import Plan
from platemill.serving.version import pipeline_version

__all__ = ["fetch_models", "main"]

_URL = re.compile(r"s3://(?P<bucket>[^/]+)/?(?P<prefix>.*)")


def fetch_models(source: str, target: Path) -> str:
    """Copy a model repository and return its pipeline version.

    Args:
        source: a folder, or the URL of one in a bucket.
        target: where it goes; what is there is replaced.

    Raises:
        ConfigurationError: there is no model repository at the source.
        ServerUnavailable: the bucket does not answer.
    """
    target.mkdir(parents=True, exist_ok=True)
    # The folder itself may be a volume, which cannot be removed.
    for old in target.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    if "://" in source:
        _download(source, target)
    else:
        if not Path(source).is_dir():
            raise ConfigurationError(f"no model repository at {source}: there is no such folder")
        shutil.copytree(source, target, dirs_exist_ok=True)
    if not any(target.glob("*/config.pbtxt")):
        raise ConfigurationError(
            f"no model repository at {source}: a repository holds NAME/config.pbtxt and NAME/1/"
        )
    return pipeline_version(target)


def _download(url: str, target: Path) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    named = _URL.fullmatch(url)
    if named is None:
        raise ConfigurationError(f"{url!r} is no bucket; s3://bucket/prefix would be one")
    bucket, prefix = named["bucket"], named["prefix"].strip("/")
    prefix += "/" if prefix else ""
    try:
        client = boto3.session.Session().client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [str(found["Key"]) for page in pages for found in page.get("Contents", ())]
        for key in keys:
            path = target / key.removeprefix(prefix)
            if not path.resolve().is_relative_to(target.resolve()):
                raise ConfigurationError(f"{url} holds {key!r}, which leads out of the repository")
            if not key.endswith("/"):
                path.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(bucket, key, str(path))
    except (BotoCoreError, ClientError) as error:
        raise ServerUnavailable(
            f"{url} cannot be read: {error}. Check its name and the AWS_* variables"
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch, compare, and say in the run's folder if it is the wrong one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", required=True, help="a folder or a bucket's URL")
    parser.add_argument("--target", type=Path, required=True, help="where Triton looks")
    parser.add_argument("--run-folder", type=Path, help="the run, whose plan says what is wanted")
    given = parser.parse_args(arguments)
    try:
        version = fetch_models(given.source, given.target)
        if given.run_folder is not None:
            wanted = Plan.load(given.run_folder).pipeline_version
            if version != wanted:
                raise ConfigurationError(
                    f"the pods' model repository {given.source} is pipeline version {version}, but "
                    f"the night was planned with {wanted}: let both use the same image or models "
                    "(docs/kubernetes.md)"
                )
    except PlatemillError as error:
        print(error, file=sys.stderr)
        if given.run_folder is not None and isinstance(error, ConfigurationError):
            # The job waits for this pod in vain; whoever follows it reads this.
            write_exit(given.run_folder, error)
        return error.exit_code
    print(f"pipeline version {version} is in {given.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
