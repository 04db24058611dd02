"""The detector's training: photos, scenes, targets, candidates, in Triton's environment."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from triton_python import check


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty photos, each with a white plate on grey, and one to be ignored; one has no plate."""
    out = tmp_path_factory.mktemp("photos")
    rows = ["file,xmin,ymin,xmax,ymax,note"]
    for index in range(20):
        photo = np.full((360, 640, 3), 80, np.uint8)
        cv2.rectangle(photo, (200, 150), (319, 175), (240, 240, 240), -1)
        cv2.imwrite(str(out / f"{index:02d}.png"), photo)
        rows.append(f"{index:02d}.png,200,150,320,176,box only")
        rows.append(f"{index:02d}.png,500,300,560,315,ignore: too dark")
    cv2.imwrite(str(out / "99.png"), np.full((360, 640, 3), 80, np.uint8))
    rows.append("99.png,,,,,no plate")
    (out / "labels.csv").write_text("\n".join(rows))
    return out


def test_a_perfect_detector_loses_nothing() -> None:
    check("""
import torch
from platemill.training.nets import candidates
from platemill.training.targets import assign, losses, overlap
plates = torch.zeros(1, 16, 16)
box = torch.tensor([40.0, 40.0, 120.0, 64.0])
corners = torch.tensor([42.0, 40, 120, 44, 118, 64, 40, 60])
plates[0, 0] = torch.cat([box, corners, torch.tensor([1.0, 1, 1, 0])])
chosen, ignored = assign(plates, 16, 24)
assert (chosen == 0).any() and not ((chosen >= 0) & ignored).any() and ignored.any()
y = ((torch.arange(16) + 0.5) * 8).view(16, 1)
x = ((torch.arange(24) + 0.5) * 8).view(1, 24)
sides = [x - 40 + 0 * y, y - 40 + 0 * x, 120 - x + 0 * y, 64 - y + 0 * x]
maps = torch.full((1, 14, 16, 24), -12.0)
maps[0, 1:5] = torch.stack([side.clamp(min=0.1) / 8 for side in sides]).log()
maps[0, 0].view(-1)[chosen[0] >= 0] = 12.0
part = (corners.view(4, 2) - box[:2]) / (box[2:] - box[:2])
maps[0, 5:13] = torch.logit((part.flatten() + 0.2) / 1.4).view(8, 1, 1)
maps[0, 13] = 12.0
right = losses(maps, plates)
assert right.total() < 0.01, right
maps[0, 13] = -12.0
assert losses(maps, plates).lines > 5
maps[0, 5] += 3
assert losses(maps, plates).corners > right.corners + 0.01
found = candidates(maps)
assert found.shape == (1, 384, 14)
cell = int(torch.nonzero(chosen[0] == 0)[0])
assert torch.allclose(found[0, cell, :4], box, atol=0.01)
assert torch.allclose(found[0, cell, 7:13], corners[2:], atol=0.01)
same, _ = overlap(box[None], box[None])
assert abs(float(same) - 1) < 1e-5
""")


def test_what_is_not_known_is_not_learnt() -> None:
    check("""
import torch
from platemill.training.targets import assign, losses
plates = torch.zeros(1, 16, 16)
plates[0, 0, :4] = torch.tensor([40.0, 40.0, 120.0, 64.0])
plates[0, 0, 12] = 1
maps = torch.zeros(1, 14, 16, 24)
found = losses(maps, plates)
assert found.corners == 0 and found.lines == 0 and found.box > 0
plates[0, 0, 15] = 1
chosen, ignored = assign(plates, 16, 24)
assert (chosen < 0).all() and ignored.sum() == 30
plain = losses(maps, plates)
maps[0, 0, 6, 9] = 8.0
assert losses(maps, plates).score == plain.score, "inside the plate"
maps[0, 0, 14, 22] = 8.0
assert losses(maps, plates).score > plain.score + 1, "elsewhere"
""")


