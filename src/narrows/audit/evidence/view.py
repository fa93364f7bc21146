"""`View`: the evidence for all checks, computed once, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evidence.control import Control, random_dictionary
from narrows.audit.evidence.joining import join, to_cpu
from narrows.audit.evidence.likelihood import importance_weights
from narrows.audit.evidence.posterior import Posterior, posterior_of
from narrows.audit.evidence.streams import Counts, stretches
from narrows.audit.metrics.importance import Importance
from narrows.core import (
    Autoencoder,
    Batch,
    Code,
    Pass,
    Sparse,
    Tree,
    evaluation_mode,
    seeded,
    tree_map,
)
from narrows.core.check import RequestError, refuse, whole
from narrows.core.evidence import Elements, Indices, Latents
from narrows.data.dataset import Dataset, Examples, Known, known_of
from narrows.data.holes import hidden_truth
from narrows.data.stores import Store, read_store
from narrows.kernels.metrics import code_count, density, l0
from narrows.likelihoods.table import MixedTable

__all__ = ["Posterior", "View", "as_examples", "device_of", "examine"]

CHUNK = 256
"""Examples in one pass through the model."""

ELEMENTS, FEWEST = 1 << 22, 256
"""Largest number of elements that are examined, and the least number of rows, which takes precedence."""

NLL_ROWS, NLL_SAMPLES = 128, 64
"""Examples of the importance-weighted likelihood (fewer if they are large), and codes for each."""


@dataclass(frozen=True)
class View:
    r"""The evidence: codes, outputs and losses of a model on N examples, on the CPU; None where a part is unknown.

    Args:
        model: the model, in `eval()` while checks run.
        batch: the examples.
        output: E[x | z], (N, \*shape of the target); the decoder's output itself if the code has elements.
        distortion: -log p(x | z), (N,), at one draw of the posterior if there is one.
        costs: the costs of the code by name, each (N,).
        rate: the sum of the costs in nats, (N,).
        z: the codes, (N, ...), possibly `Sparse`; None if a code is not a single tensor.
        skip: the input of a skip connection beside a sparse code, (N, ...).
        features: the input of a linear probe for codes that are neither sparse nor discrete, (N, F); for a code with a
            row for each element (a node), (number of elements in all examples, F).
        drawn: codes drawn from the posterior, (N, ...); with elements, rows as in `features`.
        posterior: the posterior if it factorises; with elements, rows as in `features`.
        elements: whether the code has a row for each element.
        latents: whether the code is sparse.
        indices: the codebook entries that were used, (N, ...).
        codes: the number of codebook entries.
        weight: the weight of the target, broadcastable to it.
        forced: of an autoregressive likelihood, the teacher-forced predictions, (N, ...).
        swapped: its distortion at the code of another example, (N,).
        importance: importance weights of the first rows, from which -log p(x) is estimated.
        factors: known factors (N, F).
        factor_names: names of the factors.
        labels: classes (N,).
        hidden: the true cells of a table before some were hidden, scaled, (N, D).
        true_codes: the true coefficients of the examples, (N, M).
        dataset: the data set of the examples.
        known: information on the whole data set that the model does not see.
        history: the metrics records of the training.
        train: the training examples.
        seed: of every draw.
        text: of tokens, what they say.
        counts: of the activations of all latents, on many more examples than these; None if they were not counted.
    """

    model: Autoencoder
    batch: Batch
    output: Tensor
    distortion: Tensor
    costs: Mapping[str, Tensor]
    rate: Tensor | None
    z: Tensor | Sparse | None
    skip: Tensor | None
    features: Tensor | None
    drawn: Tensor | None
    posterior: Posterior | None
    elements: bool
    latents: bool
    indices: Tensor | None
    codes: int
    weight: Tensor | None
    forced: Tensor | None
    swapped: Tensor | None
    importance: Importance | None = None
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()
    labels: Tensor | None = None
    hidden: Tensor | None = None
    true_codes: Tensor | None = None
    dataset: Examples | None = None
    known: Known = field(default_factory=Known)
    history: Sequence[Mapping[str, Any]] = ()
    train: Examples | None = None
    seed: int = 0
    text: Callable[[Tensor], list[str]] | None = None
    counts: Counts | None = None

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def rows(self) -> int:
        """The number of codes: of examples, or of all their elements."""
        return len(self.features) if self.elements and self.features is not None else len(self)

    @property
    def mixed(self) -> bool:
        """Whether an example is a row of a table with columns of several types."""
        return isinstance(self.model.likelihood, MixedTable)

    @property
    def sparse(self) -> Tensor | Sparse | None:
        """The code if it is sparse."""
        return self.z if self.latents else None

    @property
    def density(self) -> Tensor | None:
        """The share of codes in which each latent of a sparse code is on, (N,), of all that were counted."""
        if self.counts is not None:
            return self.counts.density
        return None if self.sparse is None else density(self.sparse)

    @property
    def stretches(self) -> tuple[Tensor, Tensor] | None:
        """How often each latent is on in stretches of the counted codes, (P, N), and their numbers of codes, (P,)."""
        if self.counts is not None:
            return self.counts.parts
        return None if self.sparse is None else stretches(self.sparse)

    @property
    def counted(self) -> int:
        """The number of sparse codes that `density` rests on."""
        if self.counts is not None:
            return self.counts.codes
        return 0 if self.sparse is None else code_count(self.sparse)

    @cached_property
    def control(self) -> Control | None:
        """A random dictionary of equal shape and L0; None if the code is not sparse, or has several positions."""
        z, x, target = self.sparse, self.batch.x, self.batch.target
        if z is None or (z.values if isinstance(z, Sparse) else z).ndim != 2:
            return None
        if not isinstance(x, Tensor) or not isinstance(target, Tensor) or not x.is_floating_point():
            return None
        values = z.values if isinstance(z, Sparse) else z
        width, signed = z.width if isinstance(z, Sparse) else z.shape[1], bool((values < 0).any())
        return random_dictionary(self.batch, width, l0(z), self.seed, signed=signed)

    @property
    def dense(self) -> Tensor | None:
        """The input of a linear probe if the code is dense and continuous, (N, F): posterior means, or z."""
        if self.posterior is not None:
            return self.posterior.mean
        return None if self.indices is not None or self.sparse is not None else self.features

    def decode(self, z: Tree, rows: Tensor | None = None, **condition_too: Tensor) -> Any:
        """E[x | z] for any codes, on the CPU, with the conditions of the given rows, and others by name."""
        device = device_of(self.model)
        condition = tree_map(lambda t: t[: len(z)] if rows is None else t[rows], self.batch.condition)
        condition = {**condition, **condition_too}
        move: Callable[[Tensor], Tensor] = lambda t: t.to(device)  # noqa: E731
        with torch.no_grad():
            mean = self.model.likelihood.mean(self.model.decode(tree_map(move, z), tree_map(move, condition)))
        return tree_map(lambda t: t.cpu(), mean)


def examine(
    model: Autoencoder,
    dataset: Any,
    limit: int,
    seed: int,
    advance: Callable[[int, int], None] = lambda done, total: None,
    history: Sequence[Mapping[str, Any]] = (),
    train: Examples | None = None,
    text: Callable[[Tensor], list[str]] | None = None,
) -> View:
    """Pass up to `limit` examples through the model and collect the evidence.

    Args:
        model: its mode and buffers are not changed.
        dataset: a data set, or a tensor or array of examples in the model's units.
        limit: largest number of examples, drawn without replacement and kept in order.
        seed: of the rows and of all draws.
        advance: called with the finished and the total number of chunks.
        history: the metrics records of the training.
        train: the training examples.
        text: of tokens, what they say.

    Raises:
        RequestError: no examples, examples of another shape, or numbers that are not finite.
    """
    examples = as_examples(dataset)
    whole("limit", limit)
    if len(examples) == 0:
        raise refuse("dataset", "0 examples", "at least one example to audit")
    rows = _rows(examples, limit, seed)
    with evaluation_mode(model), seeded(seed):
        found = _passed(model, examples, rows, advance)
        importance = _importance(model, found, seed)
    known = known_of(examples)
    return View(
        model,
        **found,
        importance=importance,
        factors=_some(known.factors, rows),
        factor_names=known.factor_names,
        labels=_some(known.labels, rows),
        hidden=hidden_truth(examples, rows) if isinstance(examples, Dataset) else None,
        true_codes=_some(known.columns.get("codes"), rows),
        dataset=examples,
        known=known,
        history=tuple(history),
        train=train,
        seed=seed,
        text=text,
    )


def _passed(
    model: Autoencoder, examples: Examples, rows: Tensor, advance: Callable[[int, int], None]
) -> dict[str, Any]:
    """The fields of `View` that passing the rows through the model gives, chunk by chunk."""
    chunks = list(rows.split(CHUNK))
    labelled = known_of(examples).labels is not None  # a prior that is told labels is not if there are none
    told = model.all_conditions if labelled else model.conditions
    parts: list[dict[str, Any]] = []
    for done, chunk in enumerate(chunks):
        batch = examples.batch(chunk, conditions=told, device=device_of(model))
        _check_batch(model, model.targeted(batch))
        parts.append(_evaluate(model, batch))
        advance(done + 1, len(chunks))
    same = ("codes", "elements", "latents")
    joined = {name: join([part[name] for part in parts]) for name in parts[0] if name not in same}
    return joined | {name: parts[0][name] for name in same}


def _importance(model: Autoencoder, found: Mapping[str, Any], seed: int) -> Importance | None:
    """The importance weights of the first rows, of fewer if they are large."""
    if found["rate"] is None or model.predicts:
        return None
    size = max(1, _numbers(found["output"]))
    count = min(NLL_ROWS, max(NLL_ROWS // 8, 2 * ELEMENTS // (NLL_SAMPLES * size)))
    few = found["batch"][slice(0, count)].to(device_of(model))
    return Importance(importance_weights(model, few, NLL_SAMPLES, seed).cpu().double())


def device_of(model: Autoencoder) -> torch.device:
    """The device of the model's first tensor."""
    first = next((t for t in (*model.parameters(), *model.buffers())), None)
    return torch.device("cpu") if first is None else first.device


