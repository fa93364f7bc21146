"""HI-VAE against sums over clusters and integration over codes."""

import math

import pytest
import torch

from narrows.audit.evidence.likelihood import importance_nll
from narrows.bottlenecks.gaussian.clusters import GaussianClusters
from narrows.core import Batch, Spec
from narrows.likelihoods.columns.density import LogNormalDensity, NormalDensity
from narrows.methods.tabular.hi_vae import hi_vae
from narrows.nets.columns import ColumnDecoder

SPEC = Spec(
    (3,),
    kind="table",
    parts={"a": Spec(()), "b": Spec((), "ordinal", 3), "c": Spec((), "categories", 2)},
)
X = torch.tensor([[0.4, 2.0, torch.nan], [torch.nan, 0.0, 1.0]])
SEEN = ~X.isnan()
BATCH = Batch(X, None, {"observed": SEEN}, SEEN.float())


def small():
    torch.manual_seed(0)
    model = hi_vae(SPEC, latent=1, clusters=2, net="linear").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
        model.bottleneck.shift[:, 1] += 2  # a wide posterior, so that the weights have a finite variance
    return model


def test_the_importance_bound_is_the_sum_over_clusters_of_integrals_over_codes():
    model = small()
    z = torch.linspace(-8, 8, 2001)
    total = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for cluster in range(2):
            c = torch.zeros(len(z), 2)
            c[:, cluster] = 1
            mean = model.bottleneck.centres[cluster]
            prior = torch.exp(-((z - mean) ** 2) / 2) / math.sqrt(2 * math.pi)
            parameters = model.decode(torch.cat([z[:, None], c], 1))[:, None].expand(-1, 2, -1)
            terms = model.likelihood.elements_nll(parameters, torch.where(SEEN, X, 0))
            p = (-(terms * SEEN).sum(-1)).exp()
            total += 0.5 * (prior[:, None] * p).double().sum(0) * (16 / 2000)
    nll = importance_nll(model, BATCH, samples=20_000, chunk=20_000)
    assert torch.allclose(nll.double(), -total.log(), atol=0.02)


def test_the_divergence_is_the_mean_of_log_ratios():
    torch.manual_seed(1)
    bottleneck = GaussianClusters(2, 3).eval()
    with torch.no_grad():
        bottleneck.shift.normal_()
        h = torch.randn(4, 7)
        closed, drawn = bottleneck(h).costs, bottleneck(h, samples=(40_000,)).costs
    for name in ("kl/cluster", "kl/code"):
        assert torch.allclose(drawn[name].mean(0), closed[name], rtol=0.03, atol=0.01)


def test_codes_from_the_prior_lie_around_the_centres():
    torch.manual_seed(2)
    bottleneck = GaussianClusters(2, 3)
    with torch.no_grad():
        bottleneck.centres.mul_(5)
        z, c = bottleneck.sample(9000).z.split((2, 3), -1)
    assert torch.allclose(c.mean(0), torch.full((3,), 1 / 3), atol=0.02)
    for cluster in range(3):
        inside = z[c[:, cluster] == 1]
        assert torch.allclose(inside.mean(0), bottleneck.centres[cluster], atol=0.08)
        assert torch.allclose(inside.std(0), torch.ones(2), atol=0.05)


def test_the_temperature_falls_and_is_saved():
    bottleneck = GaussianClusters(2, 3, "linear:1:0.1:10")
    bottleneck.before_step(10)
    assert float(bottleneck.state_dict()["temperature"]) == pytest.approx(0.1)
    code = bottleneck(torch.randn(500, 7)).z[:, 2:]
    assert float(code.max(-1).values.detach().mean()) > 0.9
    bottleneck.before_step(0)
    assert float(bottleneck(torch.randn(500, 7)).z[:, 2:].max(-1).values.detach().mean()) < 0.9


def test_the_parameters_of_a_column_depend_on_its_own_features_only():
    torch.manual_seed(3)
    owner = (0, 2, 1, 2)
    decoder = ColumnDecoder(3, 2, owner, width=4)
    torch.nn.init.normal_(decoder.of_cluster.weight)
    code = torch.randn(5, 5)
    found = decoder(code)
    y = (code[:, :3] @ decoder.shared.weight.T).reshape(5, 3, 4)
    for row in range(5):
        for p, column in enumerate(owner):
            own = sum(float(y[row, column, i] * decoder.own[p, i]) for i in range(4))
            of_cluster = sum(float(code[row, 3 + k] * decoder.of_cluster.weight[p, k]) for k in range(2))
            assert float(found[row, p].detach()) == pytest.approx(own + of_cluster, abs=1e-4)


def test_the_owner_of_each_parameter_is_the_column_it_changes():
    parts = {
        "a": Spec((), "categories", 3),
        "b": Spec(()),
        "c": Spec((), "ordinal", 3),
        "d": Spec((), "counts"),
        "e": Spec((), "positive"),
        "f": Spec(()),
    }
    likelihood = hi_vae(Spec((6,), kind="table", parts=parts), latent=2).likelihood
    x = torch.tensor([[1.0, 0.5, 1.0, 2.0, 3.0, -0.5]])
    parameters = torch.zeros(1, *likelihood.parameter_shape)
    jacobian = torch.autograd.functional.jacobian(lambda p: likelihood.elements_nll(p, x)[0], parameters)[
        :, 0
    ]
    for p, column in enumerate(likelihood.parameter_owner):
        assert set(jacobian[:, p].nonzero().flatten().tolist()) == {column}


@pytest.mark.parametrize(("head", "low"), [(NormalDensity, -30.0), (LogNormalDensity, 0.0)])
def test_densities_have_their_mass_and_mean(head, low):
    one = head([Spec(())])
    parameters = torch.tensor([0.9, -1.2])
    x = torch.linspace(low, 30, 60_001)[:, None]
    p = (-one.nll(parameters, x)).exp().double()
    step = (30 - low) / 60_000
    mass, mean = float(p.sum()) * step, float((x * p).sum()) * step
    if head is LogNormalDensity:  # below 0 there is what the normal distribution of log(1 + x) has there
        deviation = math.sqrt(math.exp(-1.2) + 1e-4)
        assert mass == pytest.approx(0.5 * math.erfc(-0.9 / deviation / math.sqrt(2)), abs=1e-3)
    else:
        assert mass == pytest.approx(1, abs=1e-3)
        assert mean == pytest.approx(float(one.expected(parameters)), abs=1e-3)
    torch.manual_seed(0)
    drawn = one.sample(parameters.expand(50_000, 2))
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.02)
