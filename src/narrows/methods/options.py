"""Options that many builders share, described here once; a builder's docstring describes only its own.

The command line's help, the pages of the methods and the model card combine the two by `explained`. This
module does not import torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from narrows.core.spelling import Table
from narrows.core.texts import docstring_args

__all__ = ["SHARED", "explained", "option_of_a_part", "part_tables", "table"]

SHARED: Mapping[str, Mapping[str, str]] = {
    "": {
        "spec": "description of the data, or the shape of one example.",
        "latent": (
            "width of the code, Z; with 0 it is 16, or half of an example's numbers if that is less (of "
            "``diffusion-vae``, left out, that of the manifold)."
        ),
        "net": "the networks; auto is chosen by the shape of the data.",
        "likelihood": (
            "p(x | z); auto is Bernoulli for binary values and for images and series from 0 to 1, negative binomial "
            "for counts, else Gaussian."
        ),
        "withhold": (
            "for tables and arrays with missing values: the largest share of the observed values of an example that "
            "are withheld from the encoder in training, drawn anew for each; 0.5 for codes without a posterior and for "
            "`missing-iwae`, else 0."
        ),
        "encoder": (
            "of tables: ``vector``, a net of the whole row, zero where cells are missing; or ``set``, a sum over "
            "observed cells of a net of the cell and its column (p-VAE, arXiv:1809.11142), for many missing "
            "cells."
        ),
        "free_bits": (
            "nats of each latent (of a ladder each layer, of a code that is not Gaussian the whole) that are not "
            "penalised, against posterior collapse."
        ),
    },
    "tabular": {
        "numbers": (
            "p(x | z) of real numbers, integers and dates: probabilities on the grid of each column, or densities."
        ),
        "positives": "p(x | z) of positive numbers with a long tail.",
        "counts": "p(x | z) of columns of counts.",
        "indicators": (
            "give the encoder the mask of missing cells; else it cannot tell them from the mean (as in most papers)."
        ),
    },
    "quantised": {
        "downsample": (
            "pixels per token, along each side; a vector has one token for the square of that many numbers."
        ),
        "prior": "the second stage over the code; with none, codes are drawn uniformly, of ``lq-vae`` from N(0, I).",
        "beta": "weight of the commitment loss, a number or a schedule.",
        "codebook": (
            "how codes are learned, by moving averages (``ema``) or otherwise, from which start, the k-means centres "
            "of a first batch or ``normal`` draws, and which are restarted, those used less than a share "
            "``restart`` of the mean (0 for none)."
        ),
        "gradient": "the gradient estimator, ``straight-through`` or ``rotation``.",
    },
    "structured": {
        "latent": "width of the code, Z; of a graph, of each node.",
        "encoder": "a graph network; its ``features`` are the input features of a node.",
        "form": (
            "``paper``, the published loss, in which edges have the same total weight as non-edges; or "
            "``bound``, -log p(A | z), with the KL divergence the negative evidence lower bound, in nats."
        ),
    },
    "sparse": {
        "latents": (
            "number of latents, N; with 0, eight for each number of an example (of one layer or row, if it has "
            "several), at most 16384."
        ),
        "k": "number of active latents of an example (of one layer or row, if it has several).",
        "begin_k": "number of active latents at the first step; k if 0.",
        "anneal": "number of steps over which it changes linearly from begin_k to k.",
        "threshold_decay": "decay of the exponential moving average of a threshold.",
        "price_target": (
            "adapt the weight of the penalty until L0 (l0) or the fraction of variance unexplained (fvu) has this "
            "value; none keeps the weight."
        ),
        "dead": (
            "the treatment of dead latents, those inactive for more examples than dead_after: by default a hundred "
            "times the mean interval between activations of a latent, N / k, and a thousand times for resample."
        ),
        "unit_norm": "normalise every atom to length 1; otherwise the penalty includes their lengths.",
        "normalise": (
            "scale the data to mean square 1 inside the model while it trains, each layer or side separately."
        ),
        "centre": "subtract the decoder's bias, the centre of the data, from every example first.",
        "token_norm": (
            "normalise each example before it is encoded, and revert it after decoding: none, mean (its values have "
            "mean 0), layer (and variance 1) or length (the square root of their number)."
        ),
        "by_norm": "multiply pre-activations by the norms of the atoms, and divide the code by them to decode.",
    },
}
"""Options of all families, then of each family: option -> description."""

_TABLES = {
    "codebook": "narrows.bottlenecks.discrete.codebooks:CODEBOOKS",
    "encoder": "narrows.nets.graph:GRAPH_NETS",
    "flow": "narrows.bottlenecks.flows:FLOWS",
    "net": "narrows.nets:NETS",
    "decoder": "narrows.nets:NETS",
    "critic": "narrows.nets:CRITICS",
    "perceptual": "narrows.nets:FEATURES",
    "rnn": "narrows.nets:RNNS",
    "likelihood": "narrows.likelihoods:LIKELIHOODS",
    "numbers": "narrows.likelihoods.columns:NUMBERS",
    "counts": "narrows.likelihoods.columns:COUNTS",
    "positives": "narrows.likelihoods.columns:POSITIVES",
    "hide": "narrows.bottlenecks.masked:HIDING",
    "mechanism": "narrows.likelihoods.mechanisms:MECHANISMS",
    "prior": "narrows.priors:PRIORS",
    "dead": "narrows.objectives:DEAD",
    "price_target": "narrows.objectives:TARGETS",
    "penalty": "narrows.objectives:PENALTIES",
}
"""Arguments that select a component -> the table of its choices."""


def explained(doc: str, family: str) -> dict[str, str]:
    """The description of each option of a builder: shared ones, and those of the builder's docstring.

    Args:
        doc: the builder's docstring, without its indentation.
        family: family of the method; an unknown one has only the options of all families.

    Example:
        >>> explained(chr(10).join(["Do.", "", "Args:", "    beta: the weight.", "", "Raises:"]), "variational")["beta"]
        'the weight.'
    """
    own = docstring_args(doc)
    return {**SHARED[""], **SHARED.get(family, {}), **own}


def table(argument: str, hint: Any) -> Table[Any] | None:
    """The components that an argument can select; None if it selects none.

    Args:
        argument: its name.
        hint: its type, or the annotation as text: a text or a component, if it selects one.
    """
    if hint in (str, "str") or argument not in _TABLES:
        return None
    module, _, name = _TABLES[argument].partition(":")
    found: Table[Any] = getattr(import_module(module), name)
    return found


def option_of_a_part(builder: Callable[..., Any], name: str, value: Any = None) -> tuple[str, str] | None:
    """Of an option of one of a builder's parts, the argument that takes the part, and the text to give; else None.

    Args:
        builder: of a method that has no such option itself.
        name: of the option.
        value: its value, if it is known.
    """
    for argument, parameter in inspect.signature(builder, eval_str=True).parameters.items():
        parts = table(argument, parameter.annotation)
        if parts is None or not isinstance(parameter.default, str):
            continue
        part = parts.canonical(parameter.default.partition(":")[0])
        option = parts.options(part).get(name) if part in parts else None
        if option is not None:
            return argument, f"{part}:{name}={option.metavar if value is None else value}"
    return None


def part_tables() -> list[Table[Any]]:
    """All tables of components that some argument can select, each once."""
    found = [table(argument, None) for argument in _TABLES]
    return list(dict.fromkeys(parts for parts in found if parts is not None))
