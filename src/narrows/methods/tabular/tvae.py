"""TVAE: a VAE of tables whose numbers are modes of their columns and places within them."""

from narrows.bottlenecks.gaussian.diagonal import Gaussian
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import whole
from narrows.likelihoods.table import MixedTable
from narrows.methods.tabular._assemble import TransformedEncoder
from narrows.nets.build import net_for
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def tvae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 128,
    modes: int = 10,
    reconstruction: float = 2.0,
    net: str | Net = "mlp:128,128",
) -> Autoencoder:
    r"""TVAE: a VAE of the transformed table, for new rows: `narrows sample RUN -n 1000 --out new.csv`.

    .. math:: \min\; -2\, E_q[\log p(k, a, c \mid z)] + \mathrm{KL}(q(z|x) \,\|\, N(0, I)),\qquad
              a_d = \frac{x_d - m_k}{4 s_k}

    Each number is the mode k of its column, of at most ten normal distributions that are fitted to it, and a place a
    within the mode, normal around a tanh; levels c are one-hot. Nats are of (k, a, c), not of the table, and are
    not comparable with those of other methods. Here a cell has its most probable mode, missing cells are read, and new
    rows are drawn from all distributions (the authors' code takes the most probable levels).

    Args:
        modes: the largest number of modes of a column.
        reconstruction: weight of the first term.

    Raises:
        RequestError: an argument out of range, or data that are not a table.

    Example:
        >>> tvae(Spec((2,), kind="table", parts={"a": Spec(()), "b": Spec((), "binary")}), latent=2).sample(5).shape
        torch.Size([5, 2])

    Reference:
        Xu, Skoularidou, Cuesta-Infante and Veeramachaneni, Modeling Tabular Data using Conditional GAN, 2019.
        arXiv:1907.00503
    """
    spec, width = as_spec(spec, "table"), whole("latent", latent)
    text = f"modes:modes={whole('modes', modes)}"
    likelihood = MixedTable(spec, text, text, text)
    nets = net_for(net, likelihood.parameter_shape)
    encoder = TransformedEncoder(likelihood, lambda inputs: nets.encoder((inputs,), 2 * width))
    decoder = nets.decoder(width, likelihood.parameter_shape)
    return Autoencoder(encoder, Gaussian(width), decoder, likelihood, Elbo(alpha=reconstruction))
