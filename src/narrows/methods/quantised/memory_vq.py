"""Compression of stored vectors by product quantisation that is trained with its reader."""

import math
from typing import Any

from narrows import likelihoods
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.grouped import GroupedQuantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.check import at_least, whole
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import with_prior
from narrows.nets.from_identity import FromIdentity
from narrows.nets.logarithm import reading


def memory_vq(
    spec: Spec | tuple[int, ...],
    *,
    compression: float = 16.0,
    codes: int = 256,
    maps: bool = True,
    beta: Schedule = 0.25,
    codebook: str | Codebook = "ema",
    prior: str | Prior = "none",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A store of vectors, of which only codes are kept: r times fewer bits than with 32 for each of D numbers.

    .. math:: -\log p(x \mid W' \hat z + b') + \beta \|z - \mathrm{sg}(\hat z)\|^2,\qquad
              z = W x + b,\quad \hat z_g = e_g\big(\arg\min_k \|z_g - e_g(k)\|^2\big),\quad
              G = \Big\lfloor \frac{32 D}{r \log_2 K} \Big\rfloor

    Each of G groups of numbers has its own codebook: see `GroupedQuantizer`. W and W' start as the identity, so that
    training starts at plain product quantisation. If the data have a target, the codes reconstruct it.

    Args:
        compression: r.
        codes: size of each codebook, K; with 256 a group is one byte.
        maps: learn W and W'; without, the vectors themselves are quantised, as in the paper.

    Example:
        >>> memory_vq((384,)).bottleneck.symbols.shape
        (1, 96)

    Reference:
        Zemlyanskiy et al., MEMORY-VQ: Compression for Tractable Internet-Scale Memory, 2023. arXiv:2308.14903
    """
    spec, size, codes = as_spec(spec), as_spec(spec).size, whole("codes", codes, low=2)
    bits = 32 * size / at_least("compression", compression, 1)
    groups = max(1, min(size, int(bits / math.log2(codes) + 1e-9)))
    width = groups * math.ceil(size / groups)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    books: dict[str, Any] = {"groups": groups, "books": "group", "codebook": codebook}
    quantizer = GroupedQuantizer(width, codes=codes, tokens=1, **books)
    encoder = reading(spec, FromIdentity(spec.shape, (1, width), maps))
    decoder = FromIdentity((1, width), output.parameter_shape, maps)
    model = with_prior(
        spec, encoder, quantizer, decoder, output, Objective(weights={"commitment": beta}), prior
    )
    model.prepared_on = 1 << 14  # 64 rows for each of 256 codes
    return model
