"""The scale of a tied encoder before training."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch
from narrows.core.evidence import Latents
from narrows.core.values import tree_map
from narrows.kernels.metrics import l0
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary

__all__ = ["scale_encoder"]


@torch.no_grad()
def scale_encoder(model: Autoencoder, batch: Batch) -> bool:
    r"""Scale an encoder that starts as its decoder's transpose, such that the squared error is least.

    .. math:: W \leftarrow \alpha W, \quad b_e \leftarrow \alpha b_e, \qquad
        \alpha = \frac{\langle x - b_d, \hat x - b_d \rangle}{\|\hat x - b_d\|^2}

    The atoms of an overcomplete dictionary overlap, so their inner products with an example, as coefficients,
    reconstruct it several times too large; the first steps of a training would only undo that. Nothing
    changes if the error would not fall, nor if smaller latents let more of them be active, as in codes that have
    the norm of the input, nor for an encoder that has no dictionary in common with the decoder, or its rows
    throughout.

    Args:
        model: the model, initialised from the data.
        batch: a large batch.

    Returns:
        Whether the encoder was scaled.

    Example:
        >>> from narrows.methods.sparse.topk_sae import topk_sae
        >>> from narrows.testing.case import prepare
        >>> model, batch = topk_sae((8,), latents=64, k=8), Batch(torch.randn(500, 8))
        >>> prepare(model, batch)
        >>> scale_encoder(model, batch)  # it is at its best scale already
        False
    """
    encoder, decoder = model.encoder, model.decoder
    if not isinstance(encoder, AffineEncoder) or encoder.shift is None or not isinstance(decoder, Dictionary):
        return False
    code = model.encode(batch)
    z = code.z
    base = model.likelihood.mean(model.decode(tree_map(torch.zeros_like, z), batch.condition))
    made = model.likelihood.mean(model.decode(z, batch.condition)) - base
    wanted = batch.target - base
    alpha = (wanted * made).sum() / made.square().sum()
    if not alpha > 0 or (alpha - 1).abs() < _EQUAL:
        return False
    encoder.amplify(alpha)
    scaled = model.encode(batch)
    after = model.likelihood.mean(model.decode(scaled.z, batch.condition))
    filled_up = alpha < 1 and l0(scaled[Latents].z) > _MORE * l0(code[Latents].z)
    if _error(after, batch) < _error(base + made, batch) and not filled_up:
        return True
    encoder.amplify(1 / alpha)
    return False


_EQUAL = 1e-3
"""A factor as near to 1 as this is left out."""

_MORE = 1.05
"""So many times more active latents are more than the rounding of pre-activations at a threshold makes."""


def _error(made: Tensor, batch: Batch) -> Tensor:
    return (batch.target - made).square().sum()
