"""The deep feature consistent VAE: its loss by a loop over feature maps, and what it refuses."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from narrows import data, fit
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.variational.dfc_vae import dfc_vae


def test_the_loss_is_the_sum_over_layers_of_mean_squared_differences():
    torch.manual_seed(0)
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    model = dfc_vae((1, 8, 8), latent=2, weight=6.0, beta=0.5, net="mlp:16").double().train()
    torch.manual_seed(3)
    loss = model.loss(Batch(x))
    torch.manual_seed(3)
    mean, log_variance = model.encoder(x).chunk(2, -1)
    q = Normal(mean, (0.5 * log_variance).exp())
    made = model.likelihood.mean(model.decoder(q.rsample()))
    net, total = model.objective.distance.frozen, 0.0
    for i in range(3):
        for a, b in zip(net(x[i : i + 1]), net(made[i : i + 1]), strict=True):
            total += 6.0 * float((a - b).pow(2).sum()) / (2 * a.numel())
        total += 0.5 * float(kl_divergence(q, Normal(0.0, 1.0))[i].sum())
    assert float(loss.total) == pytest.approx(total / 3, rel=1e-6)


def test_the_feature_net_is_not_trained():
    model = dfc_vae((1, 8, 8), latent=2)
    mine = {id(p) for player in model.players() for p in player.parameters}
    assert mine == {id(p) for p in model.parameters()}
    assert not list(model.objective.parameters())


def residual_weights(path):
    """A file of a residual net with one block a stage, of random numbers."""
    rng, kept = np.random.default_rng(0), {}
    sizes = [("conv1", "bn1", 3, 16)]
    for stage, (before, after) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
        at = f"layer{stage}.0."
        sizes += [(at + "conv1", at + "bn1", before, after), (at + "conv2", at + "bn2", after, after)]
    for conv, norm, before, after in sizes:
        kept[f"{conv}.weight"] = rng.normal(0, 0.2, (after, before, 3, 3)).astype(np.float32)
        for name in ("weight", "bias", "running_mean", "running_var"):
            kept[f"{norm}.{name}"] = np.ones(after, np.float32)
    np.savez(path, **kept)
    return path


def test_what_cannot_be_is_refused(tmp_path):
    residual = f"resnet:{residual_weights(tmp_path / 'resnet.npz')}"
    assert dfc_vae((3, 32, 32), latent=2, perceptual=residual, net="mlp:8").sample(2).shape == (2, 3, 32, 32)
    with pytest.raises(RequestError, match=r"images of shape \(3, 32, 32\)"):
        dfc_vae((3, 16, 16), perceptual=residual)
    with pytest.raises(RequestError, match=r"images of shape \(3, 32, 32\)"):
        dfc_vae((1, 32, 32), perceptual=residual)
    with pytest.raises(RequestError, match="perceptual"):
        dfc_vae((7,), perceptual=residual)
    with pytest.raises(RequestError, match="a feature net"):
        dfc_vae((3, 32, 32), perceptual="none")
    with pytest.raises(RequestError, match="on this machine"):
        dfc_vae((3, 32, 32), perceptual="resnet:nowhere.npz")


def test_its_audit_has_no_likelihood(tmp_path):
    x = np.random.default_rng(0).random((60, 1, 8, 8)).astype(np.float32)
    run = fit(data.open(x), method="dfc-vae", latent=2, net="mlp:16", steps=2, out=tmp_path / "run")
    found = {check.name: check for check in run.audit().checks}
    assert not any(name.startswith("nll/") for name in found)
    assert "no -log p" in found["nll"].says
