"""The k-sparse autoencoder."""

from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec
from narrows.methods.sparse._assemble import sparse_autoencoder, spec_and_latents
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
    r"""A linear autoencoder with tied weights, in which the k largest hidden units are active.

    .. math:: h = W x + b, \qquad z = \mathrm{supp}_k(h)\ (\text{the } k \text{ largest of } h), \qquad
        \hat x = W^\top z + b'

    The loss is the squared error, with gradients to active units only. With a small k some units never become
    active; annealing helps: from `begin_k` linearly to `k` over the first `anneal` steps (in the paper over
    the first half of the training). For features alpha k units are active, with alpha from 1 to 3.

    Args:
        alpha: in ``eval()``, alpha k units are active.

    Raises:
        RequestError: an argument out of range; data with a separate target.

    Example:
        >>> model = k_sparse_ae((8,), latents=32, k=4, alpha=2).eval()
        >>> model.encode(Batch(torch.randn(5, 8))).z.values.shape
        torch.Size([5, 8])

    Reference:
        Makhzani, Frey, k-Sparse Autoencoders, 2013. arXiv:1312.5663
    """
    spec, latents = spec_and_latents(spec, "k-sparse-ae", latents)
    bottleneck = TopK(latents, k, signed=True, begin=begin_k, over=anneal, alpha=alpha)
    return sparse_autoencoder(
        spec, bottleneck, SparseObjective(), unit_norm=False, normalise=normalise, tied=True
    )
