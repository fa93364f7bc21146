"""`check_method` against methods that are broken on purpose: each lacks one property, and that one is named."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from narrows import core
from narrows.core import Autoencoder, Bottleneck, Code, Likelihood, Loss, Objective, Player, Spec, as_spec
from narrows.core.check import RequestError
from narrows.testing import PROPERTIES, MethodError, check_method


class Plain(nn.Module):
    """A linear map that accepts what both sides are told."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.map = nn.Linear(inputs, outputs)

    def forward(self, x, condition=()):
        return self.map(x)


class Pass(Bottleneck):
    """Lets everything through."""

    def forward(self, h, samples=()):
        return Code(h, {"size": h.square().sum(-1)})


class Error(Likelihood):
    """Squared error."""

    def nll(self, parameters, x, weight=None):
        return self.sum((parameters - x).square(), weight)

    def mean(self, parameters):
        return parameters


def assemble(
    spec, encoder=None, bottleneck=None, decoder=None, objective=None, likelihood=None, cls=Autoencoder
):
    spec = as_spec(spec, "array", "table")
    width, out = spec.shape[0], spec.output_shape[0]
    return cls(
        encoder or Plain(width, 4),
        bottleneck or Pass(),
        decoder or Plain(4, out),
        (likelihood or Error)(spec.output_shape),
        objective or Objective(weights={"size": 0.01}),
    )


def sound(spec):
    return assemble(spec)


def test_a_sound_method_passes():
    for spec in ((12,), TABLE):
        assert check_method(sound, spec) == [p.__name__ for p in PROPERTIES]


def test_it_tries_every_spec_that_is_not_refused():
    tried = []

    def vectors_only(spec):
        if len(spec.shape) > 1:
            raise RequestError("Vectors only.")
        tried.append(spec)
        return assemble(spec)

    check_method(vectors_only)
    assert {spec.target for spec in tried} == {None, (10,)}


def test_a_method_that_refuses_everything_is_caught():
    def never(spec):
        raise RequestError("No.")

    with pytest.raises(MethodError, match="refuses every spec"):
        check_method(never)


class Counting(Pass):
    """Counts its calls in a buffer, inside forward."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, h, samples=()):
        self.calls += 1
        return super().forward(h, samples)


class CountingInPython(Pass):
    calls = 0

    def forward(self, h, samples=()):
        self.calls += 1
        return super().forward(h, samples)


class Noisy(Pass):
    """Random in `eval()` too."""

    def forward(self, h, samples=()):
        return Code(h + 0.1 * torch.randn_like(h))


class Forgetful(Pass):
    """A random map that the state dict does not know."""

    def __init__(self):
        super().__init__()
        self.map = torch.randn(4, 4)

    def forward(self, h, samples=()):
        return Code(h @ self.map.to(h.dtype))


class Crowd(Pass):
    """Normalises over the batch, in `eval()` too."""

    def forward(self, h, samples=()):
        return Code(h - h.mean(0))


class Pairs(Pass):
    """Cannot train on one example: batch normalisation refuses a batch of one."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4, affine=False, track_running_stats=False)

    def forward(self, h, samples=()):
        return Code(self.norm(h) if self.training else h)


class Detached(Pass):
    """No gradient reaches the encoder."""

    def forward(self, h, samples=()):
        return Code(h.detach())


class Rounded(Pass):
    """A straight-through gradient that does not say so."""

    def forward(self, h, samples=()):
        return Code(h + (h.round() - h).detach())


class Flat(Pass):
    """Breaks on constant data."""

    def forward(self, h, samples=()):
        return Code(h, {"spread": (h / h.norm()).sum(-1) * 0 + (1 / (h - self.offset(h)).norm())})

    def offset(self, h):
        return h[:1]


class Wide(Pass):
    """A cost that is not one number an example."""

    def forward(self, h, samples=()):
        return Code(h, {"size": h.square()})


class Orphan(Pass):
    """A parameter that no loss uses."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Parameter(torch.ones(3))


class Rising(Objective):
    """Its gradient leads uphill."""

    smooth = False

    def forward(self, model, batch, step=0):
        loss = super().forward(model, batch, step)
        return replace(loss, total=2 * loss.total.detach() - loss.total)


class Hiding(Pass):
    """Keeps a layer where nobody finds it."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept


