"""Some points a step: the code is that of all points, and the mean over all choices is the bound at all points."""

from itertools import permutations

import torch

from narrows.core import Batch, Spec, seeded
from narrows.methods.structured.vano import vano
from narrows.objectives.some_points import SomePoints

P = 5


def model_and_batch():
    spec = Spec((P, 1), kind="field", conditions={"positions": (P, 1)})
    with seeded(0):
        model = vano(spec, latent=2, decoder="concat", queries=2).double().eval()
        batch = Batch(
            torch.randn(4, P, 1, dtype=torch.double),
            condition={"positions": torch.rand(4, P, 1, dtype=torch.double)},
        )
    return model, batch


def choose(monkeypatch, order):
    monkeypatch.setattr(torch, "randperm", lambda n, **options: torch.tensor(order))


def test_the_mean_over_all_choices_is_the_distortion_at_all_points(monkeypatch):
    model, batch = model_and_batch()
    exact = model.likelihood.nll(model(batch).output, batch.target)
    found = []
    for order in permutations(range(P)):
        choose(monkeypatch, order)
        some = SomePoints(2).subsampled(batch)
        found.append(model.likelihood.nll(model(some).output, some.target, some.weight))
    torch.testing.assert_close(torch.stack(found).mean(0), exact)
    assert torch.stack(found).std(0).min() > 0


def test_the_code_is_that_of_all_points_and_values_at_the_chosen_ones_are_the_same(monkeypatch):
    model, batch = model_and_batch()
    choose(monkeypatch, [3, 1, 0, 4, 2])
    some = SomePoints(2).subsampled(batch)
    assert torch.equal(model.encode(some).z, model.encode(batch).z)
    assert torch.equal(some.target, batch.target[:, [3, 1]])
    torch.testing.assert_close(model(some).output, model(batch).output[:, [3, 1]])


def test_weights_and_masks_are_chosen_with_their_points(monkeypatch):
    _, batch = model_and_batch()
    mask, weight = torch.rand(4, P) > 0.5, torch.rand(4, P, 1)
    batch = Batch(batch.x, condition={**batch.condition, "mask": mask}, weight=weight)
    choose(monkeypatch, [4, 0, 1, 2, 3])
    some = SomePoints(3).subsampled(batch)
    assert torch.equal(some.condition["queries_mask"], mask[:, [4, 0, 1]])
    assert torch.equal(some.condition["mask"], mask)
    assert torch.equal(some.weight, weight[:, [4, 0, 1]])


def test_all_points_are_used_outside_training_and_where_there_are_few():
    model, batch = model_and_batch()
    assert SomePoints(P).subsampled(batch) is batch
    assert SomePoints(0).subsampled(batch) is batch
    with seeded(0):
        loss = model.loss(batch)
    expected = model.likelihood.nll(model(batch).output, batch.target)
    torch.testing.assert_close(loss.terms["distortion"], expected.mean().detach())
