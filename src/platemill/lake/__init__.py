"""The lake: plain Parquet files, and manifests that say which of them make a generation."""

from platemill.lake.generation import FileEntry, Generation
from platemill.lake.lake import Lake
from platemill.lake.shards import ShardRecord
from platemill.lake.storage import LocalStorage
from platemill.settings import Settings

__all__ = ["FileEntry", "Generation", "Lake", "ShardRecord", "open_lake"]


def open_lake(settings: Settings) -> Lake:
    """The lake of a deployment: the bucket that is named, else the folder in its home.

    Raises:
        ConfigurationError: what names the bucket, or the way to it, is no such thing.
    """
    if settings.lake_url is None:
        return Lake(LocalStorage(settings.lake))
    from platemill.lake.s3 import S3Storage

    cache = settings.lake_cache
    return Lake(S3Storage(settings.lake_url, cache, settings.lake_timeout_seconds))
