"""The quantised autoencoder of global tokens."""

from __future__ import annotations

from narrows import likelihoods
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.grouped import GroupedQuantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import images, with_prior
from narrows.nets.logarithm import reading
from narrows.nets.unet import GlobalDecoder, GlobalEncoder
from narrows.objectives.ordered import OrderedTokens


def qg_vae(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 256,
    tokens: int = 16,
    width: int = 32,
    channels: int = 16,
    levels: int = 2,
    ordered: Schedule = 0.0,
    beta: Schedule = 0.25,
    codebook: str | Codebook = "ema",
    gradient: str = "straight-through",
    prior: str | Prior = "autoregressive",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A quantised autoencoder in which every token describes the whole image.

    .. math:: h = \mathrm{UNet}(x) \in R^{T \times H W},\quad z_t = W h_t,\quad
              q_t = \arg\min_{e \in E_t} \|z_t - e\|^2,\quad \hat x = \mathrm{UNet}'(W' q_1, \ldots, W' q_T)

    Each map h_t has the size of the image; W and W' are shared by all tokens, the codebook E_t is a token's own. With
    `ordered`, the first half of the tokens, the first quarter ... also reconstruct the image without its fine levels.

    Args:
        codes: size of each codebook, K.
        tokens: the number of tokens, T.
        width: width of a code, d.
        channels: channels of the U-Nets at full size.
        levels: halvings of the U-Nets.
        ordered: weight of the reconstructions from the first tokens, a number or a schedule; 0 for none.

    Raises:
        RequestError: an argument out of range, data that are not images, or labels that the data lack.

    Example:
        >>> model = qg_vae((1, 8, 8), codes=16, tokens=5, width=4, channels=4)
        >>> model.bottleneck.symbols.shape, model.sample(3).shape
        ((5,), torch.Size([3, 1, 8, 8]))

    Reference:
        Elsner et al., Quantised Global Autoencoder: A Holistic Approach to Representing Visual Data, 2024.
        arXiv:2407.11913
    """
    spec, width = images(as_spec(spec)), whole("width", width)
    output = likelihoods.likelihood(likelihood, spec.output_shape, spec.output_values)
    objective = Objective(weights={"commitment": beta})
    if ordered != 0:
        objective.add(OrderedTokens(ordered))
    return with_prior(
        spec,
        reading(spec, GlobalEncoder(spec.shape, tokens, width, channels, levels)),
        GroupedQuantizer(
            width, codes=codes, tokens=tokens, groups=1, books="token", codebook=codebook, gradient=gradient
        ),
        GlobalDecoder(output.parameter_shape, tokens, width, channels, levels),
        output,
        objective,
        prior,
    )
