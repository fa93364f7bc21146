"""The variational sparse autoencoder."""

from narrows.bottlenecks.sparse.variational_topk import VariationalTopK
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import dead_latents, sparse_autoencoder, spec_and_latents
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
    r"""A TopK autoencoder with Gaussian latents and a KL divergence from a standard normal prior.

    .. math:: z \sim \mathcal{N}(\mu, I), \quad \mu = \mathrm{ReLU}(W (x - b_d) + b_e), \qquad
        \hat x = A^\top \mathrm{TopK}(|z|) + b_d, \qquad L = \|x - \hat x\|^2 + \beta\, \tfrac12 \|\mu\|^2

    The paper's finding is negative: the pressure toward the prior kills many latents and costs fidelity. The
    defaults are what the paper describes. Its released code differs, and each difference is an option here:
    ``sample=False`` does not draw, the setting of its published results (there, ``var_flag=0``);
    ``variance="learned"`` has a second head for log sigma^2, clamped to [-6, 2]; ``kl="selected"`` sums over
    the active latents. Its warm-up of the KL over a tenth of training is a schedule, such as
    ``beta="linear:0:1:1000"``. With ``beta=0`` and ``sample=False`` this is exactly `topk_sae`.

    Args:
        beta: weight of the KL divergence, relative to a squared error summed over the example; may be a
            schedule.
        sample: draw latents in training; in ``eval()`` codes are those of the means.
        variance: ``fixed`` at 1, or ``learned``.
        kl: sum the KL over ``all`` latents, or over the ``selected`` ones.
        rectify: apply a ReLU to the means; else TopK selects by magnitude, and codes are signed.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> code = vsae((8,), latents=32, k=4).encode(Batch(torch.randn(5, 8)))
        >>> code.z.values.shape, code.costs["kl"].shape
        (torch.Size([5, 4]), torch.Size([5]))

    Reference:
        Baker, Li, Analysis of Variational Sparse Autoencoders, 2025. arXiv:2509.22994
    """
    spec, latents = spec_and_latents(spec, "vsae", latents)
    bottleneck = VariationalTopK(
        latents, k, width=spec.size, sample=sample, variance=variance, kl=kl, rectify=rectify
    )
    revived = dead_latents(dead, latents, k, spec.size)
    objective = SparseObjective(dead=revived, weights={"kl": beta})
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
