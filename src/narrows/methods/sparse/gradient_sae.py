"""The gradient sparse autoencoder: TopK that looks downstream.

Olmo, Wilson, Forsey, Hepner, Howe, Wingate, Features that Make a Difference: Leveraging Gradients for Improved
Dictionary Learning, 2024. arXiv:2411.10397
"""

from __future__ import annotations

from torch import Tensor

from narrows.bottlenecks.sparse.influence import InfluenceTopK, Sloped
from narrows.core import NO_CONDITION, Autoencoder, Condition, Spec, Tree, as_spec
from narrows.core.schedules import Schedule
from narrows.kernels.sparse import LazyLinear
from narrows.likelihoods import Squared
from narrows.methods.sparse._alike import alike
from narrows.methods.sparse.topk_sae import aux_k_objective, default_latents
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary

__all__ = ["gradient_sae"]


class _Encoder(AffineEncoder):
    """A linear encoder that hands the gradient on beside the promise."""

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> LazyLinear | tuple[LazyLinear, Tensor]:
        """Promise the pre-activations (B, N) of inputs (B, *shape), with their gradients (B, *shape) or None."""
        plain = super().forward(x, condition)
        assert isinstance(plain, LazyLinear)
        slope = condition.get("gradients")
        slope = None if slope is None else slope.flatten(1).to(plain.x.dtype)
        return Sloped(plain.x, plain.weight, plain.bias, plain.shift, slope)


def gradient_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    beta: float = 0.3,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A TopK autoencoder whose k latents are those that the model's loss depends on most.

    .. math:: \hat x = A^\top z + b_d, \qquad z_j = \mathrm{ReLU}(h_j)\, 1[j \in \mathrm{top}_k], \qquad
        \text{ranked by } h_j + \beta\, h_j\, | a_j \cdot \nabla_x \mathcal{L} | / u

    Ranked, not weighted: values and loss are those of `topk_sae`, so that capacity goes to directions which move
    the output. The data carry a column ``gradients``, of the model's loss with respect to each activation (harvest
    it with the activations). The ranking needs it wherever the code shall be the method's own, after training too,
    and with it the tokens that follow; given none, the model is a plain TopK autoencoder with the learned weights.

    The size beside the product, and beta, are ours: the paper ranks by the product of size and alignment alone. With a
    beta of 0.3 the order is near to that by size; the larger beta is, the nearer it is to the paper's.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        k: how many of them may be on in one example.
        beta: how much a latent's effect on the loss counts beside its size in the ranking; 0 is `topk_sae`.
        aux_k: how many dead latents predict the residual; when 0, half the numbers of an example.
        aux_weight: weight of their error, as a share of the residual's variance; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this; when 0, a hundred times N / k.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> import torch
        >>> from narrows.core import Batch
        >>> model = gradient_sae((8,), latents=32, k=4)
        >>> model.encode(Batch(torch.randn(5, 8), condition={"gradients": torch.randn(5, 8)})).z.values.shape
        torch.Size([5, 4])

    Reference:
        Olmo et al., Features that Make a Difference, 2024. arXiv:2411.10397
    """
    spec = alike(as_spec(spec), "gradient-sae")
    latents = latents or default_latents(spec)
    bottleneck = InfluenceTopK(latents, k, beta)
    objective = aux_k_objective(spec, latents, k, aux_k=aux_k, weight=aux_weight, dead_after=dead_after)
    dictionary = Dictionary(latents, spec.output_shape, unit_norm=unit_norm, normalise=normalise)
    bottleneck.bind(dictionary)
    encoder = _Encoder(latents, spec.shape, centre=dictionary, normalise=normalise)
    return Autoencoder(
        encoder, bottleneck, dictionary, Squared(spec.output_shape), objective, conditions=("gradients",)
    )
