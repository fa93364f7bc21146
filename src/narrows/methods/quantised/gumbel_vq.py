"""The discrete VAE with a relaxed categorical distribution over codes."""

from narrows.bottlenecks.discrete.gumbel import GumbelQuantizer
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import token_autoencoder
from narrows.nets.kinds import Net


def gumbel_vq(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 512,
    width: int = 32,
    downsample: int = 4,
    temperature: Schedule = "cosine:1:0.0625:2000",
    kl: Schedule = 0.1,
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A grid of categorical variables over K codes, relaxed by Gumbel-softmax in training.

    .. math:: E_{y}[-\log p(x \mid E^\top y)] + \beta \sum_l \mathrm{KL}(\pi_l \,\|\, \mathrm{uniform}),\qquad
              y_l = \mathrm{softmax}((\log \pi_l + g) / \tau)

    The temperature falls during training, so that the weights of the codes approach one-hot vectors, which the prior
    and `eval()` use. The paper's weight of the divergence rises to 6.6, with larger images.

    Args:
        codes: size of the codebook, K.
        width: width of a code, d.
        temperature: tau, a number or a schedule.
        kl: beta, weight of the divergence from the uniform distribution, a number or a schedule.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = gumbel_vq((1, 8, 8), codes=16, width=4)
        >>> model.sample(3).shape, len(model.stages())
        (torch.Size([3, 1, 8, 8]), 2)

    Reference:
        Ramesh et al., Zero-Shot Text-to-Image Generation, 2021, section 2.1. arXiv:2102.12092
    """

    def quantizer(tokens: int) -> Quantizer:
        return GumbelQuantizer(width, codes=codes, tokens=tokens, temperature=temperature)

    objective = Objective(weights={"kl": kl})
    return token_autoencoder(
        as_spec(spec), quantizer, objective, width, downsample, prior=prior, net=net, likelihood=likelihood
    )
