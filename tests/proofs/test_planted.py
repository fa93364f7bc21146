"""Frontiers of error against L0, and worlds of a trial's own."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import narrows.data
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.proofs.engine import Trial
from narrows.proofs.sparse._planted import between, frontier, own_world, planted


def points(**columns):
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_a_power_law_is_read_off_its_frontier_exactly():
    on = [9.0, 2.0, 5.0]  # in any order
    made = points(l0=on, fvu=[0.8 * n**-1.7 for n in on], slope=[math.log(n) for n in on])
    for l0 in (2.5, 4.0, 5.0, 8.0):
        assert between(made, "fvu", l0) == pytest.approx(0.8 * l0**-1.7)
        if l0 <= 5:
            assert between(made, "slope", l0) == pytest.approx(math.log(l0))


def test_beyond_its_ends_a_frontier_stays_level():
    made = points(l0=[4.0, 2.0], fvu=[0.1, 0.3])
    assert [between(made, "fvu", at) for at in (1.0, 2.0, 4.0, 7.0)] == [0.3, 0.3, 0.1, 0.1]


def trial(seed, **options):
    source = narrows.data.open("dictionary", n=300, tests=100, d=8, atoms=12, l0=2, **options)
    return Trial(seed, source, {"steps": 5, "latents": 16, "rate": 10})


def test_each_seed_has_a_world_of_its_own():
    worlds = [own_world(trial(seed)).data for seed in (0, 1, 1)]
    atoms = [world.truth.atoms for world in worlds]
    assert not np.allclose(atoms[0], atoms[1])
    assert np.array_equal(atoms[1], atoms[2])
    assert worlds[1].train.all().x.shape == (300, 8)
    again = narrows.data.open("dictionary", n=300, tests=100, d=8, atoms=12, l0=2, seed=1)
    assert torch.equal(worlds[1].train.all().x, again.train.all().x)
    assert own_world(trial(0), atoms=5, n=20).data.truth.codes.shape == (20, 5)


def test_other_data_stay_as_they_are():
    own = Trial(3, narrows.data.open(np.eye(6)), {"steps": 1})
    assert own_world(own) is own


def test_a_frontier_has_the_numbers_of_its_models():
    one = trial(0)
    numbers = frontier(one, "topk", topk_sae, [{"k": 2}, {"k": 4}], at=(1.0, 9.0))
    found = []
    for k in (2, 4):
        model = replace(one, seed=0).build(topk_sae, latents=16, k=k)
        found.append(planted(one.fit(model, lr=1e-3), one))
    assert numbers["topk/fvu_at_1"] == pytest.approx(found[0]["fvu"])
    assert numbers["topk/fvu_at_9"] == pytest.approx(found[1]["fvu"])
    assert numbers["topk/least_l0"] == pytest.approx(found[0]["l0"])
