"""The hierarchical refinement quantised autoencoder."""

from narrows.bottlenecks.discrete.hierarchical import HierarchicalQuantizer
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import token_autoencoder
from narrows.nets.kinds import Net


def hrq_vae(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 16,
    depth: int = 3,
    width: int = 32,
    downsample: int = 4,
    kept: float = 0.7,
    first: bool = True,
    shrink: float = 0.5,
    temperature: float = 2.0,
    over: float = 1e4,
    kl: Schedule = 0.0,
    prior: str | Prior = "rq-transformer",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An HRQ-VAE: tokens are paths of codes from coarse to fine, and the decoder reads any first part of a path.

    .. math:: -\log p(x \mid \hat z) + w \sum_d \mathrm{KL}(q_d \| p_d),\qquad
              \hat z = \sum_d \beta_d\, e_d(k_d),\quad
              q(k_d = k) \propto \exp(-\|r_{d-1} - e_d(k)\|^2),\quad r_d = r_{d-1} - e_d(k_d)

    Codes are drawn by the Gumbel-softmax, and the depths after the first are dropped at random. The paper's first two
    settings, a sentence as one vector and a decoder of text, are not part of it: any data with a grid of tokens are
    read.

    Args:
        codes: the number of codes at each depth, K.
        depth: number of codes of a token, D.
        width: width of a code, d.
        kept: the probability that a depth is kept, given the one before it; 1 for no depth dropout.
        first: always keep the first depth; the authors may drop it too.
        shrink: ratio of the first lengths of the codes of a depth and of the one above it.
        temperature: of the Gumbel-softmax at the first step; it falls to half of that.
        over: number of steps over which the temperature falls.
        kl: w, the weight of the KL divergence from a learned prior of each depth; 0 for no such prior.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = hrq_vae((1, 8, 8), codes=8, width=4)
        >>> model.bottleneck.symbols.shape, model.sample(3).shape
        ((4, 3), torch.Size([3, 1, 8, 8]))

    Reference:
        Hosking, Tang, Lapata, Hierarchical Sketch Induction for Paraphrase Generation, 2022. arXiv:2203.03463
    """

    def quantizer(tokens: int) -> Quantizer:
        return HierarchicalQuantizer(
            width,
            codes=codes,
            tokens=tokens,
            depth=depth,
            kept=kept,
            first=first,
            shrink=shrink,
            temperature=temperature,
            over=over,
            kl=kl != 0,
        )

    spec, objective = as_spec(spec), Objective(weights={"prior_kl": kl})
    return token_autoencoder(
        spec, quantizer, objective, width, downsample, prior=prior, net=net, likelihood=likelihood
    )
