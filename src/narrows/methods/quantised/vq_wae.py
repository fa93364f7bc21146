"""The vector-quantised Wasserstein autoencoder."""

from narrows.bottlenecks.discrete.codebooks.weighted import WeightedCodebook
from narrows.core import Autoencoder, Likelihood, Prior, Spec
from narrows.core.schedules import Schedule
from narrows.methods.quantised._assemble import vq_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.transport import CodeTransport


def vq_wae(
    spec: Spec | tuple[int, ...],
    *,
    codes: int = 512,
    width: int = 32,
    downsample: int = 4,
    transport: Schedule = 0.25,
    even: Schedule = 1.0,
    smoothing: float = 0.05,
    rounds: int = 30,
    tokens: int = 512,
    gradient: str = "straight-through",
    prior: str | Prior = "autoregressive",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VQ-WAE: a VQ-VAE whose tokens are transported to codes with learned masses.

    .. math:: E[-\log p(x \mid z_q)]
              + \lambda L\, W\Big(\tfrac1N \textstyle\sum_i \delta_{x_i}, \sum_k \pi_k \delta_{e_k}\Big)
              + \lambda_r\, \mathrm{KL}(\pi \,\|\, \tfrac1K)

    W is the optimal transport with squared distances between the N tokens of a batch and the K codes e; it replaces
    the commitment and the cost of the codes. Every code receives mass from tokens, so none is unused for long. It
    is computed by Sinkhorn's iterations, with some entropy; the authors' code estimates the dual with a network.
    All positions of the grid share codes and masses.

    Args:
        codes: size of the codebook, K.
        width: width of a code, d.
        transport: lambda, the weight of the transport of a token, a number or a schedule.
        even: lambda_r, the weight of the divergence of the masses from even ones, a number or a schedule.
        smoothing: entropy of the transport, as a share of the mean squared distance.
        rounds: rounds of Sinkhorn's iterations.
        tokens: at most so many tokens of a batch are transported, chosen at random; all if 0.

    Raises:
        RequestError: an argument out of range, or a prior on labels that the data do not have.

    Example:
        >>> model = vq_wae((1, 8, 8), codes=16, width=4)
        >>> sorted(model.loss(Batch(torch.rand(5, 1, 8, 8))).terms)
        ['distortion', 'masses', 'transport']

    Reference:
        Vuong et al., Vector Quantized Wasserstein Auto-Encoder, 2023. arXiv:2302.05917
    """
    return vq_autoencoder(
        spec,
        CodeTransport(transport, even, smoothing=smoothing, rounds=rounds, tokens=tokens),
        codes=codes,
        width=width,
        downsample=downsample,
        codebook=WeightedCodebook(codes, width),
        gradient=gradient,
        prior=prior,
        net=net,
        likelihood=likelihood,
    )
