"""Interchange of latents against what masks of hand-built codes must give."""

import pytest
import torch

from narrows.audit.metrics.interchange import (
    LatentSwap,
    Pairs,
    RotatedSwap,
    fit_masks,
    interchange,
    temperature,
)

ATTRIBUTES, VALUES, ENTITIES = 4, 3, 60


class World:
    """Entities whose activation is a one-hot block for each attribute; the answer is the block that is asked for."""

    def __init__(self, tied=False):
        g = torch.Generator().manual_seed(0)
        self.values = torch.randint(VALUES, (ENTITIES, ATTRIBUTES), generator=g)
        if tied:  # the second attribute follows from the first
            self.values[:, 1] = (self.values[:, 0] + 1) % VALUES
        self.entity = torch.arange(ENTITIES).repeat_interleave(ATTRIBUTES)
        self.asked = torch.arange(ATTRIBUTES).repeat(ENTITIES)
        self.x = torch.nn.functional.one_hot(self.values, VALUES).float().flatten(1)[self.entity]

    def logits(self, rows, x):
        """Logits of all values of all attributes; the others are far below those that are asked for."""
        ours = torch.arange(ATTRIBUTES * VALUES) // VALUES == self.asked[rows][:, None]
        return torch.where(ours, 8 * x, -20.0)

    def pairs(self, entities, count=1000, seed=0):
        g = torch.Generator().manual_seed(seed)
        e, s = entities[torch.randint(len(entities), (2, count), generator=g)]
        asked, mask = torch.randint(ATTRIBUTES, (2, count), generator=g)
        own, other = self.values[e, asked], self.values[s, asked]
        cause = asked == mask
        wanted = asked * VALUES + torch.where(cause, other, own)
        found = Pairs(e * ATTRIBUTES + asked, s * ATTRIBUTES + asked, mask, cause, wanted)
        return found[own != other]


def trained(swap, world, steps=60):
    fit_masks(swap, world.pairs(torch.arange(40)), world.logits, steps=steps, batch=256, lr=0.01)
    return interchange(swap, world.pairs(torch.arange(40, 60), seed=1), world.logits)


@pytest.fixture
def world():
    return World()


def test_latents_that_are_attributes_move_one_and_leave_the_others(world):
    swap = LatentSwap(ATTRIBUTES, world.x, world.x, lambda z, rows: z)
    assert trained(swap, world) == (1.0, 1.0)
    blocks = torch.arange(ATTRIBUTES * VALUES) // VALUES
    assert torch.equal(swap.masks > 0, blocks == torch.arange(ATTRIBUTES)[:, None])
    assert swap.swapped.tolist() == [VALUES] * ATTRIBUTES


def test_a_latent_for_two_attributes_moves_both():
    world, rest = World(tied=True), 2 * VALUES
    codes = torch.cat([world.x[:, :VALUES], world.x[:, rest:]], 1)  # the first block stands for two
    atoms = torch.zeros(codes.shape[1], ATTRIBUTES * VALUES)
    atoms[:VALUES, :VALUES] = torch.eye(VALUES)
    atoms[:VALUES, VALUES:rest] = torch.eye(VALUES).roll(1, 1)
    atoms[VALUES:, rest:] = torch.eye(rest)
    assert torch.equal(codes @ atoms, world.x)
    swap = LatentSwap(ATTRIBUTES, world.x, codes, lambda z, rows: z @ atoms)
    best = trained(swap, world).disentangled
    with torch.no_grad():
        swap.masks.fill_(-1)
        swap.masks[:2, :VALUES] = 1
        swap.masks[2, VALUES : 2 * VALUES] = swap.masks[3, 2 * VALUES :] = 1
    # the masks of the first two attributes change each other's answers and no more; the last two change none
    pairs = world.pairs(torch.arange(40, 60), seed=1)
    found = interchange(swap, pairs, world.logits)
    other = world.asked[pairs.base]
    shares = [float((other[(pairs.mask == a) & ~pairs.cause] != 1 - a).double().mean()) for a in (0, 1)]
    assert found.cause == 1
    assert found.isolate == pytest.approx((sum(shares) + 2) / 4)
    assert found.isolate == pytest.approx(5 / 6, abs=0.05)
    assert found.disentangled == pytest.approx((1 + found.isolate) / 2)
    assert best < found.disentangled + 0.02  # no mask does better


def test_swapping_nothing_or_everything(world):
    noise = torch.randn(world.x.shape, generator=torch.Generator().manual_seed(0))
    codes = torch.randn(len(world.x), 50, generator=torch.Generator().manual_seed(1)) * 100
    atoms = torch.randn(50, world.x.shape[1], generator=torch.Generator().manual_seed(2))
    x = world.x + 1e-3 * noise
    pairs = world.pairs(torch.arange(60))
    swap = LatentSwap(ATTRIBUTES, x, codes, lambda z, rows: z @ atoms)
    assert torch.equal(swap(pairs), x[pairs.base])  # the error is kept: not a bit changes
    assert interchange(swap, pairs, world.logits) == (0, 1)
    dropped = LatentSwap(ATTRIBUTES, x, codes, lambda z, rows: z @ atoms, keep_error=False)
    assert torch.allclose(dropped(pairs), (codes @ atoms)[pairs.base], rtol=1e-3, atol=1e-2)
    every = RotatedSwap(ATTRIBUTES, x)
    assert torch.equal(every(pairs), x[pairs.base])
    with torch.no_grad():
        every.masks.fill_(1)
    assert torch.allclose(every(pairs), x[pairs.source], atol=1e-5)
    assert interchange(every, pairs, world.logits) == (1, 0)


def test_a_rotation_finds_attributes_in_another_basis(world):
    mixed = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(3))).Q
    x = world.x @ mixed
    swap = RotatedSwap(ATTRIBUTES, x, seed=1)
    logits = lambda rows, new: world.logits(rows, new @ mixed.T)  # noqa: E731
    fit_masks(swap, world.pairs(torch.arange(40)), logits, steps=60, batch=64, lr=0.03)
    found = interchange(swap, world.pairs(torch.arange(40, 60), seed=1), logits)
    assert min(found) > 0.9
    neurons = LatentSwap(ATTRIBUTES, x, x, lambda z, rows: z)
    fit_masks(neurons, world.pairs(torch.arange(40)), logits, steps=60, batch=64, lr=0.03)
    other = interchange(neurons, world.pairs(torch.arange(40, 60), seed=1), logits)
    assert other.disentangled < found.disentangled - 0.1


def test_the_edit_is_the_equation(world):
    g = torch.Generator().manual_seed(0)
    codes, atoms = torch.randn(len(world.x), 7, generator=g), torch.randn(7, world.x.shape[1], generator=g)
    swap = LatentSwap(ATTRIBUTES, world.x, codes, lambda z, rows: z @ atoms)
    with torch.no_grad():
        swap.masks.copy_(torch.randn(swap.masks.shape, generator=g))
    pairs = world.pairs(torch.arange(10), count=12)
    for heat in (None, 0.3):
        for row, made in enumerate(swap(pairs, heat)):
            m = swap.masks[pairs.mask[row]]
            w = (m > 0).float() if heat is None else 1 / (1 + (-m / heat).exp())
            f, s = codes[pairs.base[row]], codes[pairs.source[row]]
            expected = world.x[pairs.base[row]] + sum(w[j] * (s[j] - f[j]) * atoms[j] for j in range(7))
            assert torch.allclose(made, expected, atol=1e-4)
    assert [temperature(n, 3) for n in range(3)] == pytest.approx([1, 1e-2, 1e-4])
