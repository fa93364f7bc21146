"""The trimmed mean of the losses of a batch."""

import numpy as np
import pytest
import torch

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.regularised.ae import ae
from narrows.methods.variational.vae import vae
from narrows.objectives.trimmed import Trimmed


def test_it_is_the_mean_of_the_smallest_losses():
    losses = torch.randn(3, 11, generator=torch.Generator().manual_seed(0))
    for share in (0.05, 0.1, 0.3):
        kept = 11 - int(share * 11)
        direct = np.mean([np.sort(row)[:kept].mean() for row in losses.numpy()])
        assert float(Trimmed(share).trimmed(losses)) == pytest.approx(direct, rel=1e-5)


def test_left_out_rows_have_no_gradient():
    model = ae((3,), latent=1, penalty="trim:share=0.25", net="mlp:4")
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    x[:2] *= 100
    x.requires_grad_()
    model.objective(model, Batch(x, target=x.detach())).total.backward()
    assert (x.grad[:2] == 0).all()
    assert (x.grad[2:].abs().sum(1) > 0).all()


def test_terms_are_those_of_all_rows():
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = vae((3,), latent=1, penalty="trim:share=0.25").eval()
    loss = model.objective(model, Batch(x))
    passed = model(Batch(x))
    each = model.likelihood.pass_nll(passed) + passed.code.rate
    assert float(loss.total) == pytest.approx(float(each.sort().values[:6].mean()), rel=1e-5)
    assert float(sum(loss.terms.values())) == pytest.approx(float(each.mean()), rel=1e-5)


def test_bad_requests():
    with pytest.raises(RequestError, match="fraction"):
        Trimmed(1.0)
