"""A mixture of two Gaussians with noise, whose posterior means are known."""

import torch

WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEANS = torch.tensor([[-1.5, 0.5], [1.0, -0.5]], dtype=torch.float64)
SPREADS = torch.tensor([0.6, 0.8], dtype=torch.float64)


def log_density(x, alpha, sigma):
    """log p of noisy points (n, 2), without constants."""
    variance = (alpha * SPREADS) ** 2 + sigma**2
    squares = (x[:, None] - alpha * MEANS).square().sum(-1)
    return (WEIGHTS.log() - variance.log() - 0.5 * squares / variance).logsumexp(-1)


def posterior_mean(x, alpha, sigma):
    """E[data | noisy point], (n, 2): each component's, by its responsibility."""
    variance = (alpha * SPREADS) ** 2 + sigma**2
    away = x[:, None] - alpha * MEANS
    logits = WEIGHTS.log() - variance.log() - 0.5 * away.square().sum(-1) / variance
    means = MEANS + (alpha * SPREADS**2 / variance)[:, None] * away
    return (logits.softmax(-1)[..., None] * means).sum(1)
