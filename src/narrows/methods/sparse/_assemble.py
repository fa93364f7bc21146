"""Common parts of sparse autoencoders: sizes, penalties, dead latents, and the model."""

from __future__ import annotations

import math
from typing import Any, cast

from torch import nn

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Autoencoder, Objective, Spec, as_spec
from narrows.core.check import RequestError, choice, refuse
from narrows.core.schedules import Schedule
from narrows.likelihoods import Squared
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary
from narrows.nets.dictionaries.token_norm import TOKEN_NORMS
from narrows.objectives import DEAD, TARGETS
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.target import Target, TargetL0

__all__ = [
    "assemble",
    "dead_latents",
    "default_latents",
    "learning_rate",
    "penalised_terms",
    "penalty_terms",
    "sparse_autoencoder",
    "spec_and_latents",
    "without_penalty",
    "without_target",
]

_DEFAULT_L0 = 16

_UNHURRIED = 2500
"""The least default of `dead_after`, in mean intervals between activations, if a code has as many active latents as
an example has numbers. The error is small there, and terms that are relative to it are large: they would take over
latents that are rare, not dead."""


def without_target(spec: Spec | tuple[int, ...], method: str) -> Spec:
    """The spec of data, checked to have no separate target.

    Raises:
        RequestError: the data have a target.

    Example:
        >>> without_target((8,), "mp-sae").shape
        (8,)
    """
    spec = as_spec(spec)
    if spec.target is not None:
        raise RequestError(
            f"`{method}` reconstructs its input, but these data have a separate target. Fit `transcoder` (for several "
            "layers, `cross-layer-transcoder`) to predict the target, or open the data without it."
        )
    return spec


def spec_and_latents(spec: Spec | tuple[int, ...], method: str, latents: int) -> tuple[Spec, int]:
    """The spec of data without a target, and the number of latents: as given, or the default."""
    spec = without_target(spec, method)
    return spec, default_latents(latents, spec.size)


def default_latents(latents: int, numbers: int) -> int:
    """The number of latents: as given, or eight for each number of an example, at most 16384."""
    return latents or min(8 * numbers, 16_384)


