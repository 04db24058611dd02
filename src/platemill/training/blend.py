r"""Weights between those of two exported detectors, where one was trained on from the other.

    python -m platemill.training.blend --repository models --other runs/trained --share 0.3

A network that was trained on knows more of what it was shown last and less of what it knew before.
The weights between the two often do better than either on photos of neither kind (Wortsman et al.,
"Robust fine-tuning of zero-shot models", CVPR 2022).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from platemill.errors import ConfigurationError
from platemill.serving.torchscript import MARK_FILE
from platemill.training.export import DETECTOR_FILE

__all__ = ["blend"]


def blend(path: Path, other: Path, share: float) -> None:
    """Move an exported network's weights towards another's of the same shape, in its file.

    Args:
        path: the exported network; it is replaced, and keeps its mark.
        other: the exported network that it goes towards.
        share: 0 leaves it as it is, 1 makes it the other.

    Raises:
        ConfigurationError: the share is not between 0 and 1, a file is missing, or the networks
            have other parameters.
    """
    if not 0 <= share <= 1:
        raise ConfigurationError(f"the share has to be between 0 and 1, not {share:g}")
    for file in (path, other):
        if not file.is_file():
            raise ConfigurationError(f"there are no weights at {file}: export them there first")
    extra: dict[str, str | bytes] = {MARK_FILE: ""}
    network = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    weights = network.state_dict()
    towards = torch.jit.load(str(other), map_location="cpu").state_dict()
    shapes = [{name: value.shape for name, value in each.items()} for each in (weights, towards)]
    if shapes[0] != shapes[1]:
        raise ConfigurationError(f"{other} holds another network than {path}")
    with torch.no_grad():
        for name, value in weights.items():
            if value.is_floating_point():
                value.copy_((1 - share) * value + share * towards[name])
    mark = extra[MARK_FILE]
    unfinished = path.with_suffix(".tmp")
    kept = {MARK_FILE: mark.decode() if isinstance(mark, bytes) else mark}
    torch.jit.save(network, str(unfinished), kept)
    unfinished.replace(path)


def main(arguments: list[str] | None = None) -> None:
    """Command line of the blending."""
    parser = argparse.ArgumentParser(
        prog="python -m platemill.training.blend",
        description="Move the detector of a model repository towards that of another.",
    )
    parser.add_argument("--repository", type=Path, required=True, help="it is changed")
    parser.add_argument("--other", type=Path, required=True, help="model repository to go towards")
    parser.add_argument("--share", type=float, required=True, help="how far to go, 0 to 1")
    given = parser.parse_args(arguments)
    try:
        blend(given.repository / DETECTOR_FILE, given.other / DETECTOR_FILE, given.share)
    except ConfigurationError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
