"""The variational sparse autoencoder."""

from narrows.bottlenecks.sparse.variational_topk import VariationalTopK
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import dead_latents, sized, sparse_autoencoder
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective


def vsae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    beta: Schedule = 1.0,
    sample: bool = True,
    variance: str = "fixed",
    kl: str = "all",
    rectify: bool = True,
    dead: str | DeadLatents = "none",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A TopK autoencoder whose latents are drawn around the pre-activations and priced against a standard normal.

    .. math:: z \sim \mathcal{N}(\mu, I), \quad \mu = \mathrm{ReLU}(W (x - b_d) + b_e), \qquad
        \hat x = A^\top \mathrm{TopK}(|z|) + b_d, \qquad L = \|x - \hat x\|^2 + \beta\, \tfrac12 \|\mu\|^2

    The paper's finding is negative: the pressure toward the prior kills many latents and costs fidelity. The defaults
    are what the paper describes. Its published code differs, and each difference is an option here: ``sample=False``
    draws nothing, the setting with which its results were published (there, ``var_flag=0``); ``variance="learned"``
    has a second head for log sigma^2, clamped to [-6, 2]; ``kl="selected"`` sums over the latents that pass. Its
    warm-up of the KL over a tenth of training is a schedule, such as ``beta="linear:0:1:1000"``. With ``beta=0`` and
    ``sample=False`` this is `topk_sae`, exactly.

    Args:
        beta: weight of the KL, beside a squared error summed over the example; may be a schedule.
        sample: draw latents in training; codes in use are always those of the means.
        variance: ``fixed`` at 1, or ``learned``.
        kl: the KL sums over ``all`` latents, or over the ``selected``.
        rectify: means are cut off at 0; else TopK compares them by size, and codes are signed.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> code = vsae((8,), latents=32, k=4).encode(Batch(torch.randn(5, 8)))
        >>> code.z.values.shape, code.costs["kl"].shape
        (torch.Size([5, 4]), torch.Size([5]))

    Reference:
        Baker, Li, Analysis of Variational Sparse Autoencoders, 2025. arXiv:2509.22994
    """
    spec, latents = sized(spec, "vsae", latents)
    bottleneck = VariationalTopK(
        latents, k, width=spec.size, sample=sample, variance=variance, kl=kl, rectify=rectify
    )
    revived = dead_latents(dead, latents, k, spec.size)
    objective = SparseObjective(dead=revived, weights={"kl": beta})
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
