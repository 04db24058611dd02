"""The three networks: a compact one-class detector, an STN and a light LPRNet.

Detector: anchor-free, one prediction per cell of stride 8, distances to the four sides
(Tian et al., "FCOS", ICCV 2019) over a small top-down pyramid (Lin et al., "FPN", CVPR
2017). STN: Jaderberg et al., "Spatial Transformer Networks", NeurIPS 2015, affine. Reader:
after Zherzdev and Gruzdev, "LPRNet", arXiv:1806.10447, with a strided stem, and with a
global context that is a mean over one crop only, so that nothing depends on the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from platemill.vision.ctc import CLASSES

DETECTOR_STRIDE = 8

_UPRIGHT = (-1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0)


def conv(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution, batch norm, ReLU; sizes are kept but for the stride."""
    padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def unpadded(
    inputs: int, outputs: int, kernel: tuple[int, int], stride: int | tuple[int, int]
) -> nn.Sequential:
    """Convolution without padding, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut, narrower inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels // 2), conv(channels // 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Any [N, C, H, W] to the same shape."""
        out: Tensor = x + self.body(x)
        return out


class Context(nn.Module):
    """Looks around: maxima over ever wider windows, joined (after SPPF in YOLOv5)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.narrow = conv(inputs, inputs // 2, 1)
        self.join = conv(inputs * 2, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H, W]."""
        near = self.narrow(x)
        wide = functional.max_pool2d(near, 5, 1, 2)
        wider = functional.max_pool2d(wide, 5, 1, 2)
        widest = functional.max_pool2d(wider, 5, 1, 2)
        out: Tensor = self.join(torch.cat([near, wide, wider, widest], dim=1))
        return out


class Detector(nn.Module):
    """[N, 3, h, w] RGB 0..1, sides multiples of 32, to raw maps [N, 14, h/8, w/8].

    Channel 0 is the score's logit; 1 to 4 are the logarithms of the distances, in units of
    the stride, from the cell's centre to the left, top, right and bottom side; 5 to 12 are
    x and y of the face's corners, see `candidates`; 13 is the logit of two lines. Every layer
    follows its weights' dtype: `score` and `place` may stay in float32 when the rest does not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 24, 3, 2))
        self.at8 = nn.Sequential(conv(24, 48, 3, 2), Residual(48))
        self.at16 = nn.Sequential(conv(48, 96, 3, 2), Residual(96), Residual(96))
        self.at32 = nn.Sequential(conv(96, 160, 3, 2), Residual(160), Residual(160))
        self.lateral32 = Context(160, 48)
        self.lateral16 = conv(96, 48, 1)
        self.lateral8 = conv(48, 48, 1)
        self.smooth16 = conv(48, 48)
        self.score_head = conv(48, 32)
        self.place_head = conv(48, 48)
        self.score = nn.Conv2d(32, 1, 1)
        self.place = nn.Conv2d(48, 13, 1)
        with torch.no_grad():
            self.score.bias.fill_(-5.0)
            self.place.bias.zero_()
            self.place.bias[:4] = torch.tensor([1.5, 0.3, 1.5, 0.3])
            self.place.bias[4:12] = torch.tensor(_UPRIGHT) * 1.7
            self.place.bias[12] = -2.0

    def forward(self, images: Tensor) -> Tensor:
        """Raw maps, see the class."""
        pixels = images.to(self.stem[0][0].weight.dtype) * 2.0 - 1.0
        eighth = self.at8(self.stem(pixels))
        sixteenth = self.at16(eighth)
        coarse = self.lateral32(self.at32(sixteenth))
        middle = self.lateral16(sixteenth) + functional.interpolate(coarse, scale_factor=2.0)
        middle = self.smooth16(middle)
        fine = self.lateral8(eighth) + functional.interpolate(middle, scale_factor=2.0)
        score = self.score(self.score_head(fine).to(self.score.weight.dtype))
        place = self.place(self.place_head(fine).to(self.place.weight.dtype))
        return torch.cat([score, place], dim=1)


class DetectorCandidates(nn.Module):
    """The detector as it is exported: [N, 3, h, w] to candidates float32 [N, M, 14]."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> Tensor:
        """What `candidates` says, for every cell."""
        return candidates(self.detector(images).float())


