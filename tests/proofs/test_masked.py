"""The proof of the masked autoencoder counts what its networks multiply."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from narrows.core import Batch
from narrows.methods.masked.mae import mae
from narrows.proofs.masked.mae import NETS, multiply_adds


@pytest.mark.parametrize(("ratio", "visible"), [(0.75, 4), (0.0, 16)])
def test_multiply_adds_are_those_of_the_networks(ratio, visible):
    model = mae((1, 28, 28), patch=7, mask_ratio=ratio, **NETS).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model.decode(model.encode(Batch(torch.rand(1, 1, 28, 28))).z)
    assert multiply_adds(16, visible, 49) == counter.get_total_flops() / 2
