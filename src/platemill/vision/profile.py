"""A profile: the networks, the sizes and the plate format that a pipeline works with.

The built-in profile, `BUILT_IN`, is what the project's own networks were trained for. A file
(`platemill.vision.profile_file`) says what is otherwise; what it leaves out is as in the built-in
one, and a detector of a YOLO form starts from what Ultralytics' own prediction does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from platemill.vision.plates import (
    ALPHABET,
    KINDS,
    PUBLISHED_KINDS,
    Grammar,
    Pattern,
    patterns_of,
)

__all__ = [
    "BUILT_IN",
    "NONE",
    "OURS",
    "CropProfile",
    "DetectorProfile",
    "OutputForm",
    "PlatesProfile",
    "Profile",
    "ReaderProfile",
    "StnProfile",
]

OURS: Final = "built-in"
"""Stands for a file where the project's own network is meant."""

NONE: Final = "none"
"""Stands for a file where no network is meant."""

OutputForm = Literal["platemill", "yolov8", "yolov5"]
Colour = Literal["RGB", "BGR"]
Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=8, le=4096)]


def _channels(value: Any) -> Any:
    return (value,) * 3 if isinstance(value, int | float) else value


Channels = Annotated[tuple[float, float, float], BeforeValidator(_channels)]

Rows = Annotated[int, Field(ge=0, le=32)]
_ROWS: Final = "crops that a network of your own sees at once; 0: found by trying"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def _changed(self, *names: str) -> str:
        """Those of the fields that are not as in the built-in profile, in words; "" if none."""
        fields = type(self).model_fields
        return ", ".join(n for n in names if getattr(self, n) != fields[n].get_default())


_YOLO: Final[Mapping[str, object]] = {
    "long_side": 640,
    "square": True,
    "enlarge": True,
    "centred": True,
    "score_threshold": 0.25,
    "confirmed_from": 1.0,
    "scraps_from": 0.0,
}


