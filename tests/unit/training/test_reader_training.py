"""The reader's training, in Triton's environment: batches, loss, networks."""

from triton_python import check


def test_batches_hold_crops_and_texts_that_may_be_empty() -> None:
    check("""
import torch
from platemill.training.reader import Crops
first, second = (next(iter(Crops(48, 7))) for _ in range(2))
for one, other in zip(first, second):
    assert torch.equal(one, other), "the same seed draws the same batch"
crops, targets, lengths = first
assert crops.shape == (48, 3, 24, 94) and crops.dtype == torch.float32
assert crops.min() >= -1 and crops.max() <= 1 and crops.std() > 0.1
assert targets.shape == (48, 9)
assert set(lengths.tolist()) <= {0, 7, 8, 9}
for row, length in zip(targets, lengths):
    assert (row[length:] == 0).all() and (row < 22).all()
""")


def test_a_crop_that_is_used_again_is_moved_a_little() -> None:
    check("""
import numpy as np
from platemill.training.reader import vary
from platemill.vision.crops import normalise
crop = np.zeros((24, 94, 3), np.uint8)
crop[8:16, 30:60] = 200
plain = normalise(crop)
rng = np.random.default_rng(1)
varied = [vary(crop, rng) for _ in range(40)]
for one in varied:
    assert one.shape == (3, 24, 94) and one.dtype == np.float32
    assert np.corrcoef(one.ravel(), plain.ravel())[0, 1] > 0.75
assert np.std([one.mean() for one in varied]) > 0.01
""")


def test_silence_is_the_right_answer_to_an_empty_text() -> None:
    check("""
import torch
from platemill.training.reader import loss_of
silent = torch.zeros(2, 23, 18)
silent[:, 22] = 12.0
empty = torch.zeros(2, 9, dtype=torch.long), torch.zeros(2, dtype=torch.long)
assert loss_of(silent, *empty) < 0.01
speaking = torch.zeros(2, 23, 18)
speaking[:, 3, 5] = 12.0
speaking.requires_grad_()
loss = loss_of(speaking, *empty)
loss.backward()
assert loss > 1 and torch.isfinite(speaking.grad).all()
assert speaking.grad[0, 3, 5] > 0
""")


def test_the_networks_keep_their_contract_in_half_precision_and_script() -> None:
    check("""
import torch
from torch import nn
from platemill.training.nets import Reader, Stn
torch.manual_seed(0)
crops = torch.rand(6, 3, 24, 94) * 2 - 1
with torch.no_grad():
    for kind in (torch.float32, torch.bfloat16):
        for channels in (torch.contiguous_format, torch.channels_last):
            stn, reader = Stn().eval().to(kind), Reader().eval().to(kind)
            for net in (stn, torch.jit.script(stn)):
                straight = net(crops.contiguous(memory_format=channels))
                assert straight.shape == crops.shape and straight.dtype == torch.float32
            assert torch.allclose(straight, crops, atol=0.02), "it starts as the identity"
            for net in (reader, torch.jit.script(reader)):
                logits = net(straight)
                assert logits.shape == (6, 23, 18) and logits.dtype == torch.float32
    stn, reader = Stn().eval(), Reader().eval()
    together = reader(stn(crops))
    for row in range(6):
        alone = reader(stn(crops[row : row + 1]))
        assert torch.allclose(alone[0], together[row], atol=1e-4), "depends on the batch"
""")
