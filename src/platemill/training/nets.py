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


class Detector(nn.Module):
    """[N, 3, h, w] RGB 0..1, sides multiples of 32, to raw maps [N, 5, h/8, w/8].

    Channel 0 is the score's logit; 1 to 4 are the logarithms of the distances, in units of
    the stride, from the cell's centre to the left, top, right and bottom side.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 24, 3, 2))
        self.at8 = nn.Sequential(conv(24, 48, 3, 2), Residual(48))
        self.at16 = nn.Sequential(conv(48, 80, 3, 2), Residual(80), Residual(80))
        self.at32 = nn.Sequential(conv(80, 112, 3, 2), Residual(112), Residual(112))
        self.lateral32 = conv(112, 48, 1)
        self.lateral16 = conv(80, 48, 1)
        self.lateral8 = conv(48, 48, 1)
        self.smooth16 = conv(48, 48)
        self.head = conv(48, 48)
        self.predict = nn.Conv2d(48, 5, 1)
        nn.init.constant_(self.predict.bias, 0.0)
        with torch.no_grad():
            self.predict.bias[0] = -5.0
            self.predict.bias[1:] = torch.tensor([1.5, 0.3, 1.5, 0.3])

    def forward(self, images: Tensor) -> Tensor:
        """Raw maps, see the class."""
        eighth = self.at8(self.stem(images * 2.0 - 1.0))
        sixteenth = self.at16(eighth)
        coarse = self.lateral32(self.at32(sixteenth))
        middle = self.lateral16(sixteenth) + functional.interpolate(coarse, scale_factor=2.0)
        middle = self.smooth16(middle)
        fine = self.lateral8(eighth) + functional.interpolate(middle, scale_factor=2.0)
        out: Tensor = self.predict(self.head(fine))
        return out


class DetectorCandidates(nn.Module):
    """The detector as it is exported: [1, 3, h, w] to candidates float32 [1, M, 5]."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> Tensor:
        """xmin, ymin, xmax, ymax in input pixels and a score for every cell."""
        return candidates(self.detector(images).float())


def candidates(maps: Tensor) -> Tensor:
    """Turn raw maps [N, 5, h, w] into float32 [N, h*w, 5]: corners in input pixels, score."""
    rows, columns = maps.shape[2], maps.shape[3]
    y = (torch.arange(rows, device=maps.device, dtype=maps.dtype) + 0.5).view(1, rows, 1)
    x = (torch.arange(columns, device=maps.device, dtype=maps.dtype) + 0.5).view(1, 1, columns)
    distance = maps[:, 1:].clamp(-6.0, 6.0).exp()
    boxes = torch.stack(
        [
            (x - distance[:, 0]) * 8.0,
            (y - distance[:, 1]) * 8.0,
            (x + distance[:, 2]) * 8.0,
            (y + distance[:, 3]) * 8.0,
            maps[:, 0].sigmoid(),
        ],
        dim=1,
    )
    return boxes.flatten(2).permute(0, 2, 1).contiguous()


class Stn(nn.Module):
    """Straightens crops: [N, 3, 24, 94] to [N, 3, 24, 94], by an affine map it predicts."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 32, 3, 1), conv(32, 48, 3, (1, 2))
        )
        self.hidden = nn.Linear(48 * 3 * 6, 48)
        self.affine = nn.Linear(48, 6)
        nn.init.zeros_(self.affine.weight)
        with torch.no_grad():
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, crops: Tensor) -> Tensor:
        """Resample every crop under its own affine map."""
        pooled = functional.adaptive_avg_pool2d(self.features(crops), [3, 6])
        hidden = functional.relu(self.hidden(pooled.reshape(pooled.shape[0], -1)))
        theta = self.affine(hidden).float().reshape(-1, 2, 3)
        size = [crops.shape[0], 3, 24, 94]
        grid = functional.affine_grid(theta, size, align_corners=False)
        return functional.grid_sample(
            crops.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )


class Reader(nn.Module):
    """Reads straightened crops: [N, 3, 24, 94] to CTC logits [N, 23, 18]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 24),
            nn.MaxPool2d(2, 2),
            conv(24, 48),
            Residual(48),
            conv(48, 64, 3, (2, 1)),
            Residual(64),
            conv(64, 96, 3, (2, 1)),
            Residual(96),
        )
        self.columns = unpadded(96, 128, (3, 1), 1)
        self.context = nn.Linear(128, 128)
        self.dropout = nn.Dropout(0.2)
        self.steps = unpadded(128, 160, (1, 13), (1, 2))
        self.classes = nn.Conv2d(160, CLASSES, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Logits by class and time step."""
        columns = self.columns(self.features(crops))
        gate = self.context(columns.mean(dim=[2, 3])).sigmoid()
        columns = columns * gate.unsqueeze(2).unsqueeze(3)
        logits = self.classes(self.steps(self.dropout(columns)))
        out: Tensor = logits.squeeze(2).float()
        return out
