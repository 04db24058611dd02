"""The fake models, and what kills: models that die or hang, a decoder that dies.

An image's first pixel says by its red what it does; blue and green say its plates, as always.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from fake_models import write_fake_bulk, write_fake_models

__all__ = [
    "ENDS_THE_MODEL",
    "ENDS_THE_SERVER",
    "ENDS_THE_WORKER",
    "HANGS",
    "STALLS_THE_WORKER",
    "write_deadly_models",
    "write_deadly_project",
]

ENDS_THE_MODEL, ENDS_THE_SERVER, HANGS = 201, 202, 203
ENDS_THE_WORKER, STALLS_THE_WORKER = 204, 205

_PROJECT = Path(__file__).parents[2]
_ANSWER = "        blue, green = int(image[0, 0, 0]), int(image[0, 0, 1])\n"
_DIE = f"""        red = int(image[0, 0, 2])
        if red == {ENDS_THE_MODEL}:
            os._exit(1)
        if red == {ENDS_THE_SERVER}:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        if red == {HANGS}:
            time.sleep(3600)
"""
_DECODER = f"""

import platemill.archive.decode as _decode

_well = _decode.decode_image


def _deadly(data, max_pixels):
    pixels = _well(data, max_pixels)
    if pixels[0, 0, 2] == {ENDS_THE_WORKER}:
        os.kill(os.getpid(), 9)
    if pixels[0, 0, 2] == {STALLS_THE_WORKER}:
        time.sleep(3600)
    return pixels


_decode.decode_image = _deadly
"""


def write_deadly_models(folder: Path, *, always: bool = False, bulk: bool = False) -> Path:
    """Write the repository; returns its folder.

    Args:
        folder: where to.
        always: every image ends the model.
        bulk: also ``plate_bulk``, which decodes too, so what ends a worker ends it.
    """
    write_fake_models(folder)
    deadly = "        os._exit(1)\n" if always else _DIE
    _make_deadly(folder / "plate_recognition", deadly)
    if bulk:
        decodes = deadly + f"        if red == {ENDS_THE_WORKER}:\n            os._exit(1)\n"
        _make_deadly(write_fake_bulk(folder), decodes)
    return folder


def _make_deadly(model: Path, deadly: str) -> None:
    code = model / "1" / "model.py"
    text = code.read_text()
    assert _ANSWER in text
    text = text.replace(_ANSWER, deadly + _ANSWER)
    imports = "import os\nimport signal\nimport time\n\n"
    first = "import cv2" if "import cv2" in text else "import numpy"
    code.write_text(text.replace(first, imports + first, 1))


def write_deadly_project(folder: Path) -> Path:
    """A project folder like this one, whose workers' decoder dies of some images."""
    folder.mkdir()
    for entry in _PROJECT.iterdir():
        if entry.name not in ("ray_jobs", "build") and not entry.name.startswith(".git"):
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(_PROJECT / "ray_jobs", folder / "ray_jobs")
    actors = folder / "ray_jobs" / "actors.py"
    actors.write_text(actors.read_text() + _DECODER)
    return folder
