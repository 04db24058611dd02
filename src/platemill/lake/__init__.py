"""The lake: plain Parquet files, and manifests that say which of them make a generation."""

from platemill.lake.generation import FileEntry, Generation
from platemill.lake.lake import Lake
from platemill.lake.shards import ShardRecord

__all__ = ["FileEntry", "Generation", "Lake", "ShardRecord"]
