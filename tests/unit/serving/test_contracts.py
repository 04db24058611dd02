"""Every config of the model repository says what the contracts say."""

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from platemill.serving.contracts import CONTRACTS, MODEL_VERSION, PLATE_BULK, ModelContract
from platemill.settings import Settings

MODELS = Settings(home=".").models


def config_of(name: str) -> model_config_pb2.ModelConfig:
    text = (MODELS / name / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def tensors(configured) -> list[tuple[str, str, tuple[int, ...]]]:
    return [
        (t.name, model_config_pb2.DataType.Name(t.data_type).removeprefix("TYPE_"), tuple(t.dims))
        for t in configured
    ]


ALL = {**CONTRACTS, PLATE_BULK.name: PLATE_BULK}


@pytest.mark.parametrize("contract", ALL.values(), ids=ALL.keys())
def test_config_says_what_the_contract_says(contract: ModelContract) -> None:
    config = config_of(contract.name)
    assert config.name == contract.name
    assert config.backend == contract.backend
    assert config.max_batch_size == contract.max_batch_size
    assert tensors(config.input) == [(t.name, t.datatype, t.shape) for t in contract.inputs]
    assert tensors(config.output) == [(t.name, t.datatype, t.shape) for t in contract.outputs]
    kinds = {model_config_pb2.ModelInstanceGroup.Kind.Name(g.kind) for g in config.instance_group}
    assert kinds <= {"KIND_CPU", "KIND_AUTO"}, "GPU settings are an overlay"


def test_the_repository_holds_the_contracted_models_and_no_half_ones() -> None:
    folders = {path.name for path in MODELS.iterdir() if path.is_dir()}
    assert folders == set(ALL)
    for name in folders:
        assert (MODELS / name / "config.pbtxt").is_file()
        assert (MODELS / name / MODEL_VERSION).is_dir()


def test_crops_travel_in_batches_of_the_same_shape_from_model_to_model() -> None:
    crops = CONTRACTS["yolo"].outputs[0].shape[1:]
    assert CONTRACTS["stn"].inputs[0].shape == crops
    assert CONTRACTS["stn"].outputs[0].shape == crops
    assert CONTRACTS["lprnet"].inputs[0].shape == crops
    assert config_of("stn").HasField("dynamic_batching")
    assert config_of("lprnet").HasField("dynamic_batching")
