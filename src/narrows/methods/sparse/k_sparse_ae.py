"""The k-sparse autoencoder."""

from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import sized, sparse_autoencoder
from narrows.objectives.sparse import SparseObjective


def k_sparse_ae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    begin_k: int = 0,
    anneal: int = 0,
    alpha: float = 1.0,
    normalise: bool = True,
) -> Autoencoder:
    r"""A linear autoencoder with one matrix, of which the k largest hidden units pass.

    .. math:: h = W x + b, \qquad z = \mathrm{supp}_k(h)\ (\text{the } k \text{ largest of } h), \qquad
        \hat x = W^\top z + b'

    Only the squared error is trained, and only the winners get gradients. With a small k some units never win; the
    remedy is to let k fall: `begin_k` at first, in a straight line to `k` over the first `anneal` steps (the paper:
    over the first half of the training). For features alpha k units pass, with alpha from 1 to 3.

    Args:
        alpha: outside training, alpha k pass.

    Raises:
        RequestError: an argument out of range; data with a target of their own.

    Example:
        >>> model = k_sparse_ae((8,), latents=32, k=4, alpha=2).eval()
        >>> model.encode(Batch(torch.randn(5, 8))).z.values.shape
        torch.Size([5, 8])

    Reference:
        Makhzani, Frey, k-Sparse Autoencoders, 2013. arXiv:1312.5663
    """
    spec, latents = sized(spec, "k-sparse-ae", latents)
    bottleneck = TopK(latents, k, signed=True, begin=begin_k, over=anneal, alpha=alpha)
    return sparse_autoencoder(
        spec, bottleneck, SparseObjective(), unit_norm=False, normalise=normalise, tied=True
    )
