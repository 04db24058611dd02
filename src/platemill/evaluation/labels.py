"""Labelled photos: a folder with a ``labels.csv``, a row a plate.

The columns are ``file,plate,xmin,ymin,xmax,ymax,country,note``; ``country`` and ``note`` may be
left out, others are ignored. The box is in pixels of the photo as it is shown (turned as EXIF
says). What a row means:

==================================  =============================================================
``plate`` has a text                the plate counts for detection, and its text counts, too
``plate`` is blank                  it counts for detection only: its text was not labelled
``note`` begins with ``ignore``     the plate counts neither for nor against
``plate`` and the box are blank     the photo has no plate
==================================  =============================================================
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platemill.errors import ConfigurationError

__all__ = ["LABELS_FILE", "Box", "Label", "read_labels"]

LABELS_FILE = "labels.csv"

Box = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax in pixels."""

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("file", "plate", *_SIDES)
_IGNORED = "ignore"


@dataclass(frozen=True)
class Label:
    """A plate that a person labelled.

    Args:
        plate: its text; empty if it was not labelled.
        box: xmin, ymin, xmax, ymax in pixels of the photo.
        country: as it was written, for people.
        note: as it was written; one that begins with ``ignore`` takes the plate out.
    """

    plate: str
    box: Box
    country: str = ""
    note: str = ""

    @property
    def ignored(self) -> bool:
        """Whether the plate counts neither for nor against."""
        return self.note.startswith(_IGNORED)


def read_labels(folder: Path) -> dict[str, list[Label]]:
    """Read a folder's labels.

    Returns:
        The labels of every photo, by its path in the folder, both in order; a photo that is said
        to have no plate has none.

    Raises:
        ConfigurationError: there is no ``labels.csv``, or a line of it is wrong.
    """
    path = folder / LABELS_FILE
    labels: dict[str, list[Label]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigurationError(
                    f"{path} has no column {', '.join(missing)}; its first line must name "
                    f"{','.join(_COLUMNS)}, and may name country,note"
                )
            for row in reader:
                try:
                    name, label = _label(row)
                except ValueError as error:
                    where = f"line {reader.line_num} of {path}"
                    raise ConfigurationError(f"{where}: {error}") from None
                labels.setdefault(name, []).extend([label] if label else [])
    except FileNotFoundError:
        raise ConfigurationError(
            f"no {path}: a labelled folder holds photos and a {LABELS_FILE} with the columns "
            f"{','.join(_COLUMNS)},country,note"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    if not labels:
        raise ConfigurationError(f"{path} names no photo")
    return dict(sorted(labels.items()))


def _label(row: Mapping[str, str]) -> tuple[str, Label | None]:
    """A row's photo and label, None if the photo has no plate; ValueError says what is wrong."""
    name, plate = row["file"].strip(), row["plate"].strip().upper()
    if not name:
        raise ValueError("file is blank")
    written = [row[side].strip() for side in _SIDES]
    if not any(written) and not plate:
        return name, None
    try:
        xmin, ymin, xmax, ymax = (float(side) for side in written)
    except ValueError:
        raise ValueError(f"{','.join(_SIDES)} must be numbers, got {','.join(written)}") from None
    if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))) or xmin >= xmax or ymin >= ymax:
        raise ValueError(f"a box needs xmin < xmax and ymin < ymax, got {','.join(written)}")
    box = (xmin, ymin, xmax, ymax)
    return name, Label(plate, box, row.get("country") or "", (row.get("note") or "").strip())
