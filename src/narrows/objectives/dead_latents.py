"""Reviving dead latents: by terms of the loss, or by reinitialisation between steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.penalised import Penalised
from narrows.core import Accumulator, Autoencoder, Batch, Part, Pass, Sparse
from narrows.core.check import number, refuse, whole
from narrows.core.evidence import Latents, Residual
from narrows.core.schedules import Schedule
from narrows.kernels.sparse import LazyLinear
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary

__all__ = ["AuxK", "DeadLatents", "Ghost", "PreAct", "Resample", "unexplained"]


class DeadLatents(Part):
    """A treatment of latents that have been idle for long.

    Calling it gives a loss term with its `name` and `weight`; its hooks may act between steps.

    Args:
        dead_after: a latent idle for more examples than this is dead.
        weight: weight of the term.
    """

    name = "dead"

    gaps: ClassVar[int] = 100
    """The default of `dead_after` in units of the mean interval between activations of a latent."""

    def __init__(self, dead_after: int, weight: Schedule = 1 / 32) -> None:
        super().__init__()
        self.dead_after, self.weight = whole("dead_after", dead_after), weight

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Require a sparse bottleneck."""
        if not isinstance(model.bottleneck, SparseBottleneck):
            raise refuse("bottleneck", type(model.bottleneck).__name__, "a sparse bottleneck", "Use TopK.")

    def metrics(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor | Accumulator]:
        """The share of dead latents, by `dead_after`."""
        assert isinstance(model.bottleneck, SparseBottleneck)
        return {"dead": (model.bottleneck.idle > self.dead_after).double().mean()}

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> Tensor | None:
        """The term: (B,) or a scalar; None if the hooks do everything.

        Args:
            model: the model.
            passed: the pass.
            residual: the residual of the reconstruction, (B, ...), detached.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def _dead(self, model: Autoencoder, passed: Pass) -> tuple[SparseBottleneck, Tensor, Tensor | None]:
        """The bottleneck, the indices of its dead latents (n,), and their pre-activations (B, n) or None."""
        bottleneck = model.bottleneck
        assert isinstance(bottleneck, SparseBottleneck)
        dead = bottleneck.dead(self.dead_after)
        if not len(dead):
            return bottleneck, dead, None
        pre = bottleneck.only(passed.features, dead)
        return bottleneck, dead, pre.dense() if isinstance(pre, LazyLinear) else pre


class AuxK(DeadLatents):
    r"""An auxiliary loss that trains dead latents to predict the residual of the active ones.

    .. math:: V \frac{\|e - \hat e\|^2}{\|e - \bar e\|^2},
        \qquad e = x - \hat x \text{ (no gradient)}, \quad \hat e = \sum_{j \in \mathrm{top}_{k'}(dead)} z_j a_j

    The residual e is predicted by k' dead latents, without the decoder's bias. As in the authors' code the
    auxiliary error is divided by the variance of the residual; V, the variance of the data, gives it the same
    scale as an error that is not normalised. It is 0 if no latent is dead.

    With lazy pre-activations only the rows of dead latents are computed.

    Args:
        k: number of dead latents that predict the residual, k'.
        dead_after: a latent idle for more examples than this is dead.
        weight: weight of the auxiliary loss.

    Raises:
        RequestError: a number out of range.

    Reference:
        Gao et al., Scaling and evaluating sparse autoencoders, 2024, section 2.4 and appendix A.2.
        arXiv:2406.04093
    """

    name = "auxk"
    smooth = False  # the residual is a detached target
    splits = ()
    variance: Tensor

    def __init__(self, *, k: int, dead_after: int, weight: Schedule = 1 / 32) -> None:
        super().__init__(dead_after, weight)
        self.k = whole("k", k)
        if isinstance(weight, (int, float)):
            number("weight", weight, low=0)
        self.register_buffer("variance", torch.ones(()))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure the variance of the targets, summed over an example."""
        super().prepare(model, batch)
        target = batch.target.flatten(1)
        self.variance.copy_((target - target.mean(0)).square().sum(1).mean())

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> Tensor:
        """V times the share of the residual (B, ...) that dead latents do not explain; 0 if none is dead."""
        bottleneck = model.bottleneck
        assert isinstance(bottleneck, SparseBottleneck)
        dead = bottleneck.revive(passed.features, self.k, self.dead_after)
        if dead is None:
            return residual.new_zeros(())
        return self.variance * unexplained(residual, model.decoder.combine(dead))  # type: ignore[operator]


class Ghost(DeadLatents):
    r"""Ghost gradients: dead latents with an exponential activation are fitted to the residual.

    .. math:: g = e^{h_{dead}} A_{dead}, \qquad
        L = c\, \Big\| \frac{\|e\|}{2 \|g\|}\, g - e \Big\|^2, \qquad e = x - \hat x \text{ (no gradient)}

    The factor that gives g half the residual's norm, and c, which makes the term as large as the squared
    error, are detached. The term is 0 if no latent is dead.

    Args:
        dead_after: a latent idle for more examples than this is dead.
        weight: weight of the term.

    Reference:
        Jermyn and Templeton, Ghost Grads: An improvement on resampling, Anthropic, Circuits Updates, January
        2024.
    """

    name = "ghost"
    smooth = False

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> Tensor:
        """The error of the fit to the residual (B, ...), scaled to the residual's mean square; a scalar."""
        _, dead, pre = self._dead(model, passed)
        if pre is None:
            return residual.new_zeros(())
        # A common factor of a row cancels, so the largest exponent is set to 0.
        on = (pre - pre.detach().amax(1, keepdim=True)).exp()
        decoder, error = model.decoder, residual.flatten(1)
        assert isinstance(decoder, Dictionary)
        ghost = on @ decoder.atoms[dead]
        length = torch.linalg.vector_norm(ghost.detach(), dim=1, keepdim=True)
        half = torch.linalg.vector_norm(error, dim=1, keepdim=True) / (2 * length.clamp_min(1e-12))
        misses = (half * ghost - error).square().sum(1).mean()
        return misses * (error.square().sum(1).mean() / misses.detach().clamp_min(1e-30))


class PreAct(DeadLatents):
    r"""A penalty on the pre-activations of dead latents below their thresholds.

    .. math:: L = u \sum_{n \in dead} \mathrm{ReLU}(\theta_n - h_n)\, \|a_n\| / g

    theta is the threshold of JumpReLU latents, 0 for others; unit and sizes are those of
    `bottlenecks.penalised`. Anthropic sums over all latents; here the sum is over the dead, as in SAELens.

    Args:
        dead_after: a latent idle for more examples than this is dead.
        weight: weight of the term.

    Reference:
        Anthropic, Circuits Updates, January 2025.
    """

    name = "preact"

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> Tensor:
        """The distances of dead latents from their thresholds, (B,)."""
        bottleneck, dead, pre = self._dead(model, passed)
        if pre is None or not isinstance(bottleneck, Penalised):
            return residual.new_zeros(())
        below = (bottleneck.floor()[dead] - pre).relu()
        return bottleneck.price(bottleneck.sizes(below, dead))


_SHARE = 0.2
"""Of the other latents' mean norm: what a resampled row of the encoder begins with."""


class Resample(DeadLatents):
    r"""Dead latents are periodically reinitialised with inputs that are reconstructed badly.

    For each dead latent an input of the step's batch is drawn with probability proportional to the square of
    its squared error :math:`\ell`, :math:`\ell^2`. Normalised to 1, it becomes the latent's atom, and at 0.2
    times the mean norm of the other rows its encoder row. The latent's bias is 0, as in the paper, or so far
    below that it is active on no larger a share of the batch than the others are on average: where biases are
    negative, a bias of 0 would make it active on half of the examples. Its state in the bottleneck and the
    optimizer's moments of these rows are reset. The input is taken in the encoder's units: scaled, and centred
    if the encoder subtracts a bias (in the paper it is not). If the target is not the input (a transcoder),
    the atom is the direction of the residual instead.

    Args:
        dead_after: a latent idle for more examples than this is dead.
        every: number of examples between two rounds; in the paper, twice `dead_after`.
        rounds: number of rounds; four in the paper.

    Raises:
        RequestError: a number out of range.

    Reference:
        Bricken et al., Towards Monosemanticity, Anthropic, 2023, appendix.
    """

    name = "resample"
    gaps = 1000  # longer, since resampling discards what a latent has learned

    def __init__(self, *, dead_after: int, every: int = 0, rounds: int = 4) -> None:
        super().__init__(dead_after)
        self.every = whole("every", every, low=0) or 2 * self.dead_after
        self.rounds = whole("rounds", rounds)
        self._step = 0

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Require an encoder and a dictionary with a row for each latent."""
        super().prepare(model, batch)
        encoder = model.encoder
        if (
            not isinstance(encoder, AffineEncoder)
            or encoder.tied
            or not isinstance(model.decoder, Dictionary)
        ):
            raise refuse(
                "dead", "resample", "another value here", "`resample` needs an untied linear encoder."
            )

    def before_step(self, step: int) -> None:
        """Store the step, which determines whether a round is due."""
        self._step = step

    def forward(self, model: Autoencoder, passed: Pass, residual: Tensor) -> None:
        """No term: `reinitialise_rows` does everything."""

    def reinitialise_rows(self, model: Autoencoder, passed: Pass) -> list[tuple[nn.Parameter, Tensor]]:
        """If a round is due, reinitialise the rows of dead latents."""
        before, after = ((self._step + n) * len(passed.batch) * _world_size() // self.every for n in (0, 1))
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
        others = torch.ones_like(bottleneck.idle, dtype=torch.bool).index_fill(0, dead, False)
        lengths = encoder.weight.norm(dim=1)
        alive = others if others.any() else ~others
        encoder.weight[dead] = _SHARE * lengths[alive].mean() * rows
        encoder.bias[dead] = 0.0
        decoder.atoms[dead] = atoms
        changed = [encoder.weight, encoder.bias, decoder.atoms, *bottleneck.reset(dead)]
        if isinstance(bottleneck, Penalised):
            encoder.bias[dead] = self._bias(model, bottleneck, passed, dead)
        return [(parameter, dead) for parameter in changed]

    @staticmethod
    def _bias(model: Autoencoder, bottleneck: Penalised, passed: Pass, dead: Tensor) -> Tensor:
        """The largest biases, at most 0, with which latents are active on the others' mean share of the batch."""
        z = passed.code[Latents].z
        on = ((z.values if isinstance(z, Sparse) else z) != 0).sum() / max(1, bottleneck.width - len(dead))
        pre = bottleneck.only(model.encoder(passed.batch.x, passed.batch.condition), dead)
        pre = pre.dense() if isinstance(pre, LazyLinear) else pre
        above = min(max(1, round(float(on))), len(pre) - 1)
        level = pre.topk(above + 1, dim=0).values[-2:].mean(0)
        return _broadcast((bottleneck.floor()[dead] - level).clamp(max=0))

    @staticmethod
    def _drawn(
        encoder: AffineEncoder, decoder: Dictionary, batch: Batch, residual: Tensor, n: int
    ) -> tuple[Tensor, Tensor]:
        """Directions for n rows of the encoder and n atoms, the same on all processes."""
        error = residual.flatten(1)
        odds = error.square().sum(1).square()
        odds = torch.where(odds.sum() > 0, odds, torch.ones_like(odds))
        chosen = torch.multinomial(odds, n, replacement=True)
        inputs = batch.x.flatten(1)[chosen] * encoder.scale
        rows = F.normalize(inputs if encoder.shift is None else inputs - encoder.shift, dim=1)
        atoms = rows if encoder.shift is not None else F.normalize(error[chosen], dim=1)
        return _broadcast(rows), _broadcast(atoms)


def _world_size() -> int:
    """The number of processes."""
    apart = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if apart else 1


def _broadcast(value: Tensor) -> Tensor:
    """The value of the first process."""
    if _world_size() > 1:
        value = value.clone()
        torch.distributed.broadcast(value, 0)
    return value


def unexplained(x: Tensor, x_hat: Tensor) -> Tensor:
    r"""The squared error as a share of the batch's variance, :math:`\|x - \hat x\|^2 / \|x - \bar x\|^2`.

    0 if the batch has no variance, such as a single example.

    Args:
        x: what is predicted, (B, ...).
        x_hat: the prediction, of the same shape.

    Example:
        >>> unexplained(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]]))
        tensor(0.5000)
    """
    error, varies = (x - x_hat).square().sum(), (x - x.mean(0)).square().sum()
    return torch.where(varies > 0, error / varies.clamp_min(torch.finfo(x.dtype).tiny), 0.0)
