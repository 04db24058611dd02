"""The tensors that every served model takes and gives, said once.

The ``config.pbtxt`` files of the model repository, the client and the tests are held to this. A
program written against these names, types and shapes with an ordinary ``tritonclient`` works
unchanged on any platemill server.
"""

from __future__ import annotations

from dataclasses import dataclass

from platemill.vision.profile import BUILT_IN, Profile

__all__ = [
    "CONTRACTS",
    "MAX_ROWS",
    "MODEL_VERSION",
    "PLATE_BULK",
    "PLATE_RECOGNITION",
    "ModelContract",
    "TensorContract",
    "contracts_for",
]

MODEL_VERSION = "1"

MAX_ROWS = 32
"""Most crops that `stn` and `lprnet` take in one request."""


@dataclass(frozen=True)
class TensorContract:
    """A tensor: its name, type and shape.

    datatype: as a model's config names it; ``STRING`` is ``BYTES`` on the wire.
    shape: without the batch dimension; -1 is any size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelContract:
    """A model: its backend, its largest batch (0: the shapes hold the batch), its tensors."""

    name: str
    backend: str
    max_batch_size: int
    inputs: tuple[TensorContract, ...]
    outputs: tuple[TensorContract, ...]


# uint8 [H, W, 3] in BGR, as cv2.imread gives it.
_IMAGE = TensorContract("input__0", "UINT8", (-1, -1, 3))


PLATE_RECOGNITION = ModelContract(
    "plate_recognition",
    "python",
    0,
    (_IMAGE,),
    (
        TensorContract("coordinates", "FP32", (-1, 4)),  # xmin, ymin, xmax, ymax in the image's px
        TensorContract("texts", "STRING", (-1, 1)),  # well-formed plates, else empty
        TensorContract("raw_texts", "STRING", (-1, 1)),  # what was read, whatever it spells
        TensorContract("confidences", "FP32", (-1, 1)),  # of the text, 0 to 1
        TensorContract("detection_scores", "FP32", (-1, 1)),  # of the box, 0 to 1
    ),
)

PLATE_BULK = ModelContract(
    "plate_bulk",
    "python",
    0,
    (TensorContract("images", "STRING", (-1,)),),  # N encoded images: JPEG, PNG, BMP, WebP, TIFF
    (
        TensorContract("plates", "INT32", (-1,)),  # of each image; -1: ask for that one alone
        TensorContract("sizes", "INT32", (-1, 2)),  # of each image, width and height in px
        *PLATE_RECOGNITION.outputs,  # of all images, one after the other
    ),
)
"""For bulk work, beside the four: many encoded images a request. Each gets the answer that
`plate_recognition` gives for its pixels. The request parameter ``max_pixels`` refuses larger ones.
"""


def contracts_for(profile: Profile) -> dict[str, ModelContract]:
    """The four models' contracts under a profile, by name.

    The profile decides the crops' size, and how many classes and time steps the logits have.
    """
    crop = (3, profile.crop.height, profile.crop.width)
    logits = (profile.reader.classes, profile.reader.time_steps)
    crops = TensorContract("input__0", "FP32", crop)
    yolo = ModelContract(
        "yolo",
        "python",
        0,
        (_IMAGE,),
        (
            TensorContract("output__0", "FP32", (-1, *crop)),  # crops, prepared for stn
            TensorContract("output__1", "FP32", (-1, 4)),  # xmin, ymin, xmax, ymax in image's px
            TensorContract("output__2", "FP32", (-1, 1)),  # the boxes' scores, 0 to 1
        ),
    )
    stn = ModelContract(
        "stn",
        "pytorch" if profile.straightens else "python",
        MAX_ROWS,
        (crops,),
        (TensorContract("output__0", "FP32", crop),),
    )
    lprnet = ModelContract(
        "lprnet",
        "pytorch",
        MAX_ROWS,
        (crops,),
        (TensorContract("output__0", "FP32", logits),),  # class, step; the blank is the last
    )
    return {model.name: model for model in (lprnet, PLATE_RECOGNITION, stn, yolo)}


CONTRACTS: dict[str, ModelContract] = contracts_for(BUILT_IN)
