r"""The demo archive: street photos of a few cameras over a few days, with known plates.

    python -m platemill.render.archive demo --images 400

writes, the same for the same arguments:

- `demo/archive/{camera}/{YYYY}/{mm}/{dd}/{HHMMSS}.jpg`: photos of 1280 x 720 pixels, times in
  UTC. Some cars come back on other days and before other cameras; some photos show none. A
  few files are broken: a truncated JPEG, an empty file, and a text that is called `.jpg`.
- `demo/late/...`, of the same form: photos of the earliest days that reach the archive only
  after the first night. Run the first night over `demo/archive` alone, and a later one over
  `demo/archive` and `demo/late` together (or copy them into the archive) to see exactly the
  tiles of those days, weeks and months recomputed.
- `demo/truth.csv`: a row a plate, with the file's path below `demo`; a photo without a plate
  and a broken file have one row without one.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.plate import random_text
from platemill.render.street import Car, Seen, draw_street, expose, new_car, place_cars

_QUALITY = 88
_LATE_PART = 0.03
_EMPTY_PART = 0.12
_BROKEN = ("truncated", "empty", "text")


@dataclass(frozen=True)
class DemoArchive:
    """Where a demo archive lies and what is in it.

    photos: readable photos below `archive`; late: photos below `late_root`; broken: files
    below `archive` that are no photos; plates: plates to be seen in all photos.
    """

    archive: Path
    late_root: Path
    truth: Path
    photos: int
    late: int
    broken: int
    plates: int


@dataclass(frozen=True)
class _Shot:
    path: Path
    taken: datetime
    camera: int
    cars: tuple[Car, ...]
    kind: str


def render_archive(
    out: Path,
    *,
    images: int = 400,
    cameras: int = 4,
    days: int = 5,
    first_day: date = date(2026, 5, 4),
    seed: int = 7,
    progress: Callable[[int, int], None] | None = None,
) -> DemoArchive:
    """Write the demo archive; see the module's text for its form.

    Args:
        out: folder to write into; made if absent. Files of the same names are overwritten.
        images: photos, the late ones among them; the broken files come on top.
        cameras: cameras, `camera-1` and so on.
        days: days in a row.
        first_day: the first of them.
        seed: the same seed gives the same files.
        progress: called with files written and files in all after each file.

    Raises:
        ValueError: a count is less than one.
    """
    if min(images, cameras, days) < 1:
        raise ValueError("an archive needs at least one image, one camera and one day")
    shots = _plan(out, images, cameras, days, first_day, seed)
    streets = [draw_street(np.random.default_rng([seed, 1, c])) for c in range(cameras)]
    rows: list[list[str]] = []
    for index, shot in enumerate(shots):
        rng = np.random.default_rng([seed, 2, index])
        image, seen = _photograph(streets[shot.camera], shot, rng)
        _write(shot, image)
        uri = shot.path.relative_to(out).as_posix()
        for plate in seen if shot.kind in ("photo", "late") else []:
            rows.append([uri, plate.car.plate, *(f"{v:.1f}" for v in plate.box), shot.kind])
        if not seen or shot.kind in _BROKEN:
            rows.append([uri, "", "", "", "", "", shot.kind])
        if progress is not None:
            progress(index + 1, len(shots))
    truth = out / "truth.csv"
    with truth.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["uri", "plate", "xmin", "ymin", "xmax", "ymax", "kind"])
        writer.writerows(rows)
    kinds = [shot.kind for shot in shots]
    return DemoArchive(
        archive=out / "archive",
        late_root=out / "late",
        truth=truth,
        photos=kinds.count("photo"),
        late=kinds.count("late"),
        broken=sum(kinds.count(kind) for kind in _BROKEN),
        plates=sum(1 for row in rows if row[1]),
    )


def _plan(
    out: Path, images: int, cameras: int, days: int, first_day: date, seed: int
) -> list[_Shot]:
    """Decide every file: when, where, which cars."""
    rng = np.random.default_rng([seed, 0])
    fleet = [new_car(random_text(rng), rng) for _ in range(max(3, images * 2 // 5))]
    weight = 1.0 / np.arange(2, len(fleet) + 2) ** 0.7
    weight /= weight.sum()
    late = round(images * _LATE_PART) if images >= 20 else 0
    kinds = ["late"] * late + ["photo"] * (images - late) + list(_BROKEN)
    shots: list[_Shot] = []
    used: set[tuple[int, datetime]] = set()
    for index, kind in enumerate(kinds):
        camera = int(rng.integers(0, cameras))
        day = int(rng.integers(0, max(1, min(2, days)))) if kind == "late" else index % days
        taken = _moment(first_day + timedelta(days=day), rng)
        while (camera, taken) in used:
            taken = _moment(first_day + timedelta(days=day), rng)
        used.add((camera, taken))
        count = 0 if rng.random() < _EMPTY_PART else int(rng.choice([1, 2, 3], p=[0.7, 0.24, 0.06]))
        chosen = rng.choice(len(fleet), min(count, len(fleet)), replace=False, p=weight)
        root = out / ("late" if kind == "late" else "archive")
        path = root / f"camera-{camera + 1}" / f"{taken:%Y/%m/%d/%H%M%S}.jpg"
        cars = tuple(fleet[i] for i in chosen)
        shots.append(_Shot(path, taken, camera, cars, kind))
    return shots


def _moment(day: date, rng: np.random.Generator) -> datetime:
    """A second of the day, rarely at night."""
    hour = float(np.clip(rng.normal(13.5, 4.2), 0, 23.99))
    second = int(hour * 3600)
    return datetime(day.year, day.month, day.day) + timedelta(seconds=second)


def _photograph(
    street: NDArray[np.float32], shot: _Shot, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[Seen]]:
    canvas = street.copy()
    seen = place_cars(canvas, list(shot.cars), rng)
    hour = shot.taken.hour + shot.taken.minute / 60
    image = expose(canvas, hour, rng)
    stamp = f"CAMERA {shot.camera + 1}  {shot.taken:%Y-%m-%d %H:%M:%S}Z"
    cv2.putText(
        image, stamp, (14, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (235, 235, 235), 1, cv2.LINE_AA
    )
    return image, seen


def _write(shot: _Shot, image: NDArray[np.uint8]) -> None:
    """Write one file, broken as its kind says."""
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    data = packed.tobytes()
    if shot.kind == "truncated":
        data = data[: len(data) // 3]
    elif shot.kind == "empty":
        data = b""
    elif shot.kind == "text":
        data = b"This is no photo: the camera wrote an error message here.\n"
    shot.path.parent.mkdir(parents=True, exist_ok=True)
    shot.path.write_bytes(data)


def main(arguments: list[str] | None = None) -> None:
    """Command line of the demo archive."""
    parser = argparse.ArgumentParser(
        prog="python -m platemill.render.archive",
        description="Write a demo archive of rendered street photos with number plates: "
        "OUT/archive, OUT/late (photos that come a night late) and OUT/truth.csv.",
    )
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--images", type=int, default=400, help="photos (%(default)s)")
    parser.add_argument("--cameras", type=int, default=4, help="cameras (%(default)s)")
    parser.add_argument("--days", type=int, default=5, help="days (%(default)s)")
    parser.add_argument(
        "--first-day", type=date.fromisoformat, default=date(2026, 5, 4), help="(%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=7, help="the same gives the same files")
    options = parser.parse_args(arguments)

    def show(done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            print(f"\r{done}/{total} files", end="", file=sys.stderr, flush=True)

    made = render_archive(
        options.out,
        images=options.images,
        cameras=options.cameras,
        days=options.days,
        first_day=options.first_day,
        seed=options.seed,
        progress=show,
    )
    print(file=sys.stderr)
    print(
        f"{made.photos} photos in {made.archive}, {made.late} late ones in {made.late_root}, "
        f"{made.broken} broken files, {made.plates} plates in {made.truth}"
    )


if __name__ == "__main__":
    main()
