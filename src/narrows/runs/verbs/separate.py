"""`separate`: two sources from their mixture, by a prior over the codes of single sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, seeded
from narrows.core.check import choice, refuse, whole
from narrows.core.progress import with_progress
from narrows.data import Dataset
from narrows.priors.autoregressive import Autoregressive
from narrows.priors.samplers.separation import SEARCHES, Mixtures, counted

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["mixture_table", "separate", "separated"]

_CHUNK = 256
_ROWS = 512
"""Number of pairs of sequences that are drawn at once."""


@torch.no_grad()
def mixture_table(model: Autoencoder, train: Dataset, pairs: int, seed: int = 0) -> Mixtures:
    """The table p(m | a, b) of pairs of training examples and their means.

    Args:
        model: the model, whose code is one index per position, of one codebook, with a prior `autoregressive`.
        train: the training examples.
        pairs: number of pairs.
        seed: seed of the pairs.

    Raises:
        RequestError: the code is of another kind, or `pairs` is not a whole number of at least 1.
    """
    vectors, _ = _parts(model)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(train), (2, whole("pairs", pairs)), generator=generator)
    codes: list[list[Tensor]] = [[], [], []]
    for part in rows.split(_CHUNK, 1):
        one, two = (train.batch(row).x for row in part)
        for found, x in zip(codes, (one, two, (one + two) / 2), strict=True):
            found.append(_indices(model, x))
    first, second, mixed = (torch.cat(parts) for parts in codes)
    return counted(first, second, mixed, vectors)


@torch.no_grad()
def separated(model: Autoencoder, table: Mixtures, x: Tensor, candidates: int, search: str) -> Tensor:
    """The two sources of mixtures x (n, *shape), (n, 2, *shape): of some candidates that whose mean is nearest to x.

    Args:
        model: the model with its prior.
        table: p(m | a, b).
        x: the mixtures, means of two examples.
        candidates: number of pairs from which one is chosen.
        search: ``ancestral`` or ``beam``.

    Raises:
        RequestError: the model has no prior `autoregressive` over single indices.
    """
    _, prior = _parts(model)
    found = prior.separate(_indices(model, x), table, candidates, search)
    z = model.bottleneck.from_symbols(found.flatten(0, 2)).z
    made = model.likelihood.mean(model.decode(z)).view(*found.shape[:3], *x.shape[1:])
    error = (made.mean(2) - x[:, None]).square().flatten(2).sum(2)
    return made[torch.arange(len(x)), error.argmin(1)]


def separate(
    run: Run,
    data: Any,
    *,
    pairs: int = 20_000,
    candidates: int = 8,
    search: str = "ancestral",
    seed: int = 0,
    progress: Any = None,
) -> np.ndarray:
    r"""The two sources of each mixture, by the prior of a run, which knows single sources alone.

    .. math:: p(a, b \mid m) \propto \prod_l p(a_l \mid a_{<l})\, p(b_l \mid b_{<l})\, p(m_l \mid a_l, b_l)

    a, b and m are the indices of both sources and of their mixture. p(m | a, b) is counted from pairs of training
    examples; nothing is trained. Of several candidates that is taken whose mean is nearest to the mixture.

    Args:
        run: a run with the prior `autoregressive` over one index per position.
        data: the mixtures, each the mean of two examples (of a sum, take half): data as for `narrows.data.open`.
        pairs: number of pairs of training examples that are counted.
        candidates: number of pairs of sources from which one is chosen.
        search: ``ancestral``, or ``beam`` for a search with as many beams.
        seed: seed of pairs and draws.
        progress: a `narrows.core.progress.Progress`, or None.

    Returns:
        The sources, in any order, (N, 2, \*shape), in the units of the data.

    Raises:
        RequestError: the run has another prior or code, its model is conditioned, or an option is out of range.

    Reference:
        Postolache et al., Latent Autoregressive Source Separation, 2023. arXiv:2301.08562
    """
    model = run.model
    _parts(model)
    size = max(1, _ROWS // whole("candidates", candidates))
    choice("search", search, SEARCHES)
    mixtures = run.dataset(data)
    table = mixture_table(model, run.data.train, pairs, seed)

    def parts() -> Iterator[Tensor]:
        for first in range(0, len(mixtures), size):
            x = mixtures.batch(slice(first, min(first + size, len(mixtures)))).x
            yield separated(model, table, x, candidates, search)

    with seeded(seed):
        found = torch.cat(list(with_progress(parts(), len(mixtures), progress, "Separating", size)))
    shape = found.shape
    return np.asarray(run._units(found.flatten(0, 1))).reshape(shape)


def _parts(model: Autoencoder) -> tuple[Tensor, Autoregressive]:
    """The codebook of a model, (K, d), and its prior.

    Raises:
        RequestError: the code is not one index per position of one codebook, or the prior is not `autoregressive`.
    """
    vectors, prior = model.bottleneck.code_vectors(), model.prior
    if vectors is None or vectors.dim() != 2 or model.conditions:
        fix = "Fit one: narrows fit DATA --method vq-vae"
        expected = (
            "used on an unconditioned model with one index per position, of one codebook for all positions"
        )
        raise refuse("separate", type(model.bottleneck).__name__, expected, fix)
    if not isinstance(prior, Autoregressive):
        fix = "Fit one to the codes of the run: narrows fit RUN --prior autoregressive --out NEW"
        raise refuse("prior", None if prior is None else type(prior).__name__, "`autoregressive`", fix)
    return vectors, prior


def _indices(model: Autoencoder, x: Tensor) -> Tensor:
    return model.as_symbols(Batch(x)).x
