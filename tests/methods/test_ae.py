"""A linear autoencoder is PCA; a deep one minimises the likelihood of its own reconstruction."""

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.regularised.ae import ae


def minimise(model, batch, rounds=40):
    """Full-batch L-BFGS: to the optimum, not near it."""
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        total = model.loss(batch).total
        total.backward()
        return total

    for _ in range(rounds):
        optimiser.step(closure)
    return closure().item()


@pytest.mark.parametrize("latent", [1, 3])
def test_a_linear_autoencoder_reaches_the_error_of_pca(latent):
    torch.manual_seed(0)
    x = torch.randn(200, 8, dtype=torch.float64) @ torch.randn(8, 8, dtype=torch.float64) + 3
    model = ae((8,), latent=latent, net="linear", likelihood="squared").double()
    singular = torch.linalg.svdvals(x - x.mean(0))
    pca = singular[latent:].square().sum().item() / len(x)
    assert minimise(model, Batch(x)) == pytest.approx(pca, rel=1e-6)
    again = (model.reconstruct(Batch(x)) - x).square().sum(-1).mean()
    assert again.item() == pytest.approx(pca, rel=1e-6)


def test_the_loss_is_the_cross_entropy_of_the_reconstruction():
    torch.manual_seed(0)
    model = ae(Spec((2, 5, 5), "unit"), latent=3).double()
    x = torch.rand(4, 2, 5, 5, dtype=torch.float64)
    p = model.reconstruct(Batch(x))
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1).mean()
    torch.testing.assert_close(model.loss(Batch(x)).total, expected)


def test_it_predicts_another_target():
    torch.manual_seed(0)
    x = torch.randn(100, 6, dtype=torch.float64)
    y = x[:, :2] @ torch.randn(2, 4, dtype=torch.float64)
    model = ae(Spec((6,), target=(4,)), latent=2, net="linear", likelihood="squared").double()
    assert minimise(model, Batch(x, y)) < 1e-8


def test_the_code_is_as_wide_as_asked_and_has_no_prior():
    model = ae((6,), latent=2)
    assert model.features(Batch(torch.rand(3, 6))).shape == (3, 2)
    with pytest.raises(RequestError, match="no prior"):
        model.sample(2)
    assert ae((6,)).features(Batch(torch.rand(3, 6))).shape == (3, 3)
    assert ae((1, 8, 8)).features(Batch(torch.rand(3, 1, 8, 8))).shape == (3, 16)
    with pytest.raises(RequestError, match="latent"):
        ae((6,), latent=-1)


def test_a_table_begins_at_principal_components():
    torch.manual_seed(0)
    x = torch.randn(50, 7) @ torch.randn(7, 7) + 3
    model = ae((7,), latent=3)
    model.bottleneck.prepare(model, Batch(x))
    mean = x.double().mean(0)
    axes = torch.linalg.svd(x.double() - mean, full_matrices=False)[2][:3]
    projected = (x.double() - mean) @ axes.T @ axes + mean
    torch.testing.assert_close(model.reconstruct(Batch(x)).double(), projected, rtol=0, atol=1e-4)
    left = (x.double() - projected).square().mean()
    torch.testing.assert_close(model.likelihood.log_variance.exp().double(), left, rtol=1e-4, atol=0)
    few = ae((7,), latent=5)
    few.bottleneck.prepare(few, Batch(x[:3]))  # fewer rows than components
    torch.testing.assert_close(few.reconstruct(Batch(x[:3])), x[:3], rtol=0, atol=1e-4)
