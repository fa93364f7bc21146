"""Frozen nets with feature maps at several depths, for perceptual distances.

Each maps examples (B, *shape) to a list of feature maps (B, C_l, H_l, W_l), from fine to coarse.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core.check import RequestError, refuse, whole
from narrows.core.tensorfile import read_tensors
from narrows.nets.axes import as_image, to_image

__all__ = ["Frozen", "RandomFeatures", "ResNetFeatures", "VGGFeatures", "read_weights"]

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels, with which these nets were trained."""


class Frozen(nn.Module):
    """A copy of a net with frozen weights: its parameters become buffers, and it stays in `eval()`.

    It has no parameters for an optimizer, gradients flow to its input, and the state dict holds it with the
    other buffers.

    Args:
        net: the net to copy; the original is unchanged.

    Example:
        >>> frozen = Frozen(nn.Linear(3, 2)).train()
        >>> list(frozen.parameters()), len(list(frozen.buffers())), frozen.net.training
        ([], 2, False)
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        for module in self.net.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach().clone())
        self.eval()

    def train(self, mode: bool = True) -> Frozen:
        """Stay in `eval()` for any `mode`."""
        return super().train(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The feature maps of x."""
        found: list[Tensor] = self.net(x)
        return found


class RandomFeatures(nn.Module):
    """Strided convolutions with random weights: features for data of any shape, without a file of weights.

    Random features distinguish edges and textures, but not semantic content.

    Args:
        shape: shape of one example; vectors and sequences are treated as images of one row.
        channels: channels after the first level; each further level doubles them.
        levels: number of feature maps.
        seed: seed of the weights.

    Example:
        >>> [tuple(f.shape) for f in RandomFeatures((1, 28, 28), channels=4)(torch.zeros(2, 1, 28, 28))]
        [(2, 4, 28, 28), (2, 8, 14, 14), (2, 16, 7, 7)]
    """

    def __init__(self, shape: tuple[int, ...], channels: int = 16, levels: int = 3, seed: int = 0) -> None:
        super().__init__()
        self.shape = tuple(shape)
        before, draw = as_image(shape)[0], torch.Generator().manual_seed(whole("seed", seed, low=0))
        self.levels = nn.ModuleList()
        for level in range(whole("levels", levels)):
            width = whole("channels", channels) * 2**level
            layer = nn.Conv2d(before, width, 3, stride=1 + (level > 0), padding=1)
            with torch.no_grad():
                fan = layer.weight[0].numel()
                layer.weight.normal_(0, (2 / fan) ** 0.5, generator=draw)
                assert layer.bias is not None
                layer.bias.uniform_(-0.1, 0.1, generator=draw)
            self.levels.append(layer)
            before = width

    def forward(self, x: Tensor) -> list[Tensor]:
        """The rectified output of each level."""
        h, found = to_image(x, self.shape), []
        for layer in self.levels:
            h = F.relu(layer(h))
            found.append(h)
        return found


class _Pictures(nn.Module):
    """A net trained on colour images with pixels from 0 to 1; grey images are repeated to three channels."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise refuse(
                "perceptual", tuple(shape), "a net for data of this shape", "Use ``random``, or ``none``."
            )
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(_DEVIATION)[:, None, None])

    mean: Tensor
    deviation: Tensor

    def scaled(self, x: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) -> standardised images (B, 3, H, W)."""
        return (x.expand(-1, 3, -1, -1) - self.mean) / self.deviation