class Critic(Objective):
    """Two players that share the encoder's weights."""

    def players(self, model):
        return [
            *super().players(model),
            Player("critic", list(model.encoder.parameters()), self.rival(model)),
        ]

    def rival(self, model):
        return lambda batch, step, passed=None: self(model, batch, step)


class Meddler(Objective):
    """A second player whose update hook moves the decoder."""

    def __init__(self):
        super().__init__()
        self.critic = nn.Linear(4, 1)
        self.decoder: list[nn.Module] = []

    def players(self, model):
        self.decoder = [model.decoder]

        def loss(batch, step, passed=None):
            total = (self.critic(model.encode(batch).z).mean() - 1).square()
            return Loss(total, {"critic": total.detach()})

        return [*super().players(model), Player("critic", list(self.critic.parameters()), loss)]

    @torch.no_grad()
    def before_update(self):
        self.decoder[0].map.weight.mul_(0.99)


class EverythingSeen(Autoencoder):
    """Reads what is missing."""

    def forward(self, batch, samples=()):
        features = self.encoder(batch.x, batch.condition)
        code = self.bottleneck(features, samples)
        return core.Pass(batch, code, self.decode(code.z), features)


class EverythingCounts(Error):
    """Counts what is missing."""

    def nll(self, parameters, x, weight=None):
        return super().nll(parameters, x)


TABLE = Spec((12,), kind="table")


def swallow(spec, **options):
    return assemble(spec)


BROKEN = {
    "unknown_options": [swallow],
    "shapes": [
        lambda spec: assemble(spec, bottleneck=Wide()),
        lambda spec: assemble(spec, decoder=Plain(4, 5)),
    ],
    "finite": [lambda spec: assemble(spec, bottleneck=Flat())],
    "registered": [
        lambda spec: assemble(spec, bottleneck=Hiding((nn.Linear(4, 4),))),
        lambda spec: assemble(spec, bottleneck=Hiding({"scales": [nn.Parameter(torch.ones(4))]})),
    ],
    "gradients": [
        lambda spec: assemble(spec, bottleneck=Detached()),
        lambda spec: assemble(spec, bottleneck=Orphan()),
        lambda spec: assemble(spec, objective=Critic()),
    ],
    "purity": [
        lambda spec: assemble(spec, bottleneck=Counting()),
        lambda spec: assemble(spec, bottleneck=CountingInPython()),
    ],
    "rivals": [lambda spec: assemble(spec, objective=Meddler())],
    "save_and_load": [lambda spec: assemble(spec, bottleneck=Forgetful())],
    "eval_is_deterministic": [lambda spec: assemble(spec, bottleneck=Noisy())],
    "batch_sizes": [
        lambda spec: assemble(spec, bottleneck=Crowd()),
        lambda spec: assemble(spec, bottleneck=Pairs()),
    ],
    "exact_gradients": [lambda spec: assemble(spec, bottleneck=Rounded())],
    "missing_values_are_not_read": [lambda spec: assemble(spec, cls=EverythingSeen)],
    "a_hole_equals_removal": [lambda spec: assemble(spec, likelihood=EverythingCounts)],
    "training_lowers_the_loss": [lambda spec: assemble(spec, objective=Rising())],
}


def test_every_property_has_a_broken_method():
    assert set(BROKEN) == {p.__name__ for p in PROPERTIES}


@pytest.mark.parametrize(
    ("name", "number"), [(n, i) for n, several in BROKEN.items() for i in range(len(several))]
)
def test_a_broken_method_is_caught_by_name(name, number):
    with pytest.raises(MethodError, match=name):
        check_method(BROKEN[name][number], TABLE if "hole" in name or "missing" in name else (12,))


def test_an_estimated_gradient_may_say_so():
    class Honest(Rounded):
        smooth = False

    assert check_method(lambda spec: assemble(spec, bottleneck=Honest()), (12,))


def test_a_scaled_gradient_is_not_exact():
    class Doubled(Pass):
        def forward(self, h, samples=()):
            return Code(h + h - h.detach())

    with pytest.raises(MethodError, match=r"exact_gradients.*says"):
        check_method(lambda spec: assemble(spec, bottleneck=Doubled()), (12,))
