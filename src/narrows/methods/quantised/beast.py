"""Tokens of motions: control points of B-splines in uniform bins."""

from __future__ import annotations

from narrows.bottlenecks.discrete.uniform import UniformQuantizer
from narrows.core import Autoencoder, Prior, Spec, TokenLayout, as_spec
from narrows.core.check import refuse
from narrows.likelihoods.normal import Squared
from narrows.methods.quantised._assemble import with_prior
from narrows.nets.closed_form import Solved
from narrows.nets.spline import Spline, SplineDecoder, SplineEncoder

_PREPARED = 1 << 16
"""Sequences of which percentiles are taken."""


def beast(
    spec: Spec | tuple[int, ...],
    *,
    points: int = 10,
    chunks: int = 1,
    degree: int = 4,
    codes: int = 256,
    tail: float = 0.01,
    ridge: float = 1e-4,
    prior: str | Prior = "autoregressive",
) -> Autoencoder:
    r"""Sequences of actions or of motion as a fixed, small number of tokens, without training.

    .. math:: c = (B^\top B + \lambda I)^{-1} B^\top (a - b_0 c_0),\qquad
              k = \mathrm{round}\Big((K - 1) \frac{c - q_{1\%}}{q_{99\%} - q_{1\%}}\Big),\qquad
              \hat a = B\, \hat c

    Each chunk of a sequence is a clamped B-spline with N control points for each channel. The first of them, c_0, is
    the last one of the chunk before, so that the decoded curve has no jump between chunks, whatever the tokens are; in
    the first chunk it is fitted like the others. Nothing is optimised: the ranges of the bins are percentiles of the
    training sequences. The prior over the tokens is trained as for other methods, and
    ``model.decoder.at(z, times)`` evaluates the curve at any times.

    Args:
        points: control points of a chunk for each channel, N, at least degree + 1.
        chunks: number of chunks of a sequence.
        degree: of the polynomials.
        codes: number of bins, K.
        tail: share of the control points beyond each end of the bins' range, which become the outermost bin.
        ridge: lambda of the least squares.

    Raises:
        RequestError: data that are not sequences, or an argument out of range.

    Example:
        >>> model = beast((50, 7), points=8, prior="none")
        >>> model.bottleneck.symbols.shape, model.sample(3).shape
        ((56,), torch.Size([3, 50, 7]))

    Reference:
        Zhou et al., BEAST: Efficient Tokenization of B-Splines Encoded Action Sequences for Imitation Learning, 2025.
        arXiv:2506.06072
    """
    spec = as_spec(spec)
    if len(spec.shape) not in (1, 2) or spec.target is not None:
        raise refuse("shape", spec.shape, "that of a sequence, (T,) or (T, C), that is its own target")
    spline = Spline(spec.shape[0], points=points, degree=degree, chunks=chunks)
    channels = spec.shape[1] if len(spec.shape) == 2 else 1
    bins = UniformQuantizer(spline.control_points * channels, codes=codes, tail=tail)
    bins.layout = TokenLayout(((spline.control_points, channels),))
    encoder, decoder = SplineEncoder(spline, spec.shape, ridge), SplineDecoder(spline, spec.shape)
    model = with_prior(spec, encoder, bins, decoder, Squared(spec.shape), Solved(), prior)
    model.prepared_on = _PREPARED
    return model
