"""How a day's images become shards: their order, where they are cut, and a shard's key.

A shard ends where an image's own hash says so. An image that arrives while a night is repeated
therefore moves the borders of its own shard only, and the shards beside it keep their keys and
what was done.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from platemill.archive.scope import containers_of
from platemill.lake.identity import text_bytes

__all__ = ["cut", "in_order", "shard_keys"]

_KEY_BYTES: Final = 16
_HASH_DIGITS: Final = 8


def in_order(images: pa.Table) -> pa.Table:
    """A day's images by the file that they lie in and their place there: so reading goes on.

    Args:
        images: ``uri`` and ``offset`` among its columns.
    """
    images = images.combine_chunks()
    files = containers_of(images["uri"])
    if files is not images["uri"]:
        order = [(name, "ascending") for name in ("_file", "offset", "uri")]
        return images.append_column("_file", files).sort_by(order).drop_columns(["_file"])
    if _is_sorted(images["uri"]):
        return images
    return images.sort_by("uri")


def cut(image_ids: Any, shard_images: int) -> list[int]:
    """Where a day's shards begin, and the end: ascending from 0.

    A shard ends behind an image whose hash is divisible by half of ``shard_images`` once it has a
    quarter of it, and at ``shard_images`` at the latest.

    Args:
        image_ids: N hashes in hex, in the order of the images.
        shard_images: most images in a shard.
    """
    count = len(image_ids)
    hashes = _first_bits(image_ids)
    # Behind each image whose hash says so.
    places: list[int] = (np.flatnonzero(hashes % max(1, shard_images // 2) == 0) + 1).tolist()
    least = max(1, shard_images // 4)
    starts = [0]
    while starts[-1] < count:
        start = starts[-1]
        found = bisect_left(places, start + least)
        end = places[found] if found < len(places) else count
        starts.append(min(end, start + shard_images, count))
    return starts


def shard_keys(rows: pa.Table, starts: Sequence[int], versions: Sequence[str]) -> list[str]:
    """The hashes by which shards are known, whoever plans them and whenever.

    Camera and time are in them beside the images, since they are in the rows that a shard gives.

    Args:
        rows: ``uri, image_id, camera_id, captured_at`` of a day's images, in order.
        starts: what ``cut`` says.
        versions: of the schema and the pipeline.
    """
    parts = []
    for name in ("uri", "image_id", "camera_id"):
        lengths, text = text_bytes(rows[name])
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        # The lengths keep two texts from running into one another.
        parts.append((memoryview(lengths.tobytes()), 4 * np.asarray(starts)))
        parts.append((text, ends[np.asarray(starts)]))
    times: Any = rows["captured_at"].cast(pa.int64())
    parts.append((memoryview(times.to_numpy().astype("<i8").tobytes()), 8 * np.asarray(starts)))
    columns = [(data, ends.tolist()) for data, ends in parts]
    head = hashlib.blake2b(json.dumps(list(versions)).encode(), digest_size=_KEY_BYTES)
    keys = []
    for shard in range(len(starts) - 1):
        digest = head.copy()
        for data, ends in columns:
            digest.update(data[ends[shard] : ends[shard + 1]])
        keys.append(digest.hexdigest())
    return keys


def _is_sorted(texts: Any) -> bool:
    if len(texts) < 2:
        return True
    ascending: Any = pc.all(pc.less_equal(texts.slice(0, len(texts) - 1), texts.slice(1)))
    return bool(ascending.as_py())


def _first_bits(image_ids: Any) -> npt.NDArray[np.int64]:
    """The first 32 bits of hashes in hex: int64 [N]. Each value is as likely as any other."""
    lengths, text = text_bytes(pc.utf8_slice_codeunits(image_ids, 0, _HASH_DIGITS))
    if (lengths != _HASH_DIGITS).any():
        raise ValueError(f"an image_id has fewer than {_HASH_DIGITS} digits")
    digits = _DIGITS[np.frombuffer(text, np.uint8).reshape(len(lengths), _HASH_DIGITS)]
    if (digits < 0).any():
        raise ValueError("an image_id is not in hex")
    values: npt.NDArray[np.int64] = digits @ (16 ** np.arange(_HASH_DIGITS - 1, -1, -1))
    return values


def _digit_table() -> npt.NDArray[np.int64]:
    table = np.full(256, -1, np.int64)
    for value, digit in enumerate("0123456789abcdef"):
        table[ord(digit)] = table[ord(digit.upper())] = value
    return table


_DIGITS: Final = _digit_table()