def as_examples(dataset: Any) -> Examples:
    """A data set unchanged; a tensor or array of examples as a data set."""
    if isinstance(dataset, (Tensor, np.ndarray)):
        return _Array(torch.as_tensor(dataset))
    if not isinstance(dataset, Examples):
        raise refuse("dataset", type(dataset).__name__, "a data set, a tensor or an array of examples")
    return dataset


@dataclass(frozen=True)
class _Array:
    """Examples in memory, in the model's units."""

    x: Tensor

    def __len__(self) -> int:
        return len(self.x) if self.x.ndim else 0

    def batch(
        self, rows: Tensor | slice, conditions: tuple[str, ...] = (), device: str | torch.device = "cpu"
    ) -> Batch:
        if conditions:
            names = ", ".join(conditions)
            raise RequestError(
                f"This method needs the conditions {names}, and an array has none. Give a data set."
            )
        return Batch(self.x[rows].to(device, torch.float32))


def _rows(examples: Examples, limit: int, seed: int) -> Tensor:
    """Row numbers in order, a random subset if there are more than the limits."""
    first = examples.batch(torch.zeros(1, dtype=torch.long))
    size = max(1, first.target.numel()) if isinstance(first.target, Tensor) else 1
    count = min(limit, len(examples), max(FEWEST, ELEMENTS // size))
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    return order[:count].sort().values


def _check_batch(model: Autoencoder, batch: Batch) -> None:
    target, wanted = batch.target, model.likelihood.shape
    if isinstance(target, Tensor) and "edges" not in batch.condition:
        free = int(
            "mask" in batch.condition or "queries" in batch.condition
        )  # lengths differ from batch to batch
        found = tuple(target.shape[1 + free :])
        if found != tuple(wanted[free:]):
            raise refuse(
                "dataset",
                f"examples of shape {tuple(target.shape[1:])}",
                f"examples of shape {tuple(wanted)}, which this model was built for",
            )
    x = batch.visible().x
    if isinstance(x, Tensor) and not bool(torch.isfinite(x).all()):
        raise refuse("dataset", "NaN or infinity", "finite numbers", "Clean the data, or drop those rows.")


def _evaluate(model: Autoencoder, batch: Batch) -> dict[str, Any]:
    """The fields of `View` for one batch, on the CPU."""
    passed = model(batch)
    code, batch, weight = passed.code, passed.batch, passed.weight
    drawn, decoded = None, passed
    if code.rate is not None:
        again = model.bottleneck(passed.features, (1,))
        decoded = Pass(batch, again, model.decode(again.z, batch.condition))
        drawn = again.z[0] if isinstance(again.z, Tensor) else None
    distortion = model.likelihood.pass_nll(decoded)
    indices, elements = code.find(Indices), code.find(Elements)
    found = {
        "batch": batch,
        "output": model.likelihood.mean(passed.output) if elements is None else passed.output,
        "distortion": distortion[0] if code.rate is not None else distortion,
        "costs": {name: cost.expand(len(batch)) for name, cost in code.costs.items()},
        "rate": code.rate,
        **_codes(model, code),
        "drawn": drawn,
        "posterior": posterior_of(code, elements),
        "indices": None if indices is None else indices.indices,
        "weight": weight,
        **_autoregressive(model, passed),
    }
    if elements is not None:
        for name in ("features", "drawn"):
            value = code.z if name == "features" else drawn
            found[name] = None if value is None else value[elements.present]
    kept = {name: to_cpu(value) for name, value in found.items()}
    kept["elements"] = elements is not None
    kept["latents"] = code.find(Latents) is not None
    kept["codes"] = 0 if indices is None else indices.codes
    return kept


def _codes(model: Autoencoder, code: Code) -> dict[str, Any]:
    """The code: sparse latents with their skip input, or a tensor and the features of a probe."""
    latents = code.find(Latents)
    if latents is not None:
        return {"z": latents.z, "skip": latents.skip, "features": None}
    single = isinstance(code.z, (Tensor, Sparse))
    plain = isinstance(code.z, Tensor) and code.find(Indices) is None
    features = model.bottleneck.features(code) if plain else None
    return {"z": code.z if single else None, "skip": None, "features": features}


def _autoregressive(model: Autoencoder, passed: Pass) -> dict[str, Any]:
    """Teacher-forced predictions, and the distortion under the codes of other examples."""
    if not model.likelihood.autoregressive:
        return {"forced": None, "swapped": None}
    swapped = model.decode(passed.code.z.roll(1, 0), passed.batch.condition)
    return {
        "forced": model.likelihood.teacher_forced(passed),
        "swapped": model.likelihood.nll(swapped, passed.batch.target, passed.weight),
    }


def _numbers(x: Tree) -> int:
    """The number of elements of an example."""
    if isinstance(x, Mapping):
        return sum(_numbers(part) for part in x.values())
    return int(x[0].numel())


def _some(store: Store | None, rows: Tensor) -> Tensor | None:
    """Some rows of what is known, if it is."""
    return None if store is None else read_store(store, rows)[0]
