"""Index backpropagation quantisation."""

from narrows.bottlenecks.discrete.index import IndexQuantizer
from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.core import Autoencoder, Likelihood, Objective, Prior, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import token_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.diversity import CodeDiversity


def ibq(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 1024,
    width: int = 32,
    downsample: int = 4,
    beta: Schedule = 0.00625,
    follow: Schedule = 0.025,
    index: Schedule = 0.025,
    entropy: Schedule = 0.04,
    diversity: Schedule = 0.04,
    temperature: float = 0.01,
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A grid of tokens, each replaced by the code of largest inner product, whose gradient reaches all codes.

    .. math:: p = \mathrm{softmax}(E z),\qquad q = E^\top (\mathrm{onehot}(\arg\max p) + p - \mathrm{sg}(p))

    .. math:: -\log p(x \mid q) + w_0 \|\mathrm{sg}(z) - e\|^2 + \beta \|z - \mathrm{sg}(e)\|^2 + w \|q - z\|^2
              + w_1 \sum_l H(p_l) - w_2 L\, H(E[p])

    Beside the losses of a VQ-VAE, a term pulls the mean code, and two entropies reward tokens whose code is certain
    while all codes are in use. The paper also has a perceptual and an adversarial loss.

    Published code takes means over numbers and tokens, where these are sums: its entropies weigh 0.05 d w, as the
    defaults do at d = 32. If they weigh less, or the temperature is 1, all tokens take few codes. It gives a quarter of
    w to the distance of the codes and w to the commitment (``beta=0.025, follow=0.00625``); the defaults exchange the
    two, as in a VQ-VAE.

    Args:
        codes: size of the codebook, K.
        width: width of a code, d.
        follow: w_0, weight of the distance by which codes follow their tokens, a number or a schedule.
        index: w, weight of the distance of the mean code, a number or a schedule.
        entropy: weight of the entropy of the tokens' codes, a number or a schedule.
        diversity: weight of the entropy of their mean, a number or a schedule.
        temperature: of the probabilities in the two entropies, as in published code.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = ibq((1, 8, 8), codes=16, width=4)
        >>> model.sample(3).shape, len(model.stages())
        (torch.Size([3, 1, 8, 8]), 2)

    Reference:
        Shi et al., Scalable Image Tokenization with Index Backpropagation Quantization, 2024. arXiv:2412.02692
    """

    def quantizer(tokens: int) -> Quantizer:
        return IndexQuantizer(width, codes=codes, tokens=tokens, temperature=temperature)

    weights = {"commitment": beta, "codebook": follow, "index": index, "entropy": entropy}
    objective = Objective(weights=weights)
    objective.add(CodeDiversity(diversity))
    return token_autoencoder(
        as_spec(spec), quantizer, objective, width, downsample, prior=prior, net=net, likelihood=likelihood
    )
