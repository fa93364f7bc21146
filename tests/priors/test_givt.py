"""GIVT: exact mixtures, cached sampling, guidance by rejection against closed forms."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.methods.variational.vae import vae
from narrows.priors.givt import GIVT
from narrows.priors.heads.mixture import Gaussians, Mixture, rejected


def tiny(shape=(3, 2), **options):
    torch.manual_seed(0)
    prior = GIVT(Symbols(shape), width=8, depth=2, heads=2, **{"components": 3, **options})
    for p in prior.parameters():
        torch.nn.init.normal_(p, std=0.5)
    prior.shift.normal_()
    prior.scale.uniform_(0.5, 2)
    return prior.double().eval()


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_the_density_of_the_head_is_that_of_torchs_mixtures(covariance):
    torch.manual_seed(0)
    head = Mixture(5, channels=3, components=4, covariance=covariance).double()
    torch.nn.init.normal_(head.out.weight)
    h, x = torch.randn(6, 5, dtype=torch.double), torch.randn(6, 3, dtype=torch.double)
    found = head(h)
    if covariance == "diagonal":
        each = Independent(Normal(found.means, found.scales), 1)
    else:
        each = MultivariateNormal(found.means, scale_tril=found.scales[..., None] * found.lower)
        assert float(each.covariance_matrix[0, 0].tril(-1).abs().max()) > 0.1
    expected = MixtureSameFamily(Categorical(logits=found.log_weights), each).log_prob(x)
    if covariance == "full":  # D U (D U)' is what the class says
        d, u = torch.diag_embed(found.scales), found.lower
        assert torch.allclose(each.covariance_matrix, d @ u @ u.mT @ d)
    assert torch.allclose(found.log_prob(x), expected)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_draws_have_the_moments_of_the_mixture(covariance):
    torch.manual_seed(0)
    head = Mixture(5, channels=2, components=2, covariance=covariance)
    torch.nn.init.normal_(head.out.weight)
    h = torch.randn(1, 5)
    found = head(h)
    x = head.draw(h.expand(20_000, -1)).detach()
    weights, means = found.log_weights[0].exp(), found.means[0]
    lower = torch.eye(2).expand(2, 2, 2) if found.lower is None else found.lower[0]
    factors = found.scales[0][..., None] * lower
    mean = weights @ means
    second = torch.einsum("k,kij->ij", weights, factors @ factors.mT + means[:, :, None] * means[:, None])
    covariance_of_mixture = second - mean[:, None] * mean
    assert torch.allclose(x.mean(0), mean, atol=0.05)
    assert torch.allclose(
        torch.cov(x.T), covariance_of_mixture, atol=0.05 * float(covariance_of_mixture.trace())
    )


def test_the_density_of_codes_integrates_to_one():
    """Two tokens of one number each, on a grid of points."""
    prior = tiny((2, 1), components=2)
    axis = torch.linspace(-20, 20, 161, dtype=torch.double)
    points = torch.cartesian_prod(axis, axis)[..., None]
    with torch.no_grad():
        total = (-prior.nll(points)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1, abs=5e-3)


def test_cached_draws_are_those_of_full_passes():
    """With deviations of almost 0 a draw is the mean of a component: one component, so that it is known."""
    prior = tiny((5, 3), components=1, labels=True, classes=2)
    labels = torch.eye(2, dtype=torch.double)[[0, 1, 1]]
    cached = prior.sample(3, {"labels": labels}, temperature=1e-9)
    x = torch.zeros(3, 5, 3, dtype=torch.double)
    for place in range(5):
        mixtures = prior.head(prior.net(x, labels))
        x[:, place] = mixtures.means[:, place, 0]
    assert torch.allclose(cached, prior.restore(x), atol=1e-5)


def test_a_token_is_read_from_those_before_it_alone():
    prior = tiny()
    x = torch.randn(4, 3, 2, dtype=torch.double)
    for j in range(3):
        changed = x.clone()
        changed[:, j] += 1
        a, b = prior.net(x), prior.net(changed)
        assert torch.equal(a[:, : j + 1], b[:, : j + 1])
        assert j == 2 or not torch.allclose(a[:, j + 1], b[:, j + 1])


def test_guidance_draws_from_the_product_of_powers_of_gaussians():
    """p_c^w p_u^(1-w) of Gaussians has precision w / s_c^2 + (1 - w) / s_u^2, in closed form."""
    torch.manual_seed(0)
    one = torch.zeros(5_000, 1)
    told = Gaussians(one, torch.full((5_000, 1, 2), 0.7), torch.full((5_000, 1, 2), 0.8))
    untold = Gaussians(one, torch.full((5_000, 1, 2), -0.2), torch.full((5_000, 1, 2), 1.1))
    for w in (1.0, 2.0):
        precision = w / 0.8**2 + (1 - w) / 1.1**2
        mean = (w * 0.7 / 0.8**2 + (1 - w) * -0.2 / 1.1**2) / precision
        x = rejected(told, untold, w)
        assert torch.allclose(x.mean(0), torch.tensor(mean), atol=0.05)
        assert torch.allclose(x.std(0), torch.tensor(precision**-0.5), atol=0.05)


def test_training_finds_two_modes_that_one_gaussian_cannot():
    """x_1 = +-2 evenly with deviation .1, x_2 around it: entropy log 2 + 2 (log .1 + (1 + log 2 pi) / 2)."""
    torch.manual_seed(0)

    def codes(n):
        sign = 4.0 * torch.randint(2, (n, 1)) - 2
        first = sign + 0.1 * torch.randn(n, 1)
        return torch.cat([first, first + 0.1 * torch.randn(n, 1)], 1)

    entropy = math.log(2) + 2 * (math.log(0.1) + 0.5 * (1 + math.log(2 * math.pi)))
    found = {}
    for components in (1, 4):
        prior = GIVT(Symbols((2,)), components=components, width=16, depth=1, heads=2)
        prior.prepare(None, Batch(codes(1000)))
        optimizer = torch.optim.Adam(prior.parameters(), lr=2e-2)
        for step in range(120):
            loss = prior.loss(Batch(codes(128)), step).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found[components] = float(prior.nll(codes(4000)).mean())
    assert entropy - 0.05 < found[4] < entropy + 0.6
    assert found[1] > found[4] + 1.0


def test_codes_of_a_grid_are_tokens_and_are_drawn_with_their_deviations():
    torch.manual_seed(0)
    model = vae((1, 8, 8), latent=3, downsample=4, net="conv:width=8").eval()
    batch = Batch(torch.rand(6, 1, 8, 8))
    symbols = model.symbols_of(batch)
    assert (symbols.kind, symbols.shape) == ("tokens", (4, 3))
    code = model.encode(batch)
    assert code.z.shape == (6, 12)
    assert torch.equal(model.bottleneck.from_symbols(model.bottleneck.to_symbols(code)).z, code.z)
    features = model.encoder(batch.x)
    mean, log_variance = features.chunk(2, -1)
    assert torch.equal(model.bottleneck.to_symbols(code), mean)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum((1, 2))
    assert torch.allclose(code.costs["kl"], kl, rtol=1e-5)
    prior = GIVT(symbols, width=8, depth=1, heads=2)
    seen = prior.view(model, batch)
    assert torch.equal(seen.x, mean)
    assert torch.allclose(seen.condition["deviation"], (0.5 * log_variance).exp())
    prior.prepare(model, seen)
    assert torch.equal(prior.shift, prior.shift[:3].repeat(4))
    model.set_prior(prior)
    assert model.sample(2).shape == (2, 1, 8, 8)


def test_bad_arguments_are_refused():
    with pytest.raises(RequestError, match="givt"):
        GIVT(Symbols((9,), codes=4))
    with pytest.raises(RequestError, match="covariance"):
        GIVT(Symbols((9, 4)), covariance="round")
    with pytest.raises(RequestError, match="temperature"):
        tiny().sample(2, temperature=0.0)
    with pytest.raises(RequestError, match="guidance"):
        tiny().sample(2, guidance=2.0)
