"""Profiles: what they say, what they refuse, and how they are read and written."""

from itertools import pairwise
from pathlib import Path

import pytest

from platemill.errors import ConfigurationError
from platemill.vision.plates import KINDS, PUBLISHED_KINDS, grammar_of
from platemill.vision.profile import BUILT_IN, NONE, OURS, DetectorProfile, Profile
from platemill.vision.profile_file import SERVED_NAME, load_profile, profile_text, served_profile

OWN_READER = """
[reader]
file = "nets/reader.pt"
alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
blank = 0
time_steps = 26
[crop]
width = 128
height = 32
mean = [123.7, 116.3, 103.5]
std = 58
[plates]
kinds = ["LLDDLL", ["AB", "0123456789", "XYZ"]]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(ConfigurationError) as caught:
        load_profile(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_an_empty_profile_is_the_built_in_one(tmp_path: Path) -> None:
    assert load_profile(write(tmp_path, "")) == BUILT_IN == Profile()
    assert BUILT_IN.files == {}
    assert BUILT_IN.straightens
    assert BUILT_IN.grammar == grammar_of(PUBLISHED_KINDS)


def test_files_are_relative_to_the_profile_s_folder(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, OWN_READER))
    assert profile.files == {"reader": tmp_path / "nets" / "reader.pt"}


def test_a_reader_of_one_s_own_has_no_stn_of_ours_and_no_calibration_of_ours(
    tmp_path: Path,
) -> None:
    profile = load_profile(write(tmp_path, OWN_READER))
    assert profile.stn.file == NONE
    assert not profile.straightens
    assert profile.reader.temperature == 1.0
    assert profile.reader.classes == 37
    assert profile.crop.std == (58, 58, 58)
    assert [len(pattern.places) for pattern in profile.grammar] == [6, 3]


def test_an_stn_of_one_s_own_keeps_our_reader(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, '[stn]\nfile = "stn.pt"'))
    assert profile.reader.file == OURS
    assert list(profile.files) == ["stn"]


@pytest.mark.parametrize("form", ["yolov5", "yolov8"])
def test_a_yolo_starts_from_what_its_own_prediction_does(tmp_path: Path, form: str) -> None:
    text = f'[detector]\nfile = "best.onnx"\noutput = "{form}"\n'
    detector = load_profile(write(tmp_path, text)).detector
    assert (detector.long_side, detector.square, detector.enlarge, detector.centred) == (
        640, True, True, True,
    )  # fmt: skip
    assert detector.score_threshold == 0.25
    changed = load_profile(write(tmp_path, text + "long_side = 960\nsquare = false")).detector
    assert (changed.long_side, changed.square, changed.centred) == (960, False, True)


def test_every_kind_may_be_named(tmp_path: Path) -> None:
    names = ", ".join(f'"{kind.name}"' for kind in KINDS)
    profile = load_profile(write(tmp_path, f"[plates]\nkinds = [{names}]"))
    assert profile.grammar == grammar_of(KINDS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[detector]\ncolor = 'RGB'", ["detector.color", "did you mean colour?"]),
        ("[camera]\na = 1", ["camera is no key", "detector, crop, stn, reader, plates"]),
        ("detector", ["is no TOML"]),
        ("[detector]\nlong_side = 'wide'", ["detector.long_side", "integer"]),
        ("[detector]\noutput = 'yolov8'", ["built-in detector fixes output"]),
        ("[detector]\nfile = 'none'", ["no pipeline without a detector"]),
        ("[detector]\nfile = 'a.pt'\nlong_side = 650", ["650 is no multiple of stride 32"]),
        ("[crop]\nwidth = 100", ["built-in stn and reader fix the crop's width"]),
        ("[crop]\nstd = 0", ["crop.std", "greater than 0"]),
        ("[reader]\nalphabet = 'AB'", ["built-in reader fixes alphabet"]),
        ("[reader]\nfile = 'a.pt'\nalphabet = 'AAB'", ["the alphabet holds A twice"]),
        ("[reader]\nfile = 'a.pt'\nalphabet = ''", ["the alphabet is empty"]),
        ("[reader]\nfile = 'a.pt'\nblank = 23", ["blank 23 is no class of 23"]),
        ("[reader]\nfile = 'a.pt'\ntime_steps = 5", ["9 characters", "5 time steps"]),
        ("[reader]\nfile = 'a.pt'\nalphabet = '01'", ["kind '1' needs", "plates.kinds"]),
        ("[reader]\ntemperature = nan", ["reader.temperature", "finite"]),
        ("[plates]\nkinds = ['6']", ["there is no kind '6'", "1B", "LLDDLL"]),
        ("[plates]\nkinds = ['LLR D']", ["there is no kind"]),
        ("[plates]\nkinds = [['A', '']]", ["has an empty place"]),
        ("[plates]\nkinds = []", ["plates.kinds"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    said = refusal(tmp_path, text)
    for word in words:
        assert word in said


def test_several_mistakes_are_said_together(tmp_path: Path) -> None:
    said = refusal(tmp_path, "[detector]\nscale = 1\n[crop]\nwide = 3")
    assert "detector.scale" in said
    assert "crop.wide" in said


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_profile(tmp_path / "none.toml")


@pytest.mark.parametrize("explained", [False, True])
@pytest.mark.parametrize("text", ["", OWN_READER])
def test_what_is_written_is_read_again(tmp_path: Path, text: str, explained: bool) -> None:
    profile = load_profile(write(tmp_path, text))
    again = tmp_path / "again.toml"
    again.write_text(profile_text(profile, explained=explained), encoding="utf-8")
    assert load_profile(again) == profile


def test_every_key_is_explained() -> None:
    lines = profile_text(BUILT_IN, explained=True).splitlines()
    for before, line in pairwise(lines):
        if line and not line.startswith("#"):
            assert before.startswith("# ")


def test_a_served_folder_says_its_profile_or_is_the_built_in_one(tmp_path: Path) -> None:
    assert served_profile(tmp_path) == BUILT_IN
    profile = Profile(detector=DetectorProfile(file="detector.onnx", output="yolov8"))
    (tmp_path / SERVED_NAME).write_text(profile_text(profile))
    assert served_profile(tmp_path) == profile
