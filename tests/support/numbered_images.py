"""Images that are a number each: their bytes are its digits."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime

from platemill.recognize.plan import PlannedImage

NOW = datetime(2026, 3, 2, 3, tzinfo=UTC)


def image_of(n: int, **changes: object) -> PlannedImage:
    """The planned image of a number."""
    data = b"%d" % n
    values: dict[str, object] = {
        "uri": f"file:///{n}.jpg",
        "image_id": hashlib.blake2b(data, digest_size=16).hexdigest(),
        "camera_id": "c",
        "captured_at": NOW,
        "day": date(2026, 3, 2),
        "byte_size": len(data),
        "modified_at": NOW,
        "time_source": "layout",
        **changes,
    }
    return PlannedImage(**values)  # type: ignore[arg-type]


def read_number(uri: str, offset: int | None, byte_size: int) -> bytes:
    """What a reader of an archive gives for its URI."""
    return uri.removeprefix("file:///").removesuffix(".jpg").encode()
