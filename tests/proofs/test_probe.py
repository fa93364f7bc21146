"""The probe is logistic regression, and blind to the scale of the features."""

import pytest
import torch

from narrows.proofs.probe import probe
from narrows.proofs.regularised.ae import pca_error


def clouds(n, seed):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=draw)
    return torch.eye(3)[labels] * 4 + torch.randn(n, 3, generator=draw), labels


def test_the_probe_is_near_the_best_possible_on_three_clouds_whatever_their_scale():
    (x, y), (unseen, answers) = clouds(2000, 0), clouds(5000, 1)
    best = (unseen.argmax(1) == answers).float().mean().item()  # Bayes: the nearest of three equal spheres
    found = probe(x, y, unseen, answers)
    assert found == pytest.approx(best, abs=0.01)
    assert probe(1e4 * x + 7, y, 1e4 * unseen + 7, answers) == pytest.approx(found, abs=2e-3)


def test_the_probe_learns_nothing_from_noise():
    (x, y), (unseen, answers) = clouds(2000, 0), clouds(2000, 1)
    noise = torch.Generator().manual_seed(2)
    x, unseen = (torch.randn(part.shape, generator=noise) for part in (x, unseen))
    assert probe(x, y, unseen, answers) < 0.42


def test_pca_error_is_the_variance_beyond_the_first_components():
    torch.manual_seed(0)
    x = torch.randn(500, 6, dtype=torch.float64) * torch.arange(1.0, 7.0)
    left = torch.linalg.svdvals(x - x.mean(0))[2:].square().sum().item() / 500
    assert pca_error(x, x, 2) == pytest.approx(left, rel=1e-6)