class DetectorProfile(_Part):
    """The detector: its file, its input and the form of its output."""

    file: str = Field(
        default=OURS, description="TorchScript (.pt, .torchscript) or ONNX (.onnx), or 'built-in'"
    )
    output: OutputForm = Field(
        default="platemill",
        description="'yolov8': [1, 4 + classes, anchors]; 'yolov5': [1, anchors, 5 + classes]; "
        "'platemill': [1, M, 5 or 14]",
    )
    plate_class: Annotated[int, Field(ge=-1)] = Field(
        default=-1, description="number of the class that is a plate; -1: the only class"
    )
    long_side: Side = Field(default=768, description="long side of the input, px")
    square: bool = Field(default=False, description="the input is always long_side x long_side")
    enlarge: bool = Field(default=False, description="enlarge a smaller image to fill the input")
    centred: bool = Field(
        default=False, description="the image lies in the middle, not at the top left"
    )
    stride: Annotated[int, Field(ge=1, le=256)] = Field(
        default=32, description="the input's sides are multiples of this"
    )
    colour: Colour = Field(default="RGB", description="order of the input's channels: RGB or BGR")
    white: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="value of a white pixel in the input: 1.0 or 255.0"
    )
    padding: Annotated[int, Field(ge=0, le=255)] = Field(
        default=114, description="grey that the rest of the input is filled with, 0 to 255"
    )
    score_threshold: Share = Field(
        default=0.75, description="score from which a candidate is a plate"
    )
    confirmed_from: Share = Field(
        default=0.2,
        description="score from which a candidate is a plate if a text is published for it; 1: "
        "reading confirms none",
    )
    scraps_from: Share = Field(
        default=0.9,
        description="score from which a candidate is a plate although only one or two characters "
        "are read from it; 0: as score_threshold",
    )
    iou_threshold: Share = Field(
        default=0.3, description="of two candidates that overlap more, the weaker is dropped"
    )

    @model_validator(mode="before")
    @classmethod
    def _start_from_the_form(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("output") in ("yolov8", "yolov5"):
            return {**_YOLO, **given}
        return given

    @model_validator(mode="after")
    def _fits_its_network(self) -> Self:
        if self.file == NONE:
            raise ValueError("there is no pipeline without a detector: name its file")
        own = self._changed("output", "plate_class", "stride", "colour", "white", "padding")
        if self.file == OURS and own:
            raise ValueError(f"the built-in detector fixes {own}: leave that out, or name a file")
        if self.long_side % self.stride:
            raise ValueError(f"long_side {self.long_side} is no multiple of stride {self.stride}")
        return self

    @cached_property
    def weakest(self) -> DetectorProfile:
        """The same, but with every candidate that reading may confirm."""
        least = min(self.confirmed_from, self.score_threshold)
        return self.model_copy(update={"score_threshold": least})


class CropProfile(_Part):
    """The crops that `stn` and `reader` see."""

    width: Side = Field(default=94, description="px")
    height: Side = Field(default=24, description="px")
    margin_x: Annotated[float, Field(ge=-0.25, le=1)] = Field(
        default=0.04, description="part of the plate's width added at its left and at its right"
    )
    margin_y: Annotated[float, Field(ge=-0.25, le=1)] = Field(
        default=0.14, description="part of the plate's height added above and below it"
    )
    colour: Colour = Field(default="RGB", description="order of the channels: RGB or BGR")
    mean: Channels = Field(
        default=(127.5, 127.5, 127.5),
        description="taken from a pixel of 0 to 255; one number or three",
    )
    std: Channels = Field(
        default=(128.0, 128.0, 128.0),
        description="what remains is divided by this; one number or three",
    )

    @field_validator("std")
    @classmethod
    def _divides(cls, std: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(std) <= 0:
            raise ValueError("must be greater than 0")
        return std


class StnProfile(_Part):
    """The network that straightens crops."""

    file: str = Field(
        default=OURS,
        description="TorchScript, 'built-in', or 'none': the reader sees the crops as they are; "
        "default: 'built-in' before the built-in reader, else 'none'",
    )
    rows_at_once: Rows = Field(default=0, description=_ROWS)


class ReaderProfile(_Part):
    """The network that reads crops: CTC logits [N, classes, steps]."""

    file: str = Field(default=OURS, description="TorchScript, or 'built-in'")
    rows_at_once: Rows = Field(default=0, description=_ROWS)
    alphabet: str = Field(
        default=ALPHABET, description="a character for each class, in order, less blank"
    )
    blank: int = Field(default=-1, description="number of the CTC blank's class; -1: the last")
    time_steps: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=18, description="steps of the logits"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="logits are divided by it before they become probabilities"
    )
    publish_from: Share = Field(
        default=0.1, description="least probability of a text for it to be published"
    )

    @model_validator(mode="before")
    @classmethod
    def _another_network_is_not_calibrated(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("file", OURS) != OURS:
            return {"temperature": 1.0, **given}
        return given

    @property
    def classes(self) -> int:
        """How many classes the logits have: the alphabet and the blank."""
        return len(self.alphabet) + 1

    @model_validator(mode="after")
    def _fits_its_network(self) -> Self:
        twice = {c for c in self.alphabet if self.alphabet.count(c) > 1}
        if twice or not self.alphabet:
            what = f"holds {', '.join(sorted(twice))} twice" if twice else "is empty"
            raise ValueError(f"the alphabet {what}: it needs one character for each class")
        if not -self.classes <= self.blank < self.classes:
            raise ValueError(f"blank {self.blank} is no class of {self.classes}")
        if self.file == NONE:
            raise ValueError("there is no pipeline without a reader: name its file")
        own = self._changed("alphabet", "blank", "time_steps")
        if self.file == OURS and own:
            raise ValueError(f"the built-in reader fixes {own}: leave that out, or name a file")
        return self


class PlatesProfile(_Part):
    """The plates whose texts are published."""

    kinds: tuple[str | tuple[str, ...], ...] = Field(
        default=tuple(kind.name for kind in PUBLISHED_KINDS),
        min_length=1,
        description="names of Russian kinds ("
        + ", ".join(kind.name for kind in KINDS)
        + "), layouts ('LLDDLL'), or lists of the characters allowed at each place",
    )

    def grammar(self, alphabet: str) -> Grammar:
        """The texts that are published, over a reader's alphabet.

        Raises:
            ValueError: a kind is unknown or needs a character that the alphabet lacks.
        """
        return tuple(pattern for kind in self.kinds for pattern in _patterns(kind, alphabet))


def _patterns(kind: str | tuple[str, ...], alphabet: str) -> Grammar:
    known = {kind.name: kind for kind in KINDS}
    if isinstance(kind, str):
        if kind and not set(kind) - set("LDAR"):
            return patterns_of(kind, alphabet)
        if kind not in known:
            raise ValueError(
                f"there is no kind {kind!r}: name one of {', '.join(known)}, or write a layout "
                "such as 'LLDDLL' (L letter, D digit, A either, R region at the end)"
            )
        patterns = known[kind].patterns
    else:
        patterns = (Pattern(kind),)
    for pattern in patterns:
        lacking = sorted(set("".join(pattern.places)) - set(alphabet))
        if lacking or not all(pattern.places):
            what = f"needs {''.join(lacking)}" if lacking else "has an empty place"
            raise ValueError(
                f"kind {kind!r} {what}, and the reader's alphabet is {alphabet}: correct "
                "plates.kinds or reader.alphabet"
            )
    return patterns


class Profile(_Part):
    """All of it. Frozen; two profiles with the same values are equal."""

    detector: DetectorProfile = DetectorProfile()
    crop: CropProfile = CropProfile()
    stn: StnProfile = StnProfile()
    reader: ReaderProfile = ReaderProfile()
    plates: PlatesProfile = PlatesProfile()

    @cached_property
    def grammar(self) -> Grammar:
        """The texts that are published."""
        return self.plates.grammar(self.reader.alphabet)

    @property
    def files(self) -> dict[str, Path]:
        """The networks that are not the project's own: `detector`, `stn`, `reader`."""
        files = {
            "detector": self.detector.file,
            "stn": self.stn.file,
            "reader": self.reader.file,
        }
        return {name: Path(file) for name, file in files.items() if file not in (OURS, NONE)}

    @property
    def straightens(self) -> bool:
        """Whether there is an `stn` at all."""
        return self.stn.file != NONE

    @model_validator(mode="before")
    @classmethod
    def _no_stn_of_ours_before_another_reader(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        reader, stn = given.get("reader", {}), given.get("stn", {})
        if isinstance(reader, dict) and isinstance(stn, dict):
            default = OURS if reader.get("file", OURS) == OURS else NONE
            return {**given, "stn": {"file": default, **stn}}
        return given

    @model_validator(mode="after")
    def _parts_fit_each_other(self) -> Self:
        fixed = self.crop._changed("width", "height", "colour", "mean", "std")
        ours = [n for n, f in (("stn", self.stn.file), ("reader", self.reader.file)) if f == OURS]
        if fixed and ours:
            raise ValueError(
                f"the built-in {' and '.join(ours)} fix the crop's {fixed}: leave that out, or "
                "name files of your own (stn.file = 'none' does without an stn)"
            )
        longest = max(len(pattern.places) for pattern in self.grammar)
        if longest > self.reader.time_steps:
            raise ValueError(
                f"a plate of {longest} characters does not fit into {self.reader.time_steps} time "
                "steps: correct reader.time_steps or plates.kinds"
            )
        return self


BUILT_IN: Final = Profile()
"""The profile of the project's own networks: every number of it stands above, once."""
