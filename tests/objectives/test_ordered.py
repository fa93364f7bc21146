"""The order of tokens: the term against its definition, and what training makes of it."""

import pytest
import torch
from torch.nn import functional as F

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.quantised.qg_vae import qg_vae
from narrows.objectives.ordered import OrderedTokens, coarsened


def test_coarse_images_are_averages_of_blocks():
    x = torch.rand(2, 1, 8, 8)
    small = x.reshape(2, 1, 4, 2, 4, 2).mean((3, 5))
    assert torch.allclose(coarsened(x, 1), F.interpolate(small, (8, 8), mode="bilinear"))
    assert torch.equal(coarsened(x, 0), x)
    flat = torch.full((1, 1, 5, 7), 0.3)
    assert torch.allclose(coarsened(flat, 2), flat)


def test_the_first_half_and_quarter_of_the_tokens_decode_coarse_images():
    torch.manual_seed(0)
    model = qg_vae((1, 8, 8), codes=4, tokens=6, width=4, channels=4, ordered=0.5, likelihood="squared")
    batch = Batch(torch.rand(3, 1, 8, 8))
    passed = model(batch)
    wanted = torch.zeros(3)
    for kept, level in ((3, 1), (2, 2)):
        z = passed.code.z.clone()
        z[:, kept:] = 0
        wanted += (model.decode(z) - coarsened(batch.x, level)).square().sum((1, 2, 3)) / 2
    found = model.objective.terms(model, passed)["ordered"]
    assert torch.allclose(
        found, model.likelihood.nll(torch.zeros(3, 1, 8, 8), torch.ones(3, 1, 8, 8)) / 64 * wanted
    )


def test_vectors_have_no_levels():
    with pytest.raises(RequestError, match="levels"):
        OrderedTokens(1.0, levels=0)
    with pytest.raises(RequestError, match="image"):
        qg_vae((12,))
