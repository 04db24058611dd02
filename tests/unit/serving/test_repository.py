"""Model repositories assembled from profiles."""

import pickle
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from platemill.errors import ConfigurationError
from platemill.serving.contracts import CONTRACTS, PLATE_BULK, contracts_for
from platemill.serving.repository import assemble, config_of, repository_of
from platemill.serving.version import pipeline_version
from platemill.settings import Settings, load_settings
from platemill.vision.profile import BUILT_IN, Profile
from platemill.vision.profile_file import load_profile, served_profile

OWN = """
[detector]
file = "plates.onnx"
output = "yolov8"
[crop]
width = 128
height = 32
[reader]
file = "reader.torchscript"
alphabet = "0123456789ABCDEF"
time_steps = 20
rows_at_once = 4
[plates]
kinds = ["LLDDDD"]
"""


def torchscript(path: Path, content: bytes = b"weights") -> Path:
    """A file that has what TorchScript has, and no network."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/constants.pkl", b"")
        archive.writestr(f"{path.stem}/data.pkl", content)
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "plates.onnx").write_bytes(b"a network")
    torchscript(tmp_path / "reader.torchscript")
    path = tmp_path / "my.toml"
    path.write_text(OWN)
    return path


def assembled(path: Path, settings: Settings) -> Path:
    return assemble(load_profile(path), settings, settings.home / "models")


def test_without_a_profile_the_checkout_s_repository_is_served(settings: Settings) -> None:
    assert repository_of(settings) == settings.models
    assert not settings.home.exists()


def test_a_profile_s_repository_holds_its_networks_and_the_profile(
    own: Path, settings: Settings
) -> None:
    repository = assembled(own, settings)
    names = [*CONTRACTS, PLATE_BULK.name]
    assert sorted(path.name for path in repository.iterdir()) == sorted(names)
    files = {
        path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()
    }
    assert files == {
        *(f"{name}/config.pbtxt" for name in names),
        "plate_bulk/1/model.py",
        "yolo/1/detector.onnx",
        "yolo/1/model.py",
        "yolo/1/profile.toml",
        "plate_recognition/1/model.py",
        "plate_recognition/1/profile.toml",
        "stn/1/model.py",
        "lprnet/1/model.pt",
    }
    assert (repository / "yolo/1/detector.onnx").read_bytes() == b"a network"
    profile = served_profile(repository / "plate_recognition" / "1")
    assert profile.reader.alphabet == "0123456789ABCDEF"
    assert profile == served_profile(repository / "yolo" / "1")


def test_configs_say_what_the_profile_s_contracts_say(own: Path, settings: Settings) -> None:
    profile = load_profile(own)
    repository = assembled(own, settings)
    for contract in contracts_for(profile).values():
        text = (repository / contract.name / "config.pbtxt").read_text()
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        before = text_format.Parse(
            (settings.models / contract.name / "config.pbtxt").read_text(),
            model_config_pb2.ModelConfig(),
        )
        assert config.backend == contract.backend
        assert [tuple(t.dims) for t in config.input] == [t.shape for t in contract.inputs]
        assert [tuple(t.dims) for t in config.output] == [t.shape for t in contract.outputs]
        assert config.instance_group == before.instance_group
        assert config.HasField("dynamic_batching") == before.HasField("dynamic_batching")
    assert contracts_for(profile)["lprnet"].outputs[0].shape == (17, 20)
    assert config_of(repository, "lprnet")["parameters"]["ROWS_AT_ONCE"] == {"string_value": "4"}
    assert config_of(repository, "stn")["backend"] == "python"


def test_the_built_in_profile_s_contracts_are_the_contracts() -> None:
    assert contracts_for(BUILT_IN) == CONTRACTS


def test_another_bulk_model_makes_another_folder_and_no_other_version(
    own: Path, settings: Settings, tmp_path: Path
) -> None:
    first = assembled(own, settings)
    models = tmp_path / "models"
    shutil.copytree(settings.models, models)
    with (models / PLATE_BULK.name / "1" / "model.py").open("a") as file:
        file.write("# better\n")
    second = assembled(own, settings.model_copy(update={"triton_models": models}))
    assert second != first
    assert pipeline_version(second) == pipeline_version(first)
    shutil.rmtree(models / PLATE_BULK.name)
    third = assembled(own, settings.model_copy(update={"triton_models": models}))
    assert sorted(path.name for path in third.iterdir()) == sorted(CONTRACTS)


def test_the_same_profile_is_assembled_once(own: Path, settings: Settings) -> None:
    first = assembled(own, settings)
    stamp = first.stat().st_mtime_ns
    assert assembled(own, settings) == first
    assert first.stat().st_mtime_ns == stamp
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_several_may_assemble_the_same_at_once(own: Path, settings: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: assembled(own, settings), range(8)))
    assert len(folders) == 1
    assert list((settings.home / "models").iterdir()) == list(folders)


def test_its_version_and_folder_do_not_depend_on_where_it_lies(
    own: Path, settings: Settings, tmp_path: Path
) -> None:
    version = pipeline_version(assembled(own, settings))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in (own, tmp_path / "plates.onnx", tmp_path / "reader.torchscript"):
        (elsewhere / path.name).write_bytes(path.read_bytes())
    again = assembled(elsewhere / own.name, settings)
    assert again == assembled(own, settings)
    assert pipeline_version(again) == version != pipeline_version(settings.models)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "plates.onnx").write_bytes(b"another network"),
        lambda folder: torchscript(folder / "reader.torchscript", b"other"),
        lambda folder: (folder / "my.toml").write_text(OWN.replace("DDDD", "DDD")),
        lambda folder: (folder / "my.toml").write_text(
            OWN.replace('output = "yolov8"', 'output = "yolov8"\nscore_threshold = 0.4')
        ),
    ],
)
def test_a_change_of_the_profile_or_a_file_is_another_version(
    own: Path, settings: Settings, change
) -> None:
    before = assembled(own, settings)
    change(own.parent)
    after = assembled(own, settings)
    assert after != before
    assert pipeline_version(after) != pipeline_version(before)


def test_settings_name_the_profile(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own.parent)
    monkeypatch.setenv("PLATEMILL_PROFILE", own.name)
    settings = load_settings(home=tmp_path / "home")
    assert settings.profile == own
    assert repository_of(settings).parent == settings.home / "models"
    assert settings.environment()["PLATEMILL_PROFILE"] == str(own)


def test_a_profile_of_thresholds_alone_keeps_the_networks(settings: Settings) -> None:
    profile = Profile.model_validate({"detector": {"score_threshold": 0.7}})
    repository = assemble(profile, settings, settings.home / "models")
    for name in ("yolo/1/detector.pt", "stn/1/model.pt", "lprnet/1/model.pt"):
        assert (repository / name).read_bytes() == (settings.models / name).read_bytes()
    assert served_profile(repository / "yolo" / "1") == profile


def test_an_unfinished_assembly_is_no_repository(own: Path, settings: Settings) -> None:
    broken = settings.model_copy(update={"project": own.parent, "triton_models": settings.models})
    with pytest.raises(FileNotFoundError, match="identity"):
        assembled(own, broken)
    assert list((settings.home / "models").iterdir()) == []
    assert (assembled(own, settings) / "yolo" / "1" / "detector.onnx").is_file()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.pt", ["there is no file", "profile's folder"]),
        ("net.pth", ["is none of", "pickle", "TorchScript"]),
        ("net.pt", ["is no TorchScript", "yolo export model=net.pt format=onnx"]),
        ("text.torchscript", ["is no TorchScript"]),
    ],
)
def test_files_that_are_never_opened_are_refused(
    tmp_path: Path, settings: Settings, name: str, words: list[str]
) -> None:
    (tmp_path / "net.pth").write_bytes(pickle.dumps({}))
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps({}))
    (tmp_path / "text.torchscript").write_text("weights")
    path = tmp_path / "my.toml"
    path.write_text(f'[stn]\nfile = "{name}"\n')
    with pytest.raises(ConfigurationError) as caught:
        assembled(path, settings)
    for word in words:
        assert word in str(caught.value)


def test_onnx_is_for_detectors_only(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "reader.onnx").write_bytes(b"")
    path = tmp_path / "my.toml"
    path.write_text('[reader]\nfile = "reader.onnx"\n')
    with pytest.raises(ConfigurationError, match=r"reader\.onnx is none of"):
        assembled(path, settings)
