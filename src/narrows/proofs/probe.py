"""Linear probes of codes."""

from __future__ import annotations

from torch import Tensor

from narrows.core.check import optional

__all__ = ["probe"]


def probe(train: Tensor, labels: Tensor, test: Tensor, answers: Tensor, strength: float = 1.0) -> float:
    """The test accuracy of logistic regression on standardised features.

    Args:
        train: features, (N, F).
        labels: their classes, (N,).
        test: features of other examples, (M, F).
        answers: their classes, (M,).
        strength: inverse of the L2 penalty.

    Raises:
        WorkError: scikit-learn is not installed.

    Example:
        >>> import torch
        >>> x, y = torch.eye(4).repeat(5, 1), torch.arange(4).repeat(5)
        >>> probe(x, y, x, y)
        1.0
    """
    linear = optional("sklearn.linear_model", "sklearn", "probe features")
    mean, deviation = train.mean(0), train.std(0).clamp(min=1e-6)
    near, far = (((part - mean) / deviation).double().cpu().numpy() for part in (train, test))
    model = linear.LogisticRegression(C=strength, max_iter=1000, tol=1e-3).fit(near, labels.cpu().numpy())
    return float(model.score(far, answers.cpu().numpy()))
