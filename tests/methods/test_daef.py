"""DAEF: each layer against normal equations, parts of the data against all, and what has no inverse."""

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.kernels.rolann import ACTIVATIONS, merge, solve, statistics
from narrows.methods.regularised.daef import daef

DICE = torch.Generator().manual_seed(0)


def table(n=300, width=7):
    mixed = torch.randn(n, 3, generator=DICE) @ torch.randn(3, width, generator=DICE)
    return torch.tanh(mixed) + 0.1 * torch.randn(n, width, generator=DICE)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_layer_solves_the_weighted_normal_equations(name):
    of, x = ACTIVATIONS[name], torch.randn(50, 4, generator=DICE).double()
    target = of.of(x @ torch.randn(4, 3, generator=DICE).double() + 0.3 * torch.randn(50, 3, generator=DICE))
    found = solve(statistics(x, target, of), 0.2)
    before = of.inverse(target).numpy()
    step = 1e-5
    slope = (of.of(torch.tensor(before + step)) - of.of(torch.tensor(before - step))).numpy() / (2 * step)
    for j in range(3):
        weights = slope[:, j] ** 2
        left = x.numpy().T @ (weights[:, None] * x.numpy()) + 0.2 * np.eye(4)
        expected = np.linalg.solve(left, x.numpy().T @ (weights * before[:, j]))
        np.testing.assert_allclose(found[j].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_statistics_of_parts_are_merged_exactly():
    of, x = ACTIVATIONS["tanh"], torch.randn(90, 5, generator=DICE).double()
    target = torch.tanh(torch.randn(90, 4, generator=DICE)).double()
    parts = [statistics(x[i::3], target[i::3], of) for i in range(3)]
    whole = solve(statistics(x, target, of), 0.1)
    assert torch.allclose(solve(merge(parts), 0.1), whole, atol=1e-10)


def test_the_encoder_has_the_singular_vectors_of_the_data():
    x = table()
    model = daef((7,), latent=3, activation="linear", widths=())
    model.decoder.prepare(model, Batch(x))
    axes = np.linalg.svd(x.numpy(), full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.abs(model.encoder.weight.numpy()), np.abs(axes), atol=1e-4)
    # a linear decoder without a penalty on its weights is the projection, and the bias can only help
    error = float((model.reconstruct(Batch(x)) - x).square().sum())
    projected = x.numpy() @ axes.T @ axes
    assert error <= ((projected - x.numpy()) ** 2).sum() * 1.001


def test_parts_of_the_data_give_the_model_of_all():
    x = table(400)
    torch.manual_seed(0)
    once = daef((7,), latent=3, widths=(5, 6))
    torch.manual_seed(0)
    parts = daef((7,), latent=3, widths=(5, 6))
    once.decoder.solve(once.encoder, [(x, x)])
    parts.decoder.solve(parts.encoder, [(x[i::8], x[i::8]) for i in range(8)])
    assert float((once.reconstruct(Batch(x)) - parts.reconstruct(Batch(x))).abs().max()) < 1e-5


def test_it_is_solved_before_the_first_step(tmp_path):
    x = table(900).numpy()
    run = nr.fit(x, "daef", tmp_path / "run", latent=3, widths=(6,), progress=False)
    assert [record for record in run.metrics if "autoencoder/loss" in record] == []
    data = run.data.train.all().x
    error = float((run.model.reconstruct(Batch(data)) - data).square().mean())
    assert error < 0.6 * float(data.square().mean())


def test_what_has_no_inverse_is_refused():
    with pytest.raises(RequestError, match=r"`activation` must be one that has an inverse.*'relu'"):
        daef((7,), activation="relu")
    with pytest.raises(RequestError, match="latent"):
        daef((7,), latent=9)
    model = daef((7,), latent=5)
    with pytest.raises(RequestError, match="number of training examples"):
        model.decoder.prepare(model, Batch(torch.zeros(3, 7)))


def test_without_ridge_directions_without_variance_have_no_weight(tmp_path):
    """Columns that are equal, and one that is constant: the solution of least norm, and finite reconstructions."""
    x = np.random.default_rng(0).standard_normal((60, 3))
    x = np.concatenate([x, x[:, :1], np.zeros((60, 1))], 1)
    target = x @ np.random.default_rng(1).standard_normal((5, 2))
    found = solve(statistics(torch.from_numpy(x), torch.from_numpy(target), ACTIVATIONS["linear"]), 0.0)
    assert np.allclose(found.T, np.linalg.pinv(x) @ target, atol=1e-6)
    run = nr.fit(x.astype(np.float32), "daef", tmp_path / "run", latent=2, ridge=0.0, progress=False)
    assert np.abs(run.reconstruct()).max() < 10 * np.abs(x).max()
