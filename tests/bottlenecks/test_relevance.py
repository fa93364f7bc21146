"""Prior variances of held-back codes, and the relevance of latents, against loops and closed forms."""

import pytest
import torch
from torch import nn

from narrows import likelihoods
from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.bottlenecks.priors.ard import Relevance, leading, relevance
from narrows.core import Autoencoder, Batch, Part, Pass, Spec, seeded
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.mlp import MLP
from narrows.objectives.elbo import Elbo
from narrows.train import optimise


def ard_vae(shape: tuple[int, ...], latent: int = 2, share: float = 0.1, net: str = "mlp:8") -> Autoencoder:
    return gaussian_autoencoder(
        Spec(shape),
        Elbo(),
        latent=latent,
        net=net,
        likelihood="gaussian",
        prior=lambda encoder, width: Relevance(encoder, width, share),
    )


class Seen(Part):
    """Collects the examples of every step, and the prior's variances."""

    def __init__(self, prior: Relevance) -> None:
        super().__init__()
        self.rows: list[torch.Tensor] = []
        self.variances: list[torch.Tensor] = []
        object.__setattr__(self, "prior", prior)

    def after_step(self, passed: Pass) -> None:
        self.rows.append(passed.batch.x)
        self.variances.append(self.prior.variance.clone())


def test_variances_are_b_over_a() -> None:
    torch.manual_seed(0)
    encoder = nn.Linear(3, 4).double()
    prior, x = Relevance(encoder, 2).double(), torch.randn(7, 3, dtype=torch.float64)
    with seeded(1):
        prior.refresh(x)
    with seeded(1):
        noise = torch.normal(torch.zeros(7, 2).double(), torch.ones(7, 2).double())
    a, b = 7 / 2, [0.0, 0.0]
    for row, eps in zip(encoder(x), noise, strict=True):
        for j in range(2):
            b[j] += 0.5 * float(row[j] + (0.5 * row[2 + j]).exp() * eps[j]) ** 2
    assert prior().variance.tolist() == pytest.approx([one / a for one in b])


def test_no_step_sees_the_held_back_examples_and_variances_change_each_epoch() -> None:
    data = open_data("linear", n=100, d=6, tests=10).train
    model = ard_vae((6,), latent=3, share=0.2, net="mlp:8")
    seen = Seen(model.bottleneck.learned)
    model.add_module("seen", seen)
    optimise(model, data, steps=21, batch_size=10)
    held = model.bottleneck.learned.held
    assert held.shape == (20, 6)
    trained = torch.cat(seen.rows)
    assert not (trained[:, None] == held).all(-1).any()
    assert len(trained.unique(dim=0)) == 80
    changed = [
        step for step in range(1, 21) if not torch.equal(seen.variances[step], seen.variances[step - 1])
    ]
    assert changed == [8, 16]
    assert not torch.equal(seen.variances[0], torch.ones(3))


def test_relevance_of_a_linear_decoder_is_variance_times_squared_columns() -> None:
    torch.manual_seed(0)
    encoder, decoder = MLP((5,), (6,), ()), MLP((3,), (5,), ())
    prior = Relevance(encoder, 3)
    prior.variance.copy_(torch.tensor([1.0, 4.0, 0.01]))
    model = Autoencoder(encoder, Gaussian(3, prior), decoder, likelihoods.Gaussian((5,), "fixed"), Elbo())
    found = relevance(model, Batch(torch.randn(9, 5)))
    expected = prior.variance * decoder.layers[-1].weight.detach().square().sum(0)
    torch.testing.assert_close(found, expected)
    assert sorted(leading(expected).tolist()) == [0, 1]
    assert leading(torch.tensor([1.0, 1.0, 1.0]), 0.5).tolist() in ([0, 1], [1, 0], [1, 2], [0, 2])


def test_the_divergence_is_that_of_the_variances() -> None:
    model = ard_vae((4,), latent=2).double().eval()
    model.bottleneck.learned.variance.copy_(torch.tensor([0.25, 9.0]))
    x = torch.randn(5, 4, dtype=torch.float64)
    mean, log_variance = model.encoder(x).chunk(2, -1)
    v = torch.tensor([0.25, 9.0]).double()
    expected = 0.5 * ((log_variance.exp() + mean.square()) / v - 1 - log_variance + v.log()).sum(1)
    torch.testing.assert_close(model.encode(Batch(x)).rate, expected)


def test_too_few_held_back_examples_are_refused() -> None:
    data = open_data("linear", n=30, d=6, tests=10).train
    with pytest.raises(RequestError, match="share"):
        optimise(ard_vae((6,), latent=3), data, steps=2)
    for share in (0.0, 1.0, -0.1):
        with pytest.raises(RequestError, match="share"):
            ard_vae((6,), share=share)
