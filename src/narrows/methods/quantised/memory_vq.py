"""Compression of stored vectors by product quantisation that is trained with its reader."""

from __future__ import annotations

import math

from narrows import likelihoods
from narrows.bottlenecks.discrete.grouped import GroupedQuantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.check import at_least, whole
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import with_prior
from narrows.nets.from_identity import FromIdentity
from narrows.nets.logarithm import reading

_BITS = 32
_PREPARED = 1 << 14
"""Rows for k-means: 64 for each of 256 codes."""


def memory_vq(
    spec: Spec | tuple[int, ...],
    *,
    compression: float = 16.0,
    codes: int = 256,
    maps: bool = True,
    beta: Schedule = 0.25,
    prior: str | Prior = "none",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A store of vectors, such as embeddings, of which only integer codes are kept.

    .. math:: -\log p(x \mid W' \hat z + b') + \beta \|z - \mathrm{sg}(\hat z)\|^2,\qquad
              z = W x + b,\quad \hat z_g = e_g\big(\arg\min_k \|z_g - e_g(k)\|^2\big),\quad
              G = \Big\lfloor \frac{32 D}{r \log_2 K} \Big\rfloor

    Each of G groups of numbers of the vector is replaced by the nearest code of its own codebook, so that r times
    fewer bits are stored than with 32 for each of D numbers. Codebooks start by k-means and are moving averages of
    what is assigned to them: see `GroupedQuantizer`. W and W' start as the identity, so that training starts at plain
    product quantisation and adapts the groups and the codes to what is read. With ``maps=False`` the vectors
    themselves are quantised, as in the paper. If the data have a target, such as another model's output, that is what
    the codes reconstruct.

    Codebooks and maps are stored once, for all vectors. ``narrows encode`` writes the codes, ``narrows decode`` reads
    them.

    Args:
        compression: r, bits of a vector of 32-bit numbers for each bit of its code.
        codes: size of each codebook, K; with 256 a group is one byte.
        maps: learn W and W'.
        beta: weight of the commitment loss, a number or a schedule.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = memory_vq((384,))
        >>> model.bottleneck.symbols.shape, 384 * 32 / (96 * 8)
        ((1, 96), 16.0)

    Reference:
        Zemlyanskiy et al., MEMORY-VQ: Compression for Tractable Internet-Scale Memory, 2023. arXiv:2308.14903
    """
    spec, codes = as_spec(spec), whole("codes", codes, low=2)
    size = math.prod(spec.shape)
    bits = _BITS * size / at_least("compression", compression, 1)
    groups = max(1, min(size, int(bits / math.log2(codes) + 1e-9)))
    width = groups * math.ceil(size / groups)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    quantizer = GroupedQuantizer(width, codes=codes, tokens=1, groups=groups, books="group")
    encoder = reading(spec, FromIdentity(spec.shape, (1, width), maps))
    decoder = FromIdentity((1, width), output.parameter_shape, maps)
    objective = Objective(weights={"commitment": beta})
    model = with_prior(spec, encoder, quantizer, decoder, output, objective, prior)
    model.prepared_on = _PREPARED
    return model
