"""Networks: perceptrons, convolutions, residual nets, transformers, without knowledge of bottlenecks.

`NETS` is the table of the argument ``net="mlp:256,128"``; importing it imports no network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.spelling import Table

if TYPE_CHECKING:
    from torch import nn

    from narrows.nets.kinds import Net
    from narrows.nets.sequence import RNN

__all__ = ["CRITICS", "FEATURES", "NETS", "RNNS", "TEACHERS"]

NETS: Table[Net] = Table(
    "net",
    "narrows.nets.kinds:Net",
    {
        "linear": "narrows.nets.kinds:Linear",
        "mlp": "narrows.nets.kinds:Perceptron",
        "skip": "narrows.nets.kinds:Skip",
        "conv": "narrows.nets.kinds:Convolutional",
        "resnet": "narrows.nets.kinds:Residual",
        "vit": "narrows.nets.kinds:Transformer",
    },
    words={"auto": "chosen by the shape of the data"},
)
"""The networks that a text can name."""

CRITICS: Table[nn.Module] = Table(
    "critic", "torch.nn:Module", {"patch": "narrows.nets.critic:critic"}, supplied=("shape",)
)
"""The critics that a text can name."""

FEATURES: Table[nn.Module] = Table(
    "perceptual",
    "torch.nn:Module",
    {
        "random": "narrows.nets.features:RandomFeatures",
        "resnet": "narrows.nets.features:ResNetFeatures",
        "vgg": "narrows.nets.features:VGGFeatures",
    },
    words={"none": "no perceptual distance"},
    supplied=("shape",),
)
"""The feature nets that a text can name."""

TEACHERS: Table[nn.Module] = Table(
    "align", "torch.nn:Module", FEATURES.parts, words={"none": "no alignment"}, supplied=("shape",)
)
"""The same nets, as those that hidden states are aligned with."""

RNNS: Table[RNN] = Table(
    "rnn",
    "narrows.nets.sequence:RNN",
    {"gru": "narrows.nets.sequence:gru", "lstm": "narrows.nets.sequence:lstm"},
)
"""The recurrent nets that a text can name."""
