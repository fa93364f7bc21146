"""Initialisation of a linear autoencoder of functions at its principal functions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.nets.coordinates import CoordinateNet
from narrows.nets.field import FieldEncoder, LinearDecoder, points

__all__ = ["principal_start"]

_RIDGE = 1e-5
"""Ridge as a fraction of the mean diagonal, for least-squares fits with few points or collinear features."""


@torch.no_grad()
def principal_start(
    encoder: FieldEncoder, decoder: LinearDecoder, x: Tensor, condition: Mapping[str, Tensor], noise: float
) -> None:
    r"""Initialise encoder and decoder at the maximum likelihood of a linear decoder.

    With principal functions v_k of the examples, variances l_k along them, the mean function m and the noise
    variance s^2, the maximum has modes :math:`t_k = v_k \sqrt{l_k - s^2}` and the posterior
    :math:`N(\sqrt{l_k - s^2}\, \int v_k (u - m) / l_k,\ s^2 / l_k)`; functions with l_k below s^2 are
    omitted. Functions are expanded in the features that the decoder's last layer reads.

    Args:
        encoder: the encoder, whose first integrals are set to those of the principal functions.
        decoder: the decoder, with one mode per latent.
        x: examples, (B, P, C).
        condition: ``positions``, and optionally ``mask`` and ``quadrature``.
        noise: standard deviation of the noise, s.

    Reference:
        Tipping and Bishop, Probabilistic Principal Component Analysis, 1999.
        Ramsay and Silverman, Functional Data Analysis, 2005, chapter 8.
    """
    latent, channels = decoder.latent, decoder.channels
    y, _ = points(condition, "positions")
    weights = encoder.weights(x, condition)
    x = torch.where(weights != 0, x, 0.0).double()
    weights = weights.mean(-1).double()  # a point with missing channels has less weight
    features = _features(decoder.net, y)
    coefficients, gram = _represented(features, weights, x)
    mean = coefficients.mean(0)  # (F, C)
    root = torch.linalg.cholesky(gram)
    white = torch.einsum("fg,bfc->bgc", root, coefficients - mean).flatten(1)
    axes = torch.linalg.svd(white, full_matrices=False)
    count = min(latent, len(axes.S))
    variances = torch.full((latent,), noise**2, dtype=torch.float64, device=x.device)
    variances[:count] = (axes.S[:count].square() / len(x)).clamp_min(noise**2)
    functions = torch.zeros(latent, *mean.shape, dtype=torch.float64, device=x.device)
    found = axes.Vh[:count].unflatten(1, mean.shape)
    functions[:count] = torch.linalg.solve_triangular(root.T, found, upper=True)
    scale = (variances - noise**2).sqrt()
    _write(
        decoder.net, torch.cat([mean[None], functions * scale[:, None, None]]).transpose(1, 2).flatten(0, 1)
    )
    values = torch.einsum("bpf,kfc->bpck", features, functions)
    shift = torch.einsum("fg,fc,kgc->k", gram, mean, functions)
    _write_encoder(encoder, y, weights, values, scale / variances, shift, (noise**2 / variances).log())
    assert channels == x.shape[-1]


def _features(net: CoordinateNet, y: Tensor) -> Tensor:
    """The input of the last layer, with a column of ones for its bias, (B or 1, P, F)."""
    inner = net.inner(y).double()
    return torch.cat([inner, torch.ones_like(inner[..., :1])], -1)


def _solved(gram: Tensor, right: Tensor) -> Tensor:
    """The ridge solution of gram a = right, (..., F, C)."""
    return torch.linalg.solve(_ridged(gram), right)


def _ridged(gram: Tensor) -> Tensor:
    mean = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return gram + _RIDGE * mean * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)


def _represented(features: Tensor, weights: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (B, F, C) of each example on the features, and the features' mean Gram matrix (F, F)."""
    shared = len(features) == 1 and bool((weights == weights[:1]).all())
    weighed = features * (weights[:1] if shared else weights)[..., None]
    gram = weighed.transpose(1, 2) @ features.expand(len(weighed), -1, -1)
    right = torch.einsum("bpf,bpc->bfc", weighed.expand(len(x), -1, -1), x)
    if not shared:
        return _solved(gram, right), _ridged(gram.mean(0))
    together = _solved(gram[0], right.transpose(0, 1).flatten(1)).unflatten(1, (len(x), -1)).transpose(0, 1)
    return together, _ridged(gram[0])


def _write(net: CoordinateNet, rows: Tensor) -> None:
    """Set weight and bias of the last layer from rows (out, F), whose last column is the bias."""
    net.last.weight.copy_(rows[:, :-1])
    assert net.last.bias is not None
    net.last.bias.copy_(rows[:, -1])


def _write_encoder(
    encoder: FieldEncoder,
    y: Tensor,
    weights: Tensor,
    values: Tensor,
    gain: Tensor,
    shift: Tensor,
    spread: Tensor,
) -> None:
    """Set the first integrals to those against `values` (B or 1, P, C, Z), and the head to the posterior."""
    latent, channels = len(gain), values.shape[-2]
    features = _features(encoder.kernel, y)
    each = weights.mean(0, keepdim=True) if len(features) == 1 else weights
    weighed = (features * each[..., None]).flatten(0, 1)
    fitted = _solved(weighed.T @ features.flatten(0, 1), weighed.T @ values.flatten(0, 1).flatten(1))
    last = encoder.kernel.last
    rows = (
        torch.cat([last.weight, last.bias[:, None]], 1).double().unflatten(0, (2 * channels, encoder.width))
    )
    rows[:, :latent] = 0
    rows[:channels, :latent] = fitted.T.unflatten(0, (channels, latent))
    _write(encoder.kernel, rows.flatten(0, 1))
    linear = encoder.head.linear
    linear.weight.zero_()
    linear.weight[:latent, :latent] = gain.diag().to(linear.weight)
    linear.bias.copy_(torch.cat([-gain * shift, spread]))