class VGGFeatures(_Pictures):
    """The feature maps of a VGG net at the end of each block, before its pooling.

    Args:
        shape: shape of one example, (1 or 3, H, W), pixels from 0 to 1.
        weights: a file of tensors named ``features.N.weight`` and ``features.N.bias``, as torchvision names
            them, of a VGG without batch normalisation.

    Reference:
        Simonyan and Zisserman, Very Deep Convolutional Networks, 2014. arXiv:1409.1556
    """

    def __init__(self, shape: tuple[int, ...], weights: str) -> None:
        super().__init__(shape)
        kept = read_weights(weights)
        numbers = sorted(int(m[1]) for k in kept if (m := re.fullmatch(r"features\.(\d+)\.weight", k)))
        if not numbers:
            raise refuse("weights", weights, "a file with tensors ``features.0.weight`` ... of a VGG net")
        self.convolutions = nn.ModuleList()
        self.ends: list[int] = []  # indices of the last convolutions of the blocks
        for i, number in enumerate(numbers):
            self.convolutions.append(_convolution(kept, f"features.{number}", 1, weights))
            if i + 1 == len(numbers) or numbers[i + 1] - number == 3:  # between them: a ReLU and a pooling
                self.ends.append(i)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The map at the end of each block, as long as the image can be halved."""
        h, found = self.scaled(x), []
        for i, layer in enumerate(self.convolutions):
            h = F.relu(layer(h))
            if i in self.ends:
                found.append(h)
                if min(h.shape[-2:]) < 2:
                    break
                h = F.max_pool2d(h, 2)
        return found


class ResNetFeatures(_Pictures):
    """The feature maps of a small residual net after its stages of 16, 32 and 64 channels.

    Args:
        shape: shape of one example, (1 or 3, H, W), pixels from 0 to 1.
        weights: a file of tensors named ``conv1.weight``, ``bn1.*`` and ``layerS.B.conv1.weight`` ..., whose
            shortcuts have no weights (option A of the paper).

    Reference:
        He et al., Deep Residual Learning for Image Recognition, 2016, section 4.2. arXiv:1512.03385
    """

    def __init__(self, shape: tuple[int, ...], weights: str) -> None:
        super().__init__(shape)
        kept = read_weights(weights)
        if not {"conv1.weight", "layer1.0.conv1.weight"} <= kept.keys():
            raise refuse(
                "weights", weights, "a file with tensors ``conv1.weight``, ``layer1.0.conv1.weight`` ..."
            )
        self.stem = _normed(kept, "conv1", "bn1", 1, weights)
        self.stages = nn.ModuleList()
        for stage in range(1, 4):
            blocks: list[nn.Module] = []
            while f"layer{stage}.{len(blocks)}.conv1.weight" in kept:
                at = f"layer{stage}.{len(blocks)}."
                stride = 2 if stage > 1 and not blocks else 1
                first = _normed(kept, at + "conv1", at + "bn1", stride, weights)
                blocks.append(_Block(first, _normed(kept, at + "conv2", at + "bn2", 1, weights)))
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The map after each stage."""
        h, found = F.relu(self.stem(self.scaled(x))), []
        for stage in self.stages:
            h = stage(h)
            found.append(h)
        return found


class _Block(nn.Module):
    """Two convolutions and a shortcut, which subsamples pixels and pads channels where the size changes."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, h: Tensor) -> Tensor:
        inner: Tensor = self.second(F.relu(self.first(h)))
        if inner.shape != h.shape:
            more = (inner.shape[1] - h.shape[1]) // 2
            h = F.pad(h[..., ::2, ::2], (0, 0, 0, 0, more, more))
        return F.relu(h + inner)


def read_weights(path: str) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` or ``.npz`` file, read without pickle.

    Raises:
        RequestError: the file does not exist, is damaged, or is of another format.
    """
    file = Path(path)
    if not path or not file.is_file() or file.suffix not in (".npz", ".safetensors"):
        raise refuse(
            "weights", path, "a file .safetensors or .npz on this machine", "Use ``random`` without one."
        )
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
        return read_tensors(file)
    except Exception as error:  # damaged files raise various exceptions
        reason = str(error).split("\n")[0]
        raise RequestError(f"``weights`` {path} cannot be read: {reason}.") from error


def _convolution(kept: Mapping[str, Tensor], name: str, stride: int, path: str) -> nn.Conv2d:
    weight, bias = kept.get(f"{name}.weight"), kept.get(f"{name}.bias")
    if weight is None or weight.ndim != 4:
        raise refuse("weights", path, f"a file with a convolution `{name}.weight`")
    out, before, height, _ = weight.shape
    layer = nn.Conv2d(before, out, height, stride, height // 2, bias=bias is not None)
    layer.weight.data.copy_(weight)
    if bias is not None and layer.bias is not None:
        layer.bias.data.copy_(bias)
    return layer


def _normed(kept: Mapping[str, Tensor], conv: str, norm: str, stride: int, path: str) -> nn.Sequential:
    """A convolution followed by batch normalisation with fixed statistics."""
    layer = _convolution(kept, conv, stride, path)
    after = nn.BatchNorm2d(layer.out_channels)
    for name, tensor in after.state_dict().items():
        if name == "num_batches_tracked":
            continue
        found = kept.get(f"{norm}.{name}")
        if found is None or found.shape != tensor.shape:
            raise refuse("weights", path, f"a file with `{norm}.{name}` of {tuple(tensor.shape)}")
        tensor.copy_(found)
    return nn.Sequential(layer, after)
