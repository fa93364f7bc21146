"""VAEAC: a VAE of any cells of a row, or pixels of an image, given any others."""

from narrows.bottlenecks.masked.hiding import Hiding
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import refuse
from narrows.likelihoods.columns.head import Head
from narrows.methods.tabular._assemble import any_conditional_images, any_conditional_table
from narrows.nets.kinds import Net


def vaeac(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    skip: int = 64,
    hide: str | Hiding = "auto",
    numbers: str | Head = "logistic",
    counts: str | Head = "negative-binomial",
    net: str | Net = "auto",
) -> Autoencoder:
    r"""VAEAC: a VAE of hidden cells or pixels x_b given the others, for any b.

    .. math:: \log p(x_b | x_{1-b}, b) \ge E_{q(z|x,b)}[\log p(x_b | z, x_{1-b}, b)]
              - \mathrm{KL}(q(z|x,b) \,\|\, p(z|x_{1-b},b))

    `narrows impute` draws codes from the prior given the observed values, without importance weights. `narrows score`
    and the audit hide everything: log p(x), as of a VAE. Of images the decoder is a U-Net, which reads what is visible
    beside maps that are made of z; the likelihood is that of other methods for images.

    Args:
        skip: width of the prior's hidden layer, which the decoder reads, too.
        hide: what is hidden in training: cells or pixels at random, rectangles, or blobs (patterns).

    Raises:
        RequestError: an argument out of range, or neither a table nor images.

    Example:
        >>> vaeac(Spec((2,), kind="table", parts={"a": Spec(()), "b": Spec((), "binary")})).sample(5).shape
        torch.Size([5, 2])
        >>> vaeac((1, 8, 8), hide="rectangles:low=0.5").sample(5).shape
        torch.Size([5, 1, 8, 8])

    Reference:
        Ivanov, Figurnov and Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019. arXiv:1806.02382
    """
    spec = as_spec(spec, "table", "array")
    if spec.kind == "table" or len(spec.shape) != 3:
        return any_conditional_table(as_spec(spec, "table"), latent, skip, hide, numbers, counts, net)
    for name, head, usual in (("numbers", numbers, "logistic"), ("counts", counts, "negative-binomial")):
        if head != usual:
            raise refuse(name, head, "left out for images, which have no columns")
    return any_conditional_images(spec, latent, skip, hide, net)
