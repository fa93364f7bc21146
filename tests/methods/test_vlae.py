"""VLAE: its bound, and what it refuses."""

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.variational.vlae import vlae
from narrows.testing import check_method

BINARY = Spec((1, 5, 6), "binary")


def test_the_bound_is_a_sum_over_pixels_and_a_flow():
    torch.manual_seed(0)
    model = vlae(BINARY, latent=3, window=3, features=4, net="mlp:8").double().train()
    x = (torch.rand(4, 1, 5, 6) > 0.5).double()
    torch.manual_seed(1)
    loss = model.loss(Batch(x))
    q, z = loss.passed.code.q, loss.passed.code.z
    flow = model.bottleneck.learned.flow()
    noise, log_det = flow.transform.call_and_ladj(z)
    log_p = torch.distributions.Normal(0, 1).log_prob(noise).sum(-1) + log_det
    logits = model.likelihood.outputs(model.decoder(z), x)
    chance = torch.where(x > 0.5, logits.sigmoid(), 1 - logits.sigmoid())
    expected = (-chance.log().flatten(1).sum(1) + q.log_prob(z) - log_p).mean()
    torch.testing.assert_close(loss.total, expected)


def test_binary_images_hold_the_matrix():
    check_method(vlae, Spec((1, 4, 4), "binary"), latent=2, features=4, net="mlp:8", free_bits=0.1)


def test_grey_images_have_256_levels():
    assert vlae(Spec((1, 4, 4), "unit"), latent=2).likelihood.levels == 256


def test_real_values_are_refused():
    with pytest.raises(RequestError, match="images with values from 0 to 1"):
        vlae(Spec((1, 4, 4), "real"))
    with pytest.raises(RequestError, match="at least 2 latents for a flow"):
        vlae(BINARY, latent=1)
