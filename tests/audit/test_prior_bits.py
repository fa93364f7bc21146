"""Bits a token against sums by hand: of a uniform prior, of the true field, and of a prior that knows too little."""

import math

import numpy as np
import pytest
import torch
from audit_models import Identity, Plain, UnitGaussian

from narrows import data as nd
from narrows.audit import audit
from narrows.audit.checks.prior_bits import lossy_floor
from narrows.core import Autoencoder, Bottleneck, Code, Objective, Prior, Symbols
from narrows.core.evidence import Indices
from narrows.methods.quantised.dq_vae import dq_vae
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.priors import make_prior
from narrows.priors.autoregressive import Autoregressive


class Shades(Bottleneck):
    """Images of shades of grey as indices, and back."""

    def __init__(self, codes, wrong=0.0):
        super().__init__()
        self.codes, self.wrong = codes, wrong

    def forward(self, h, samples=()):
        return self.from_symbols((h[:, 0] * (self.codes - 1)).round().long().flatten(1))

    def to_symbols(self, code):
        return code[Indices].indices

    def from_symbols(self, symbols):
        side = math.isqrt(symbols.shape[1])
        z = (symbols.view(-1, 1, side, side) / (self.codes - 1)).float()
        if self.wrong:
            z[: int(self.wrong * len(z))] = 1 - z[: int(self.wrong * len(z))].round()
        return Code(z, evidence=(Indices(symbols, self.codes),))


class Field(Prior):
    """The true distribution."""

    reads = ("indices",)

    def __init__(self, truth):
        super().__init__()
        self.truth = truth

    def nll(self, symbols, condition=()):
        grids = symbols.view(-1, self.truth.rows, self.truth.columns).numpy()
        return torch.from_numpy(-self.truth.log_likelihood(grids))

    def sample(self, n, condition=()):
        return torch.from_numpy(self.truth.draw(np.random.default_rng(0), n)).flatten(1)


def found(source, prior, wrong=0.0):
    shape = source.spec.shape
    model = Autoencoder(
        Identity(), Shades(source.truth.codes, wrong), Identity(), UnitGaussian(shape), Objective()
    )
    model.set_prior(prior)
    report = audit(model.eval(), source.test, train=source.train, limit=500)
    return {c.name: c for c in report.checks if c.name.startswith("prior/")}, report


@pytest.fixture(scope="module")
def world():
    return nd.open("markov-codes", n=3000, tests=500, rows=4, columns=4, codes=3)


def test_the_true_field_needs_its_entropy(world):
    checks, report = found(world, Field(world.truth))
    bits = checks["prior/bits"]
    assert bits.value == pytest.approx(world.truth.bits, abs=4 * bits.spread)
    assert checks["prior/entropy"].value == pytest.approx(world.truth.bits)
    assert checks["prior/uniform"].value == pytest.approx(math.log2(3))
    assert checks["prior/bits-example"].value == pytest.approx(16 * bits.value)
    tokens = world.truth.tokens(world.train.all().x.numpy())
    frequency = np.stack([(tokens == k).mean(0) for k in range(3)])
    alone = -(frequency * np.log2(frequency)).sum(0).mean()
    assert bits.chance == pytest.approx(alone, abs=0.03)
    assert bits.value < bits.chance < math.log2(3)
    assert bits.verdict == "ok"
    assert not [f for f in report.figures if f.name == "bits-by-position"]


def test_a_prior_that_knows_nothing_is_above_chance_and_told_so(world):
    torch.manual_seed(0)
    checks, report = found(world, Autoregressive(Symbols((16,), 3), width=8, depth=1, heads=2))
    bits = checks["prior/bits"]
    assert bits.value == pytest.approx(math.log2(3), abs=0.1)
    assert bits.verdict == "warn"
    assert "train it" in bits.says
    (chart,) = [f for f in report.figures if f.name == "bits-by-position"]
    assert len(chart.series[0].y) == 16
    assert np.mean(chart.series[0].y) == pytest.approx(bits.value, rel=1e-5)


def test_wrong_tokens_lower_the_floor():
    assert lossy_floor(2.0, 0.5, 2) == pytest.approx(
        1.0
    )  # of a binary token, half of them wrong: 1 bit is lost
    assert lossy_floor(2.0, 0.0, 2) == 2.0
    assert lossy_floor(0.1, 0.5, 4) == 0.0


def test_a_lossy_tokenizer_has_a_lower_floor(world):
    checks, _ = found(world, Field(world.truth), wrong=0.1)
    assert checks["prior/entropy"].value < world.truth.bits - 0.1
    assert "prior/bits" not in found(world, None)[0]


def test_numbers_have_a_density():
    """N(0, 2^2) in two numbers: log2(2 sqrt(2 pi e)) bits each, of a prior that is exact and of its chance level."""

    class Normal(Prior):
        reads = ("vector",)

        def nll(self, symbols, condition=()):
            return -torch.distributions.Normal(0.0, 2.0).log_prob(symbols).sum(1)

        def sample(self, n, condition=()):
            return 2 * torch.randn(n, 2)

    torch.manual_seed(0)
    x = 2 * torch.randn(4000, 2)
    model = Autoencoder(Identity(), Plain(), Identity(), UnitGaussian((2,)), Objective())
    model.set_prior(Normal())
    report = audit(model.eval(), x[:2000], train=x[2000:])
    (bits,) = [c for c in report.checks if c.name == "prior/bits"]
    entropy = math.log2(2 * math.sqrt(2 * math.pi * math.e))
    assert bits.value == pytest.approx(entropy, abs=0.05)
    assert bits.chance == pytest.approx(entropy, abs=0.05)
    assert bits.unit.startswith("bits a number, codes ")


def test_symbols_may_have_more_values_than_the_codebook():
    """Of a dynamic quantizer, whose further symbol stands for no code."""
    torch.manual_seed(0)
    x = torch.rand(300, 1, 8, 8)
    model = dq_vae(
        (1, 8, 8), codes=4, width=4, downsample=2, net="conv:width=8", prior="autoregressive:width=8"
    )
    report = audit(model.eval(), x[:100], train=x[100:])
    checks = {c.name: c for c in report.checks}
    assert checks["prior/uniform"].value == pytest.approx(math.log2(5))
    assert checks["prior/bits"].value > 0


def test_bits_of_other_codes_have_another_unit_so_that_they_are_not_ranked():
    """The unit names the tokenizer: two priors of one have the same, a prior of other weights has not."""
    x = torch.rand(60, 1, 8, 8)

    def unit(seed, prior):
        torch.manual_seed(seed)
        model = vq_vae((1, 8, 8), codes=4, width=4, net="conv:width=8", prior="none").eval()
        model.set_prior(make_prior(prior, model.bottleneck.symbols))
        return {c.name: c.unit for c in audit(model.eval(), x[:30], train=x[30:]).checks}["prior/bits"]

    same = unit(0, "autoregressive:width=8"), unit(0, "maskgit:width=8")
    assert same[0] == same[1]
    assert unit(1, "maskgit:width=8") != same[0]
