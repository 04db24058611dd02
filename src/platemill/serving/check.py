"""A profile tried out: its file, its networks one by one, then the four models in a real Triton."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.errors import PlatemillError
from platemill.serving.client import PlateClient
from platemill.serving.contracts import CONTRACTS
from platemill.serving.embedded import EmbeddedTriton, server_environment
from platemill.serving.environment import Finding, TritonEnvironment, require
from platemill.serving.probe_task import Task
from platemill.serving.reading import PlateReading
from platemill.serving.repository import assemble, config_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings
from platemill.vision.profile import Profile
from platemill.vision.profile_file import load_profile

__all__ = ["Photo", "check_profile"]

_PROBE_SECONDS = 300.0


@dataclass(frozen=True)
class Photo:
    """What a profile is tried on.

    image: uint8 [H, W, 3] in BGR.
    boxes: where its plates are, if that is known: xmin, ymin, xmax, ymax in pixels.
    texts: what they say, if that is known.
    """

    image: NDArray[np.uint8]
    boxes: Sequence[Sequence[float]] = ()
    texts: Sequence[str] = ()


def check_profile(
    path: Path, settings: Settings, photo: Photo, workdir: Path
) -> Iterator[Finding | PlateReading]:
    """Try a profile out.

    Args:
        path: the profile's file.
        settings: the environments and the checkout.
        photo: what the models are run on.
        workdir: a folder of this check alone.

    Yields:
        A finding for each thing, as it is found; nothing more after one that is not well, but for
        the photo. The last, if Triton could be asked, is what it read.
    """
    try:
        profile = load_profile(path)
        environment = require(settings.triton_interpreter)
        repository = assemble(profile, settings, workdir / "models")
        yield Finding("profile", True, _summary(path, profile, repository))
    except PlatemillError as error:
        yield Finding("profile", False, str(error))
        return
    findings = _probe(profile, repository, environment, photo, workdir)
    yield from findings
    if all(finding.ok for finding in findings):
        yield from _serve(repository, settings, photo, workdir)


def _summary(path: Path, profile: Profile, repository: Path) -> str:
    own = ", ".join(f"{name} {file.name}" for name, file in profile.files.items())
    crop, reader = profile.crop, profile.reader
    return (
        f"{path.name}: {own or 'no network of your own'}; crops of {crop.width}x{crop.height}, "
        f"{len(reader.alphabet)} characters, {len(profile.grammar)} layouts; "
        f"pipeline version {pipeline_version(repository)}"
    )


def _probe(
    profile: Profile,
    repository: Path,
    environment: TritonEnvironment,
    photo: Photo,
    workdir: Path,
) -> list[Finding]:
    """Run the networks one after another in Triton's environment, without Triton."""
    image = workdir / "photo.png"
    cv2.imwrite(str(image), photo.image)
    files = {name: file.name for name, file in profile.files.items()}
    task = Task(
        repository=str(repository),
        configs={name: config_of(repository, name) for name in CONTRACTS},
        names={name: files.get(name, "built-in") for name in ("detector", "stn", "reader")},
        photo=str(image),
        boxes=[list(map(float, box)) for box in photo.boxes],
    )
    try:
        done = subprocess.run(
            [str(environment.python), "-m", "platemill.serving.probe"],
            input=json.dumps(asdict(task)),
            env=server_environment(environment, dict(os.environ), None),
            cwd=workdir,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        seen = f"they did not answer one photo in {_PROBE_SECONDS:.0f} s"
        return [Finding("networks", False, seen, "use smaller networks or a smaller long_side")]
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        seen = f"the process that ran them ended with {done.returncode}: {said}"
        return [Finding("networks", False, seen, "a network brings it down: export it again")]
    return [Finding(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def _serve(
    repository: Path, settings: Settings, photo: Photo, workdir: Path
) -> Iterator[Finding | PlateReading]:
    """Serve the four models and ask them for the photo."""
    triton = EmbeddedTriton.of(settings, repository, workdir / "triton")
    started = time.monotonic()
    try:
        with triton:
            seconds = time.monotonic() - started
            yield Finding("Triton", True, f"four models ready after {seconds:.0f} s")
            with PlateClient(triton.grpc, slots=0) as client:
                client(photo.image)  # the first photo of a size warms the networks
                started = time.monotonic()
                reading = client(photo.image)
                seconds = time.monotonic() - started
    except PlatemillError as error:
        yield Finding("Triton", False, str(error), "mend what its log says, then check again")
        return
    yield _judge_photo(reading, photo, seconds)
    yield reading


def _judge_photo(reading: PlateReading, photo: Photo, seconds: float) -> Finding:
    if not len(reading):
        cure = (
            "if the photo shows a plate: compare detector.colour, white, output, long_side and "
            "score_threshold with its training; else give one that shows a plate (--photo)"
        )
        return Finding("photo", False, "no plate was found", cure)
    rows = zip(reading.texts, reading.raw_texts, reading.confidences, strict=True)
    texts = [f"{plate or 'not published'} ({raw}, {sure:.2f})" for plate, raw, sure in rows]
    number = "1 plate" if len(reading) == 1 else f"{len(reading)} plates"
    seen = f"{number} in {1000 * seconds:.0f} ms: {', '.join(texts)}"
    if photo.texts:
        seen += f"; it shows {', '.join(photo.texts)}"
    return Finding("photo", True, seen)