def candidates(maps: Tensor) -> Tensor:
    """Turn raw float32 maps [N, 14, h, w] into candidates float32 [N, h*w, 14].

    Columns: xmin, ymin, xmax, ymax in input pixels; the score; x and y of the face's top
    left, top right, bottom right and bottom left corner in input pixels, which lie in the
    box or up to a fifth of it outside; the probability of two lines.
    """
    rows, columns = maps.shape[2], maps.shape[3]
    y = (torch.arange(rows, device=maps.device, dtype=maps.dtype) + 0.5).view(1, rows, 1)
    x = (torch.arange(columns, device=maps.device, dtype=maps.dtype) + 0.5).view(1, 1, columns)
    distance = maps[:, 1:5].clamp(-6.0, 6.0).exp()
    left, top = (x - distance[:, 0]) * 8.0, (y - distance[:, 1]) * 8.0
    right, bottom = (x + distance[:, 2]) * 8.0, (y + distance[:, 3]) * 8.0
    box = torch.stack([left, top, right, bottom, maps[:, 0].sigmoid()], dim=1)
    within = maps[:, 5:13].sigmoid() * 1.4 - 0.2
    across = left.unsqueeze(1) + within[:, 0::2] * (right - left).unsqueeze(1)
    along = top.unsqueeze(1) + within[:, 1::2] * (bottom - top).unsqueeze(1)
    corners = torch.stack([across, along], dim=2).flatten(1, 2)
    lines = maps[:, 13:14].sigmoid()
    return torch.cat([box, corners, lines], dim=1).flatten(2).permute(0, 2, 1).contiguous()


class Stn(nn.Module):
    """Straightens crops: [N, 3, 24, 94] to [N, 3, 24, 94], by an affine map it predicts.

    The features follow the weights' dtype; the map is applied, and given back, in float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 48, 3, 1), conv(48, 48, 3, (1, 2))
        )
        self.hidden = nn.Linear(48 * 3 * 6, 64)
        self.affine = nn.Linear(64, 6)
        nn.init.zeros_(self.affine.weight)
        with torch.no_grad():
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, crops: Tensor) -> Tensor:
        """Resample every crop under its own affine map."""
        features = self.features(crops.to(self.hidden.weight.dtype))
        pooled = functional.adaptive_avg_pool2d(features, [3, 6])
        hidden = functional.relu(self.hidden(pooled.reshape(pooled.shape[0], -1)))
        theta = self.affine(hidden).float().reshape(-1, 2, 3)
        size = [crops.shape[0], 3, 24, 94]
        grid = functional.affine_grid(theta, size, align_corners=False)
        return functional.grid_sample(
            crops.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )


class Reader(nn.Module):
    """Reads straightened crops: [N, 3, 24, 94] to CTC logits float32 [N, 23, 18]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 24),
            nn.MaxPool2d(2, 2),
            conv(24, 48),
            Residual(48),
            conv(48, 80, 3, (2, 1)),
            Residual(80),
            conv(80, 112, 3, (2, 1)),
            Residual(112),
        )
        self.columns = unpadded(112, 144, (3, 1), 1)
        self.context = nn.Linear(144, 144)
        self.dropout = nn.Dropout(0.15)
        self.steps = unpadded(144, 176, (1, 13), (1, 2))
        self.neighbours = conv(176, 176, (1, 5))
        self.classes = nn.Conv2d(176, CLASSES, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Logits by class and time step."""
        columns = self.columns(self.features(crops.to(self.classes.weight.dtype)))
        gate = self.context(columns.mean(dim=[2, 3])).sigmoid()
        columns = columns * gate.unsqueeze(2).unsqueeze(3)
        steps = self.steps(self.dropout(columns))
        logits = self.classes(steps + self.neighbours(steps))
        out: Tensor = logits.squeeze(2).float()
        return out
