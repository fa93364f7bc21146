"""`check_prior` on every prior of the library, and against priors that are broken on purpose."""

import inspect

import pytest
import torch
from torch.nn import functional as F

from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Prior, Symbols, TokenLayout
from narrows.core.check import RequestError
from narrows.priors import PRIORS
from narrows.priors.autoregressive import Autoregressive
from narrows.priors.rq_transformer import RQTransformer
from narrows.testing import PRIOR_PROPERTIES, MethodError, check_prior

SMALL = {"width": 8, "depth": 1, "heads": 2, "components": 3, "centroids": 20}
"""Small sizes for the priors that have these options."""

LARGER = {"enat": {"width": 32, "encoder_depth": 1}}
"""Sizes for a prior that learns too little of labels in the few steps of these checks."""

SAMPLING = {
    "riemannian": {"steps": 4, "leapfrog": 2},
    "flow-matching": {"steps": 10},
    "diffusion": {"steps": 10},
}
"""Cheaper draws."""

SEVERAL_GRIDS = {"next-scale": Symbols((5,), 3, TokenLayout(((1, 1), (2, 2))))}
"""Symbols for priors that read none of the default ones."""


class Tokenizer:
    """A model whose bottleneck has a codebook of three codes."""

    def __init__(self):
        self.bottleneck = VectorQuantizer(1, codes=3, tokens=4)


ALWAYS = {check.__name__ for check in PRIOR_PROPERTIES} - {
    "total_probability",
    "draws_follow_the_likelihood",
    "guidance",
}


def small(name):
    known = inspect.signature(PRIORS.constructor(name)).parameters
    return {**{option: value for option, value in SMALL.items() if option in known}, **LARGER.get(name, {})}


@pytest.mark.parametrize("name", list(PRIORS.parts))
def test_every_prior_has_the_properties(name):
    if name == "flow":
        pytest.importorskip("zuko")
    constructor, symbols = PRIORS.constructor(name), SEVERAL_GRIDS.get(name)
    sampling, model = SAMPLING.get(name, {}), Tokenizer() if name == "ctf" else None
    held = set(check_prior(constructor, symbols, model=model, sampling=sampling, **small(name)))
    assert held >= ALWAYS
    assert ("total_probability" in held) == constructor.has_nll.fget(object.__new__(constructor))
    exact = "total_probability" in held and constructor.exact
    assert ("draws_follow_the_likelihood" in held) == exact
    assert ("guidance" in held) == ("guidance" in inspect.signature(constructor.sample).parameters)


class Good(Prior):
    """Independent indices with learned probabilities."""

    reads = ("indices",)

    def __init__(self, symbols, *, scale: float = 1.0):
        super().__init__()
        self.symbols, self.scale = symbols, scale
        self.logits = torch.nn.Parameter(torch.randn(*symbols.shape, symbols.codes))

    def nll(self, symbols, condition=()):
        return F.cross_entropy(
            (self.scale * self.logits).expand(len(symbols), -1, -1).transpose(1, 2), symbols, reduction="none"
        ).sum(1)

    @torch.no_grad()
    def sample(self, n, condition=(), *, temperature: float = 1.0):
        if temperature <= 0:
            raise RequestError("temperature must be above 0")
        shares = (self.scale * self.logits / temperature).softmax(-1)
        return torch.multinomial(shares, n, replacement=True).T


class Swallows(Good):
    def __init__(self, symbols, **options):
        super().__init__(symbols)


class OneTooHigh(Good):
    def sample(self, n, condition=(), *, temperature: float = 1.0):
        return super().sample(n, condition, temperature=temperature) + 1


class Spare(Good):
    def __init__(self, symbols):
        super().__init__(symbols)
        self.spare = torch.nn.Parameter(torch.ones(3))


class NotNormalised(Good):
    def nll(self, symbols, condition=()):
        return 0.9 * super().nll(symbols, condition)


class SamplesShifted(Good):
    """A cache that is one place behind."""

    def sample(self, n, condition=(), *, temperature: float = 1.0):
        return super().sample(n, condition, temperature=temperature).roll(1, 1)


class AnyTemperature(Good):
    @torch.no_grad()
    def sample(self, n, condition=(), *, temperature: float = 1.0):
        return torch.multinomial((self.scale * self.logits).softmax(-1), n, replacement=True).T


class ReadsLabels(Good):
    def sample(self, n, condition=(), *, temperature: float = 1.0):
        drawn = super().sample(n, condition, temperature=temperature)
        return 0 * drawn if "labels" in condition else drawn


class Forgetful(Good):
    def __init__(self, symbols):
        super().__init__(symbols)
        self.scale = 1 + torch.rand(1)


class Counts(Good):
    def __init__(self, symbols):
        super().__init__(symbols)
        self.register_buffer("calls", torch.zeros(()))

    def nll(self, symbols, condition=()):
        self.calls += 1
        return super().nll(symbols, condition)


class OtherScale(Autoregressive):
    """Guidance from 0: another convention than the house's."""

    def asked(self, condition, n, guidance, device):
        if guidance == 1 or not self.classes:
            return super().asked(condition, n, guidance, device)
        return super().asked(condition, n, 1.0, device).repeat(2, 1)


BROKEN = {
    "unknown_options": Swallows,
    "symbols": OneTooHigh,
    "gradients": Spare,
    "total_probability": NotNormalised,
    "draws_follow_the_likelihood": SamplesShifted,
    "guidance": OtherScale,
    "sampling_options_are_checked": AnyTemperature,
    "labels": ReadsLabels,
    "save_and_load": Forgetful,
    "purity": Counts,
}


def test_a_sound_prior_of_ones_own_passes():
    assert set(check_prior(Good)) == ALWAYS | {"total_probability", "draws_follow_the_likelihood"}
    assert check_prior(Good, Symbols((30,), codes=7), scale=0.5) == [
        check.__name__ for check in PRIOR_PROPERTIES if check.__name__ in ALWAYS
    ]


@pytest.mark.parametrize("lacks", [check.__name__ for check in PRIOR_PROPERTIES])
def test_a_broken_prior_is_caught_by_the_name_of_what_it_lacks(lacks):
    options = SMALL if lacks == "guidance" else {}
    with pytest.raises(MethodError, match=lacks):
        check_prior(BROKEN[lacks], **{n: v for n, v in options.items() if n in ("width", "depth", "heads")})


def test_symbols_that_no_prior_reads_are_refused():
    with pytest.raises(RequestError, match="rq-transformer"):
        check_prior(RQTransformer, Symbols((4,), codes=3))

    def never(symbols):
        raise RequestError("No.")

    with pytest.raises(MethodError, match="reads none"):
        check_prior(never)
