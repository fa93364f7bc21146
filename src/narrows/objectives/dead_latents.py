"""Bringing dead latents back: terms of a loss, or surgery between steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.penalised import Penalised
from narrows.core import Accumulator, Autoencoder, Batch, Part, Pass
from narrows.core.check import number, refuse, whole
from narrows.core.evidence import Residual
from narrows.core.schedules import Schedule
from narrows.kernels.sparse import LazyLinear
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary

__all__ = ["AuxK", "DeadLatents", "Ghost", "PreAct", "Resample", "unexplained"]


class DeadLatents(Part):
    """What is done for latents that have been idle for long.

    Called in the loss, it gives a term by its `name`, weighted by `weight`; its hooks may do the rest.

    Args:
        dead_after: a latent that is idle for more examples than this is dead.
        weight: of the term.
    """

    name = "dead"

    gaps: ClassVar[int] = 100
    """What suits `dead_after`: so many of the mean gap between two firings of a latent in fair use."""

    def __init__(self, dead_after: int, weight: Schedule = 1 / 32) -> None:
        super().__init__()
        self.dead_after, self.weight = whole("dead_after", dead_after), weight

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Only sparse latents can be revived."""
        if not isinstance(model.bottleneck, SparseBottleneck):
            raise refuse("bottleneck", type(model.bottleneck).__name__, "one of sparse latents", "Use TopK.")

    def metrics(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor | Accumulator]:
        """The share of latents that are dead by what is waited for here."""
        assert isinstance(model.bottleneck, SparseBottleneck)
        return {"dead": (model.bottleneck.idle > self.dead_after).double().mean()}

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> Tensor | None:
        """The term: (B,) or a scalar; None where all is done in the hooks.

        Args:
            model: the whole.
            passed: what was encoded and decoded.
            residual: what the code left out, (B, ...), without gradient.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def _dead(self, model: Autoencoder, passed: Pass) -> tuple[SparseBottleneck, Tensor, Tensor | None]:
        """The bottleneck, the numbers of its dead latents (n,), and their pre-activations (B, n) where any are."""
        bottleneck = model.bottleneck
        assert isinstance(bottleneck, SparseBottleneck)
        dead = bottleneck.dead(self.dead_after)
        if not len(dead):
            return bottleneck, dead, None
        pre = bottleneck.only(passed.features, dead)
        return bottleneck, dead, pre.dense() if isinstance(pre, LazyLinear) else pre


class AuxK(DeadLatents):
    r"""An auxiliary loss by which dead latents learn what the living ones leave out.

    .. math:: V \frac{\|e - \hat e\|^2}{\|e - \bar e\|^2},
        \qquad e = x - \hat x \text{ (no gradient)}, \quad \hat e = \sum_{j \in \mathrm{top}_{k'}(dead)} z_j a_j

    The residual e is predicted by the k' best of the latents that have been idle for long, without the decoder's
    bias. As in the authors' code the auxiliary error is a share of the residual's variance; V, the variance of the
    data, makes it weigh the same against an error that is not normalised. It is 0 while no latent is dead.

    Of a lazy linear map only the rows of the dead are computed.

    Args:
        k: how many dead latents predict the residual, k'.
        dead_after: a latent that is idle for more examples than this is dead.
        weight: of the auxiliary loss.

    Raises:
        RequestError: a number out of range.

    Reference:
        Gao et al., Scaling and evaluating sparse autoencoders, 2024, section 2.4 and appendix A.2. arXiv:2406.04093
    """

    name = "auxk"
    smooth = False  # the residual is a target, and passes no gradient
    splits = ()
    variance: Tensor

    def __init__(self, *, k: int, dead_after: int, weight: Schedule = 1 / 32) -> None:
        super().__init__(dead_after, weight)
        self.k = whole("k", k)
        if isinstance(weight, (int, float)):
            number("weight", weight, low=0)
        self.register_buffer("variance", torch.ones(()))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure the variance of what must be produced, summed over an example."""
        super().prepare(model, batch)
        target = batch.target.flatten(1)
        self.variance.copy_((target - target.mean(0)).square().sum(1).mean())

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> Tensor:
        """V times the share of the residual (B, ...) that dead latents leave unexplained; 0 where none is dead."""
        bottleneck = model.bottleneck
        assert isinstance(bottleneck, SparseBottleneck)
        dead = bottleneck.revive(passed.features, self.k, self.dead_after)
        if dead is None:
            return residual.new_zeros(())
        return self.variance * unexplained(residual, model.decoder.combine(dead))  # type: ignore[operator]


class Ghost(DeadLatents):
    r"""Ghost gradients: what the dead would add if they were on is fitted to what the living leave out.

    .. math:: g = e^{h_{dead}} A_{dead}, \qquad
        L = c\, \Big\| \frac{\|e\|}{2 \|g\|}\, g - e \Big\|^2, \qquad e = x - \hat x \text{ (no gradient)}

    The factor that gives g half the residual's length, and c, by which the term is as large as the squared error,
    pass no gradient. The term is 0 while no latent is dead.

    Args:
        dead_after: a latent that is idle for more examples than this is dead.
        weight: of the term.

    Reference:
        Jermyn and Templeton, Ghost Grads: An improvement on resampling, Anthropic, Circuits Updates, January 2024.
    """

    name = "ghost"
    smooth = False

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> Tensor:
        """The fit of the dead to the residual (B, ...), as large as the residual's mean square; a scalar."""
        _, dead, pre = self._dead(model, passed)
        if pre is None:
            return residual.new_zeros(())
        # A factor that the whole row shares cancels, so that the largest exponent may be 0.
        on = (pre - pre.detach().amax(1, keepdim=True)).exp()
        decoder, error = model.decoder, residual.flatten(1)
        assert isinstance(decoder, Dictionary)
        ghost = on @ decoder.atoms[dead]
        length = torch.linalg.vector_norm(ghost.detach(), dim=1, keepdim=True)
        half = torch.linalg.vector_norm(error, dim=1, keepdim=True) / (2 * length.clamp_min(1e-12))
        misses = (half * ghost - error).square().sum(1).mean()
        return misses * (error.square().sum(1).mean() / misses.detach().clamp_min(1e-30))


class PreAct(DeadLatents):
    r"""A pull on dead latents, up to where they would be on.

    .. math:: L = u \sum_{n \in dead} \mathrm{ReLU}(\theta_n - h_n)\, \|a_n\| / g

    theta is the threshold of JumpReLU latents, 0 for others; unit and size are those of `bottlenecks.priced`.
    Anthropic sums over all latents; this is over the dead, as in SAELens.

    Args:
        dead_after: a latent that is idle for more examples than this is dead.
        weight: of the term.

    Reference:
        Anthropic, Circuits Updates, January 2025.
    """

    name = "preact"

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> Tensor:
        """How far below their thresholds the dead are, (B,)."""
        bottleneck, dead, pre = self._dead(model, passed)
        if pre is None or not isinstance(bottleneck, Penalised):
            return residual.new_zeros(())
        below = (bottleneck.floor()[dead] - pre).relu()
        return bottleneck.price(bottleneck.sizes(below, dead))


class Resample(DeadLatents):
    r"""Dead latents begin anew, now and then, at inputs that are reconstructed badly.

    An input of the step's batch is drawn for each dead latent with a probability that grows with its squared error
    :math:`\ell`, as :math:`\ell^2`. It becomes the latent's atom at length 1, and its encoder row at 0.2 times the
    mean length of the living rows; the latent's bias becomes 0, what the bottleneck keeps of it starts again, and
    the optimizer forgets the momentum of these rows. The input is taken as the encoder sees it: scaled, and centred
    where it subtracts a bias (the paper's is as it is). Where what must be produced is another thing than the input
    (a transcoder), the atom points at what the code left out instead.

    Args:
        dead_after: a latent that is idle for more examples than this is dead.
        every: examples between two rounds; in the paper, twice `dead_after`.
        rounds: how many rounds there are; the paper has four.

    Raises:
        RequestError: a number out of range.

    Reference:
        Bricken et al., Towards Monosemanticity, Anthropic, 2023, appendix.
    """

    name = "resample"
    gaps = 1000  # it is drastic

    def __init__(self, *, dead_after: int, every: int = 0, rounds: int = 4) -> None:
        super().__init__(dead_after)
        self.every = whole("every", every, low=0) or 2 * self.dead_after
        self.rounds = whole("rounds", rounds)
        self._step = 0

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Only latents with rows of their own, in the encoder and in the dictionary, begin anew."""
        super().prepare(model, batch)
        encoder = model.encoder
        if (
            not isinstance(encoder, AffineEncoder)
            or encoder.tied
            or not isinstance(model.decoder, Dictionary)
        ):
            raise refuse(
                "dead", "resample", "another way here", "`resample` needs an encoder with rows of its own."
            )

    def before_step(self, step: int) -> None:
        """Remember the step, from which follows whether a round is due."""
        self._step = step

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> None:
        """No term: all is done in `reinitialise_rows`."""

    def reinitialise_rows(self, model: Autoencoder, passed: Pass) -> list[tuple[nn.Parameter, Tensor]]:
        """Where a round is due, give the dead new rows."""
        before, after = ((self._step + n) * len(passed.batch) * _processes() // self.every for n in (0, 1))
        if after == before or before >= self.rounds:
            return []
        bottleneck, encoder, decoder = model.bottleneck, model.encoder, model.decoder
        assert isinstance(bottleneck, SparseBottleneck)
        assert isinstance(encoder, AffineEncoder)
        assert isinstance(decoder, Dictionary)
        dead = bottleneck.dead(self.dead_after)
        if not len(dead) or encoder.weight is None:
            return []
        rows, atoms = self._drawn(encoder, decoder, passed.batch, passed.code[Residual].value, len(dead))
        living = torch.ones_like(bottleneck.idle, dtype=torch.bool).index_fill(0, dead, False)
        lengths = encoder.weight.norm(dim=1)
        length = lengths[living].mean() if living.any() else lengths.mean()
        encoder.weight[dead] = 0.2 * length * rows
        encoder.bias[dead] = 0
        decoder.atoms[dead] = atoms
        touched = [encoder.weight, encoder.bias, decoder.atoms, *bottleneck.reset(dead)]
        return [(parameter, dead) for parameter in touched]

    @staticmethod
    def _drawn(
        encoder: AffineEncoder, decoder: Dictionary, batch: Batch, residual: Tensor, n: int
    ) -> tuple[Tensor, Tensor]:
        """Directions for n rows of the encoder and n atoms, alike on all processes."""
        error = residual.flatten(1)
        odds = error.square().sum(1).square()
        odds = torch.where(odds.sum() > 0, odds, torch.ones_like(odds))
        chosen = torch.multinomial(odds, n, replacement=True)
        seen = batch.x.flatten(1)[chosen] * encoder.scale
        rows = F.normalize(seen if encoder.shift is None else seen - encoder.shift, dim=1)
        atoms = rows if encoder.shift is not None else F.normalize(error[chosen], dim=1)
        return _of_the_first(rows), _of_the_first(atoms)


def _processes() -> int:
    """How many processes train."""
    apart = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if apart else 1


def _of_the_first(value: Tensor) -> Tensor:
    """The value that the first of all processes has."""
    if _processes() > 1:
        value = value.clone()
        torch.distributed.broadcast(value, 0)
    return value


def unexplained(x: Tensor, x_hat: Tensor) -> Tensor:
    r"""The squared error as a share of the batch's variance, :math:`\|x - \hat x\|^2 / \|x - \bar x\|^2`.

    0 where the batch does not vary (one example has no variance).

    Args:
        x: what is predicted, (B, ...).
        x_hat: the prediction, of the same shape.

    Example:
        >>> unexplained(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]]))
        tensor(0.5000)
    """
    error, varies = (x - x_hat).square().sum(), (x - x.mean(0)).square().sum()
    return torch.where(varies > 0, error / varies.clamp_min(torch.finfo(x.dtype).tiny), 0.0)
