"""Tokens of motions: control points of B-splines in uniform bins."""

from narrows.bottlenecks.discrete.uniform import UniformQuantizer
from narrows.core import Autoencoder, Prior, Spec, TokenLayout, as_spec
from narrows.core.check import refuse
from narrows.likelihoods.normal import Squared
from narrows.methods.quantised._assemble import with_prior
from narrows.nets.closed_form import Solved
from narrows.nets.spline import Spline, SplineDecoder, SplineEncoder


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
    r"""Sequences of actions or of motion as a small number of tokens; nothing but the prior is trained.

    .. math:: c = (B^\top B + \lambda I)^{-1} B^\top (a - b_0 c_0),\qquad
              k = \mathrm{round}\Big((K - 1) \frac{c - q_{1\%}}{q_{99\%} - q_{1\%}}\Big),\qquad \hat a = B\, \hat c

    Each chunk of each channel is a clamped B-spline whose first control point c_0 is the last one of the chunk before,
    so that the curve has no jump; in the first chunk it is fitted. ``model.decoder.at(z, times)`` is the curve.

    Args:
        points: control points of a chunk, N, at least degree + 1.
        chunks: number of chunks of a sequence.
        degree: of the polynomials.
        codes: number of bins, K.
        tail: share of the training sequences' control points beyond each end of the bins, which are clipped.
        ridge: lambda of the least squares.

    Example:
        >>> beast((50, 7), points=8, prior="none").bottleneck.symbols.shape
        (56,)

    Reference:
        Zhou et al., BEAST: Efficient Tokenization of B-Splines Encoded Action Sequences for Imitation Learning, 2025.
        arXiv:2506.06072
    """
    spec = as_spec(spec)
    if len(spec.shape) not in (1, 2) or spec.target is not None:
        raise refuse("shape", spec.shape, "that of a sequence, (T,) or (T, C), that is its own target")
    spline = Spline(spec.shape[0], points=points, degree=degree, chunks=chunks)
    grid = (spline.control_points, 1 if len(spec.shape) == 1 else spec.shape[1])
    bins = UniformQuantizer(grid[0] * grid[1], codes=codes, tail=tail)
    bins.layout = TokenLayout((grid,))
    encoder, decoder = SplineEncoder(spline, spec.shape, ridge), SplineDecoder(spline, spec.shape)
    model = with_prior(spec, encoder, bins, decoder, Squared(spec.shape), Solved(), prior)
    model.prepared_on = 1 << 16  # sequences of which percentiles are taken
    return model
