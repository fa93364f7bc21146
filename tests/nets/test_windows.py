"""Times of the steps of windows, in encoders and decoders."""

import math

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.methods.index import builder
from narrows.methods.structured.timevae import timevae
from narrows.nets.windows import Waves, WindowDecoder
from narrows.testing.made import Made
from narrows.train import optimise

T, RATE = 12, 0.6
SPEC = Spec((T, 1), kind="series", conditions={"times": (T,)})


def waves(n, seed, equal=False):
    """Sines of one frequency with two random amplitudes, at steps with exponential gaps, and noise."""
    draw = torch.Generator().manual_seed(seed)
    gap = torch.ones(n, T) if equal else torch.empty(n, T).exponential_(generator=draw)
    times = gap.cumsum(1) - gap[:, :1]
    a, b = torch.randn(2, n, 1, generator=draw)
    x = a * torch.sin(RATE * times) + b * torch.cos(RATE * times) + 0.1 * torch.randn(n, T, generator=draw)
    x = x.unsqueeze(-1)
    told = {"mask": torch.ones(n, T, dtype=torch.bool), "times": 3600 * times}
    return Made(Batch(x, None, told, torch.ones_like(x)))


def trained(model, data, steps=300):
    optimise(model, data, steps=steps, batch_size=64, seed=0, lr=3e-3)
    return model.eval()


def errors(model, data):
    batch = data.all()
    with torch.no_grad():
        return (model.reconstruct(batch) - batch.x).square().mean((1, 2))


def test_a_decoder_that_knows_the_times_reconstructs_what_another_cannot():
    train, test = waves(1000, 0), waves(500, 99)
    found = []
    for knows in (True, False):
        torch.manual_seed(0)
        model = builder("vae")(SPEC, latent=4)
        if not knows:
            model.decoder = model.decoder.net
        found.append(errors(trained(model, train), test))
    told, not_told = found
    apart = not_told - told
    assert apart.mean() > 0.05 + 5 * apart.std() / math.sqrt(len(apart))


class InOrder(torch.nn.Module):
    """Values, mask and gaps of complete windows of equal steps."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, condition):
        gap = torch.full_like(x, 2.0).log()
        gap[:, 0] = 0
        return self.net(torch.cat([x, torch.ones_like(x), gap], -1))


def test_equal_steps_train_the_same_weights_bit_for_bit():
    data, states = waves(100, 0, equal=True), []
    for plain in (False, True):
        torch.manual_seed(0)
        model = builder("vae")(SPEC, latent=2)
        nets = model.encoder.net, model.decoder.net
        if plain:
            model.encoder, model.decoder = InOrder(nets[0]), nets[1]
        trained(model, data, steps=5)
        states.append([net.state_dict() for net in nets])
    for one, other in zip(*states, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_matrix_exists_that_reads_a_curve_at_any_time():
    """With cosines fitted to equal steps, what is decoded is the curve at the times: here a cosine, of equal steps."""
    decoder = WindowDecoder(torch.nn.Identity(), T)
    decoder.net.forward = lambda z, told: z
    at, gap = torch.arange(T).double(), torch.rand(3, T, generator=torch.Generator().manual_seed(0)).double()
    places = gap.cumsum(1) - gap[:, :1]
    basis = torch.cos(at[:, None] * math.pi * torch.arange(1, 2 * T + 1) / (2 * T))
    decoder.mixing.data = torch.linalg.pinv(basis[:, :T]).new_zeros(2 * T, T)
    decoder.mixing.data[:T] = torch.linalg.pinv(basis[:, :T])
    curve = lambda t: torch.cos(math.pi * 5 * t / (2 * T)).unsqueeze(-1)  # noqa: E731
    found = decoder.double()(curve(at).expand(3, T, 1), {"times": places})
    assert torch.allclose(found, curve(places), atol=1e-4)


def test_places_are_in_units_of_the_median_gap_and_equal_steps_are_whole():
    part = Waves(4)
    times = torch.tensor([[0.0, 0.1, 0.2, 0.3], [5.0, 5.1, 5.3, math.nan]])
    mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    part.prepare(None, Batch(torch.zeros(2, 4, 1), None, {"times": times, "mask": mask}))
    places = part.places({"times": times, "mask": mask})
    assert places[0].tolist() == [0, 1, 2, 3]
    assert torch.allclose(places[1, :3], torch.tensor([0.0, 1, 3]), atol=1e-4)
    assert torch.isfinite(part({"times": times, "mask": mask})).all()
    assert not part({"times": times, "mask": mask})[0].any()
    assert part.places({"times": 1e9 * times, "mask": mask}).max() == 8  # far away: at most two windows


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic-mixture"])
def test_all_numbers_of_a_step_move_together(likelihood):
    spec = Spec((T, 2), "unit", kind="series", conditions={"times": (T,)})
    model = builder("vae")(spec, latent=2, likelihood=likelihood)
    torch.nn.init.normal_(model.decoder.mixing)
    batch = waves(5, 1).all()
    z, numbers = torch.randn(3, 5, 2), model.decoder.net(torch.zeros(1, 2)).shape[-2] // T
    found, plain = model.decode(z, batch.condition), model.decode(z)
    assert found.shape == plain.shape == (3, 5, numbers * T, 2)
    moved = model.decoder.waves(batch.condition) @ model.decoder.mixing
    for r in range(numbers):
        part = plain[..., r * T : (r + 1) * T, :]
        assert torch.allclose(found[..., r * T : (r + 1) * T, :], part + moved @ part, atol=1e-4)


def test_a_trend_and_seasons_are_those_of_the_times():
    spec = Spec((8, 1), kind="series", conditions={"times": (8,)})
    model = timevae(spec, latent=2, trend=1, seasons="2", residual=False)
    z = torch.randn(2, 2)
    times = torch.tensor([[0.0, 1, 2, 5, 6, 7, 7.5, 8], [0.0, 1, 2, 3, 4, 5, 6, 7]])
    parts, equal = model.decoder.parts(z, {"times": times}), model.decoder.parts(z)
    slope = equal["trend"][:, 1] - equal["trend"][:, 0]
    assert torch.allclose(
        parts["trend"], equal["trend"][:, :1] + slope[:, None] * times[..., None], atol=1e-5
    )
    nearest = torch.tensor([0, 1, 2, 5, 6, 7, 8, 8]) % 2
    assert torch.equal(parts["season-2x1"][0], equal["season-2x1"][0, :2][nearest])
    assert torch.equal(model.decode(z, {"times": times})[1], model.decode(z)[1])