def dead_latents(
    dead: str | DeadLatents,
    latents: int,
    budget: float,
    numbers: int,
    *,
    auto: str = "auxk",
    gaps: int = 0,
    **suited: float,
) -> DeadLatents | None:
    """The treatment of dead latents, with defaults that depend on the sizes.

    Args:
        dead: a text of `DEAD`, or the treatment itself.
        latents: number of latents, N.
        budget: approximate number of active latents of an example.
        numbers: numbers of an example (of a layer of it); half as many dead latents predict the residual.
        auto: the meaning of ``auto`` for this method.
        gaps: `dead_after` in units of the mean interval between activations of a latent, N / budget; the
            default of the treatment if 0, and at least 2500 if the budget is not below `numbers`.
        suited: defaults of the method for further options of the treatment.

    Raises:
        RequestError: an unknown treatment or option, or a number out of range.
    """
    if not isinstance(dead, str):
        return DEAD.checked(dead)
    spelled = DEAD.read(auto if dead == "auto" else dead)
    if spelled.name == "none":
        return None
    gap = -(-latents // max(budget, 1e-3))
    kind = cast("type[DeadLatents]", DEAD.constructor(spelled.name))
    least = _UNHURRIED if budget >= numbers else 0
    after = int((gaps or max(kind.gaps, least)) * gap)
    sizes = {"latents": latents, "budget": budget, "k": max(1, numbers // 2)}
    made = spelled.make(**sizes, dead_after=after, window=after, **suited)
    return None if made.weight == 0 else made


def penalty_terms(cost: str, weight: Schedule, target: str | Target, rows: int = 1) -> dict[str, Any]:
    """The arguments of an objective with one penalty: its weight, or what adapts it.

    Args:
        cost: name of the penalised cost.
        weight: its weight, if it is not adapted.
        target: a text of `TARGETS`, or the target itself.
        rows: number of rows of an example with codes of their own; a target for L0 is per row.
    """
    if TARGETS.word(target):
        return {"weights": {cost: weight}}
    return {"target": TARGETS.make(target, cost=cost, rows=rows)}


def without_penalty(target: str | Target) -> dict[str, Any]:
    """The arguments of an objective without a penalty: none, for codes with a fixed L0.

    Raises:
        RequestError: a target is given.
    """
    if not TARGETS.word(target):
        raise refuse(
            "price_target", target, "`none` if k is set, since there is no penalty to adapt", "Set ``k``."
        )
    return {}


def penalised_terms(
    spec: Spec, latents: int, cost: str, weight: Schedule, target: str | Target, dead: str | DeadLatents
) -> dict[str, Any]:
    """The arguments of a `SparseObjective` with one penalty: its weight and the treatment of dead latents."""
    terms = penalty_terms(cost, weight, target)
    adapted = terms.get("target")
    budget = adapted.l0 if isinstance(adapted, TargetL0) else _DEFAULT_L0
    return {**terms, "dead": dead_latents(dead, latents, budget, spec.size, auto="none")}


def assemble(
    spec: Spec,
    encoder: nn.Module,
    bottleneck: SparseBottleneck,
    dictionary: nn.Module,
    objective: Objective,
    *,
    conditions: tuple[str, ...] = (),
) -> Autoencoder:
    """The model, with squared error."""
    return Autoencoder(
        encoder, bottleneck, dictionary, Squared(spec.output_shape), objective, conditions=conditions
    )


def sparse_autoencoder(
    spec: Spec,
    bottleneck: SparseBottleneck,
    objective: Objective,
    *,
    unit_norm: bool,
    normalise: bool,
    tied: bool = False,
    row: tuple[int, ...] = (),
    conditions: tuple[str, ...] = (),
    centre: bool = True,
    token_norm: str = "none",
    by_norm: bool = False,
    rate: float | None = None,
) -> Autoencoder:
    """An autoencoder of a linear encoder, a sparse bottleneck and a dictionary.

    Encoder and dictionary are initialised as transposes of each other and share a centre. With atoms of length 1 the
    learning rate goes with their width, unless the user gives one.

    Args:
        spec: description of the data.
        bottleneck: the sparse bottleneck.
        objective: the objective.
        unit_norm: normalise every atom to length 1.
        normalise: scale the data to mean square 1 inside the model.
        tied: the encoder's rows are the atoms throughout training.
        row: shape of the reconstruction of one code, if an example has several; the example's if empty.
        conditions: names of the conditions of encoder and decoder.
        centre: subtract the decoder's bias from the input.
        token_norm: the norm of each example, of `TOKEN_NORMS`.
        by_norm: pre-activations and codes are in units of the atoms' norms.
        rate: the default learning rate, for atoms of length 1; `learning_rate` of their width if None.

    Raises:
        RequestError: an unknown norm, or a treatment of dead latents with one.
    """
    if choice("token_norm", token_norm, TOKEN_NORMS) != "none" and getattr(objective, "dead", None):
        raise refuse("token_norm", token_norm, "`none` if dead latents are treated", "Set ``dead='none'``.")
    shape = row or spec.shape
    common: dict[str, Any] = {"normalise": normalise, "token_norm": token_norm}
    dictionary = Dictionary(bottleneck.width, shape, unit_norm=unit_norm, by_norm=by_norm, **common)
    bottleneck.bind(dictionary)
    encoder = AffineEncoder(
        bottleneck.width,
        shape,
        centre=dictionary,
        tied=tied,
        subtract=centre,
        norms_of=dictionary if by_norm else None,
        **common,
    )
    model = assemble(spec, encoder, bottleneck, dictionary, objective, conditions=conditions)
    if unit_norm:
        revived = getattr(objective, "dead", None) is not None
        full = getattr(bottleneck, "k", 0) >= math.prod(shape)
        own = learning_rate(math.prod(shape), revived=revived, full=full) if rate is None else rate
        model.default_plan = {"lr": own}
    return model


def learning_rate(width: int, *, fastest: float = 0.004, revived: bool = True, full: bool = False) -> float:
    r"""The default learning rate of a dictionary with atoms of length 1 in D dimensions.

    .. math:: \min(r, 0.032 / \sqrt{D}), \qquad \min(r, 0.384 / D) \text{ if dead latents are not revived}

    A step of Adam changes each number by about the learning rate, and the numbers of an atom of length 1 are near
    :math:`1/\sqrt{D}`: so an atom turns by about the same angle in each step, whatever D is. Where dead latents are not
    revived, that angle falls with the width, since more of them die. The factors were chosen on activations of 64 and
    of 384 numbers.

    Args:
        width: numbers of an atom, D.
        fastest: the largest rate, r.
        revived: whether dead latents are revived, or none die.
        full: whether an example has at least D active latents; then the rate is 1.5 times as high.

    Example:
        >>> learning_rate(64), round(learning_rate(384), 5), round(learning_rate(4096), 5)
        (0.004, 0.00163, 0.0005)
        >>> learning_rate(64, revived=False), learning_rate(384, revived=False), learning_rate(64, full=True)
        (0.004, 0.001, 0.006)
    """
    rate = min(fastest, 0.032 / math.sqrt(width) if revived else 0.384 / width)
    return 1.5 * rate if full else rate
