"""The way back from an exported network to one that can be trained on.

The exported files have no batch norms left (`platemill.training.export`). Here they are put back:
each is given the mean and the variance of what the convolution before it answers, and the scale
and the shift that undo them, so that the network answers as before, and is normed as if it had
been trained to this point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from platemill.errors import ConfigurationError


def start_from(net: nn.Module, files: Mapping[str, Path], examples: Iterable[Tensor]) -> None:
    """Give a network the weights of exported files.

    Args:
        net: of the same shape as the exported one; its weights are overwritten.
        files: the file of each part of the network; a part is named as in `net`, with a dot
            after it, and "" is the whole.
        examples: batches for the network, of the kind that it will be trained on.

    Raises:
        ConfigurationError: a file is missing, or is of another network.
    """
    weights: dict[str, Tensor] = {}
    for prefix, path in files.items():
        if not path.is_file():
            raise ConfigurationError(f"there are no weights at {path}: export them there first")
        exported = torch.jit.load(str(path), map_location="cpu").state_dict()
        weights |= {prefix + name.removeprefix("detector."): w for name, w in exported.items()}
    try:
        with torch.no_grad():
            _unfold(net, weights, examples)
    except (KeyError, RuntimeError) as error:
        given = ", ".join(str(path) for path in files.values())
        raise ConfigurationError(f"{given} holds another network than this one: {error}") from error


def _unfold(net: nn.Module, weights: Mapping[str, Tensor], examples: Iterable[Tensor]) -> None:
    pairs = list(_pairs(net))
    made_up = set()
    for name, norm_name, norm in pairs:
        norm.reset_running_stats()
        norm.running_var.fill_(1 - norm.eps)
        norm.weight.fill_(1)
        norm.bias.copy_(weights[f"{name}.bias"])
        made_up |= {f"{norm_name}.{key}" for key in norm.state_dict()}
    for name, value in net.state_dict().items():
        if name not in made_up:
            value.copy_(weights[name])
    training = net.training
    net.eval()
    seen = [_Moments(norm) for _, _, norm in pairs]
    for example in examples:
        net(example)
    for moments in seen:
        moments.install()
    net.train(training)


def _pairs(net: nn.Module) -> Iterator[tuple[str, str, nn.BatchNorm2d]]:
    """The convolutions that a batch norm follows: both names, and the norm."""
    for parent, module in net.named_modules():
        if isinstance(module, nn.Sequential):
            for (name, first), (after, norm) in pairwise(module.named_children()):
                if isinstance(first, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    before = f"{parent}." if parent else ""
                    yield before + name, before + after, norm


class _Moments:
    """Mean and variance, by channel, of what a batch norm is given."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        self.norm = norm
        self.sums: list[Tensor] = []
        self.squares: list[Tensor] = []
        self.hook = norm.register_forward_pre_hook(self._look)

    def _look(self, _: nn.Module, given: tuple[Tensor]) -> None:
        values = given[0].double()
        self.sums.append(values.mean(dim=(0, 2, 3)))
        self.squares.append(values.pow(2).mean(dim=(0, 2, 3)))

    def install(self) -> None:
        """Set the norm to these moments, and let its scale and shift undo them."""
        self.hook.remove()
        mean = torch.stack(self.sums).mean(dim=0)
        variance = (torch.stack(self.squares).mean(dim=0) - mean.pow(2)).clamp(min=0)
        norm = self.norm
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)
