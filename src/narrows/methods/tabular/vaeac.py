"""VAEAC: a VAE of any cells of a row given any others."""

from functools import partial

from torch import nn

from narrows.bottlenecks.masked.any_conditional import AnyConditional
from narrows.core import Autoencoder, Spec, as_spec
from narrows.likelihoods.columns.head import Head
from narrows.likelihoods.table import MixedTable
from narrows.methods.tabular._assemble import AnyConditionalAutoencoder
from narrows.nets.build import code_width, net_for
from narrows.nets.kinds import Net
from narrows.nets.table import TableEncoder
from narrows.objectives.elbo import Elbo


def vaeac(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    skip: int = 64,
    low: float = 0.2,
    high: float = 1.0,
    numbers: str | Head = "logistic",
    counts: str | Head = "negative-binomial",
    net: str | Net = "auto",
) -> Autoencoder:
    r"""VAEAC: a VAE of hidden cells x_b given the others, for any b.

    .. math:: \log p(x_b | x_{1-b}, b) \ge E_{q(z|x,b)}[\log p(x_b | z, x_{1-b}, b)]
              - \mathrm{KL}(q(z|x,b) \,\|\, p(z|x_{1-b},b))

    `narrows impute` draws codes from the prior given the observed cells, without importance weights. `narrows score`
    and the audit hide all cells: log p(x), as of a VAE.

    Args:
        skip: width of the prior's hidden layer, which the decoder reads, too.
        low: the least share of the cells of a row that is hidden in training.
        high: the largest; the paper hides fixed shares, here it is uniform in between.

    Raises:
        RequestError: an argument out of range, or no table.

    Example:
        >>> vaeac(Spec((2,), kind="table", parts={"a": Spec(()), "b": Spec((), "binary")})).sample(5).shape
        torch.Size([5, 2])

    Reference:
        Ivanov, Figurnov and Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019. arXiv:1806.02382
    """
    spec = as_spec(spec, "table")
    likelihood, encoder = MixedTable(spec, numbers, counts), TableEncoder(spec, lambda _: nn.Identity())
    shape, nets = likelihood.parameter_shape, net_for(net, likelihood.parameter_shape)
    width = code_width(latent, (likelihood.columns.width,))
    inner = partial(AnyConditional, skip=skip, low=low, high=high)
    bottleneck = inner(width, encoder.owner, lambda n, out: nets.encoder((n,), out))
    decoder = nets.decoder(bottleneck.width, shape)
    return AnyConditionalAutoencoder(encoder, bottleneck, decoder, likelihood, Elbo())
