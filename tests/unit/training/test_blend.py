"""Weights between those of two exported detectors."""

from pathlib import Path

import pytest
from triton_python import check

CODE = """
import sys
from pathlib import Path

import numpy as np
import torch

from platemill.errors import ConfigurationError
from platemill.serving.torchscript import MARK_FILE
from platemill.training import blend
from platemill.training.export import DETECTOR_FILE, export_detector
from platemill.training.nets import Detector

folder = Path(sys.argv[1])

def loaded(name):
    extra = {MARK_FILE: ""}
    network = torch.jit.load(str(folder / name / DETECTOR_FILE), _extra_files=extra)
    return network, extra[MARK_FILE]

for seed, name in enumerate(("ours", "other")):
    torch.manual_seed(seed)
    export_detector(Detector(), folder / name)
(ours, mark), (other, _) = loaded("ours"), loaded("other")
"""


def test_a_blend_lies_between_two_networks_and_keeps_its_mark(tmp_path: Path) -> None:
    check(
        CODE
        + """
blend.main(["--repository", str(folder / "ours"), "--other", str(folder / "other"),
            "--share", "0.25"])
blended, kept = loaded("ours")
assert kept == mark and mark
for name, value in blended.state_dict().items():
    wanted = 0.75 * ours.state_dict()[name] + 0.25 * other.state_dict()[name]
    np.testing.assert_allclose(value, wanted, atol=1e-6)
assert any((v != ours.state_dict()[n]).any() for n, v in blended.state_dict().items())
assert not list(folder.rglob("*.tmp"))
""",
        str(tmp_path),
    )


@pytest.mark.parametrize(
    ("share", "other", "said"),
    [(1.5, "other", "between 0 and 1"), (0.5, "none", "no weights"), (0.5, "reader", "another")],
)
def test_what_cannot_be_blended_changes_nothing(
    share: float, other: str, said: str, tmp_path: Path
) -> None:
    check(
        CODE
        + """
path = folder / "ours" / DETECTOR_FILE
(folder / "reader" / DETECTOR_FILE).parent.mkdir(parents=True)
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(folder / "reader" / DETECTOR_FILE))
before = path.read_bytes()
try:
    blend.blend(path, folder / sys.argv[3] / DETECTOR_FILE, float(sys.argv[2]))
except ConfigurationError as error:
    assert sys.argv[4] in str(error), error
else:
    raise AssertionError("nothing was refused")
assert path.read_bytes() == before
""",
        str(tmp_path),
        str(share),
        other,
        said,
    )
