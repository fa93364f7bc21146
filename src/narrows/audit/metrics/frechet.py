"""The Frechet distance of samples and data, on features of a small classifier or of PCA."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import seeded
from narrows.core.check import refuse, whole

__all__ = ["Features", "classifier", "classifier_features", "frechet", "principal_features"]

Features = Callable[[Tensor], Tensor]
"""From examples (N, ...) to features (N, F)."""


def frechet(a: Tensor, b: Tensor) -> float:
    r"""The squared Frechet distance of Gaussians fitted to two samples.

    .. math:: \|m_a - m_b\|^2 + \mathrm{tr}\big(S_a + S_b - 2 (S_a S_b)^{1/2}\big)

    Computed in float64; the covariances have N - 1 in the denominator. With few rows it is biased upwards, so
    compare only values taken with the same numbers of rows.

    Args:
        a: features (N, F), N >= 2.
        b: features (M, F), M >= 2.

    Raises:
        RequestError: fewer than two rows, or samples of different width.

    Example:
        >>> a = torch.tensor([[-1.0], [1.0]])
        >>> round(frechet(a, 2 * a + 3), 6)
        11.0

    Reference:
        Dowson and Landau, The Frechet Distance between Multivariate Normal Distributions, 1982. Heusel et al.,
        GANs Trained by a Two Time-Scale Update Rule, 2017 (with Inception features). arXiv:1706.08500
    """
    a, b = (t.detach().to("cpu", torch.float64).flatten(1) for t in (a, b))
    if a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise refuse("b", tuple(b.shape), f"at least two rows as wide as those of a, {tuple(a.shape)}")
    spread_a, spread_b = (torch.cov(t.T).reshape(t.shape[1], t.shape[1]) for t in (a, b))
    # tr (S_a S_b)^(1/2) by way of the symmetric R S_b R with R = S_a^(1/2), which has the same eigenvalues.
    values, vectors = torch.linalg.eigh(spread_a)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    middle = torch.linalg.eigvalsh(root @ spread_b @ root).clamp_min(0).sqrt().sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return float(apart + spread_a.trace() + spread_b.trace() - 2 * middle)


def classifier_features(
    x: Tensor, labels: Tensor, *, width: int = 32, steps: int = 400, batch_size: int = 128, seed: int = 0
) -> Features:
    """Train a small classifier, and return its last hidden layer as features. Arguments are those of `classifier`.

    Example:
        >>> x = torch.randn(64, 1, 4, 4)
        >>> classifier_features(x, x.flatten(1)[:, 0] > 0, steps=2)(x).shape
        torch.Size([64, 32])
    """
    body: nn.Module = classifier(x, labels, width=width, steps=steps, batch_size=batch_size, seed=seed)[0]
    return body


def classifier(
    x: Tensor, labels: Tensor, *, width: int = 32, steps: int = 400, batch_size: int = 128, seed: int = 0
) -> nn.Sequential:
    """Train a small classifier: its features, and the map from them to logits.

    Args:
        x: examples (N, ...).
        labels: their classes, (N,).
        width: F, the number of features.
        steps: training steps.
        batch_size: examples a step.
        seed: of the classifier's weights and batches.

    Raises:
        RequestError: the numbers of labels and examples differ.

    Example:
        >>> x = torch.randn(64, 1, 4, 4)
        >>> classifier(x, x.flatten(1)[:, 0] > 0, steps=2)(x).shape
        torch.Size([64, 2])
    """
    if len(labels) != len(x):
        raise refuse("labels", f"{len(labels)} labels", f"one for each of the {len(x)} examples")
    labels, size = labels.long().to(x.device), x[0].numel()
    with seeded(seed):
        body = nn.Sequential(
            nn.Flatten(), nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, whole("width", width)), nn.Tanh()
        ).to(x.device)
        net = nn.Sequential(body, nn.Linear(width, int(labels.max()) + 1).to(x.device))
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(steps):
            rows = torch.randint(len(x), (batch_size,), device=x.device)
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), labels[rows]).backward()
            optimizer.step()
    return net.requires_grad_(False)


def principal_features(x: Tensor, *, width: int = 32) -> Features:
    """Standardised principal components of examples (N, ...) as features, for data without labels.

    Example:
        >>> x = torch.randn(64, 1, 4, 4)
        >>> principal_features(x, width=3)(x).std(0)
        tensor([1., 1., 1.])
    """
    rows = x.detach().flatten(1).double()
    mean = rows.mean(0)
    _, lengths, axes = torch.linalg.svd(rows - mean, full_matrices=False)
    kept = min(whole("width", width), int((lengths > 1e-9 * lengths[0]).sum()))
    scale = lengths[:kept] / (len(rows) - 1) ** 0.5
    maps = axes[:kept].T / scale

    def features(examples: Tensor) -> Tensor:
        return ((examples.flatten(1).double() - mean) @ maps).to(examples.dtype)

    return features