def test_every_plate_has_a_cell_however_small_it_is() -> None:
    check("""
import torch
from platemill.training.targets import assign
plates = torch.zeros(1, 16, 16)
for index in range(16):
    left, top = 10.0 + 41.3 * (index % 4), 8.0 + 33.7 * (index // 4)
    plates[0, index, :4] = torch.tensor([left, top, left + 9, top + 4])
plates[0, :, 12] = 1
chosen, _ = assign(plates, 20, 24)
assert set(chosen[chosen >= 0].tolist()) == set(range(16))
""")


def test_candidates_are_float32_for_every_image_and_precision() -> None:
    check("""
import torch
from platemill.training.nets import Detector, DetectorCandidates
torch.manual_seed(0)
net = DetectorCandidates(Detector()).eval()
images = torch.rand(3, 3, 96, 160)
with torch.no_grad():
    whole = net(images)
    alone = net(images[1:2])
    script = torch.jit.freeze(torch.jit.script(net))(images)
    half = net.to(torch.bfloat16)(images)
assert whole.shape == half.shape == (3, 240, 14)
assert whole.dtype == half.dtype == torch.float32
assert torch.allclose(whole[1], alone[0], atol=1e-4)
assert torch.allclose(whole, script, atol=1e-3)
low, high = whole[..., :2].repeat(1, 1, 4), whole[..., 2:4].repeat(1, 1, 4)
over = 0.21 * (high - low)
assert ((whole[..., 5:13] >= low - over) & (whole[..., 5:13] <= high + over)).all()
""")


def test_photos_are_split_and_seen_with_their_plates(folder: Path) -> None:
    check(
        """
import sys
from pathlib import Path
import numpy as np
from platemill.training.photos import Photos, read_photos, split
photos = read_photos(Path(sys.argv[1]))
assert all(plates.ignored.tolist() == [False, True] for _, plates in photos[:-1])
bare = Photos(photos[-1:]).view(np.random.default_rng(0), 256, 192, False)
assert len(photos.pop()[1]) == len(bare.plates) == 0
shown, held = split(photos * 10)
assert len(photos) == 20 and len(shown) == 176 and len(held) == 24
rng = np.random.default_rng(0)
whites = seen = 0
for turn in range(40):
    view = Photos(photos[:1]).view(rng, 256, 192, turn % 2 == 0)
    assert view.image.shape == (192, 256, 3)
    for box in view.plates.boxes[~view.plates.ignored]:
        x, y = (int(v) for v in (box[:2] + box[2:]) / 2)
        around = view.image[y - 1 : y + 2, x - 1 : x + 2].mean()
        whites += around > np.median(view.image)
        seen += 1
assert seen > 20 and whites > 0.85 * seen, (seen, whites)
""",
        str(folder),
    )


def test_batches_follow_the_seed_and_hold_photos_and_clutter(folder: Path) -> None:
    check(
        """
import sys
from itertools import islice
from pathlib import Path
import torch
from platemill.training.photos import read_photos
from platemill.training.scenes import COLUMNS, HEIGHT, MOST_PLATES, WIDTH, Scenes
photos = read_photos(Path(sys.argv[1]))
draw = lambda seed: list(islice(Scenes(4, seed, photos, 0.5), 3))
first, again, other = draw(1), draw(1), draw(2)
for one, two in zip(first, again):
    assert all(torch.equal(a, b) for a, b in zip(one, two))
assert not torch.equal(first[0][0], other[0][0])
images, plates = (torch.cat(column) for column in zip(*first, *other))
assert images.shape == (24, 3, HEIGHT, WIDTH) and images.dtype == torch.uint8
assert plates.shape == (24, MOST_PLATES, COLUMNS) and torch.isfinite(plates).all()
used = plates[plates[..., 12] > 0]
assert (used[:, 2:4] > used[:, :2]).all()
known = used[:, 13] > 0
assert known.any() and not known.all(), "drawn plates and the photos' own"
drawn = next(iter(Scenes(4, 1, None, 0.5)))[1]
cut = (drawn[..., :2] <= 0).any(-1) | (drawn[..., 2] >= WIDTH) | (drawn[..., 3] >= HEIGHT)
assert ((drawn[..., 12] == 0) | cut | (drawn[..., 13] > 0)).all()
""",
        str(folder),
    )
