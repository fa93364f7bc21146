"""What codes of nodes say of the edges: how pairs that are joined rank, and how many edges the model expects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from narrows.audit.evidence.view import View
from narrows.audit.metrics.links import Links, expected_degrees, logit_blocks, rank_links
from narrows.audit.report.finding import Chart, Check, Finding, Series
from narrows.data.stores import read_store
from narrows.kernels.principal import principal
from narrows.likelihoods.edges import Edges, dots, entries, keys, non_edges, split

__all__ = ["graph"]

_GRAPHS, _NODES = 16, 8192
"""Graphs that are looked at, and nodes up to which all pairs of one are."""

_DRAWN = 1 << 22
"""Pairs that are drawn of a larger one."""

_TONES = 6


class _Graph(NamedTuple):
    """One graph, and what is asked of it."""

    z: Tensor
    """Codes of the nodes, (N, Z)."""
    present: Tensor
    """Which nodes are there, (N,)."""
    every: Tensor
    """All pairs that are joined, (E, 2)."""
    joined: Tensor
    """Those that the model must rank, (P, 2)."""
    beside: Tensor
    """As many that are not joined."""
    held_out: bool
    """Whether the encoder did not see them."""


def graph(view: View) -> Finding:
    """AUC and average precision of links, beside as many non-edges and beside all of them; expected degrees."""
    if not isinstance(view.model.likelihood, Edges) or not isinstance(view.z, Tensor):
        return Finding()
    graphs = list(_graphs(view, view.z))
    if not graphs:
        return Finding()
    even = _mean([rank_links(_scores(g, g.joined), [_scores(g, g.beside)]) for g in graphs])
    every = _mean([_among_all(g) for g in graphs])
    bias = float(view.model.likelihood.bias)
    expected = torch.cat([expected_degrees(g.z, bias)[g.present] for g in graphs])
    degrees = torch.cat([_degrees(g)[g.present] for g in graphs])
    checks = (*_links(even, every, graphs), *_expected(expected, degrees))
    return Finding(checks, (_degree_chart(expected, degrees), *_map(view, graphs[0])))


def _graphs(view: View, z: Tensor) -> Iterator[_Graph]:
    edges, counts = entries(view.batch.target, view.batch.weight)
    seen, masked = view.batch.condition["edges"], view.batch.condition.get("edges_mask")
    there = view.batch.condition.get("mask", torch.ones(z.shape[:2], dtype=torch.bool))
    columns = view.known.columns if len(view) == 1 else {}
    draw = torch.Generator().manual_seed(view.seed)
    for i in range(min(len(z), _GRAPHS)):
        every = edges[i, counts[i]]
        if not len(every):
            continue
        known = seen[i] if masked is None else seen[i, masked[i]]
        hidden = every[~torch.isin(keys(every, z.shape[1]), keys(known, z.shape[1]))]
        joined = hidden if len(hidden) else every
        if "test_edges" in columns:
            joined, beside = (
                read_store(columns[n], slice(0, 1))[0][0] for n in ("test_edges", "test_non_edges")
            )
        else:
            beside = _beside(there[i], every, len(joined), draw)
        if len(beside):
            codes, _ = split(torch.cat([z[i], there[i].to(z.dtype).unsqueeze(-1)], -1))
            yield _Graph(codes.double(), there[i], every, joined, beside, len(hidden) > 0)


def _beside(there: Tensor, every: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """As many pairs that are not joined; fewer where there are not so many."""
    found = [non_edges(there, every, 2 * count + 64, draw) for _ in range(20)]
    return torch.cat(found)[:count]


def _scores(one: _Graph, pairs: Tensor) -> Tensor:
    return dots(one.z.unsqueeze(0), pairs.unsqueeze(0))[0]


def _among_all(one: _Graph) -> Links:
    """How the joined pairs rank among all that are not; among some of them in a graph of many nodes."""
    nodes = int(one.present.sum())
    others = nodes * (nodes - 1) // 2 - len(one.every)
    if len(one.z) > _NODES:
        drawn = non_edges(one.present, one.every, _DRAWN, torch.Generator().manual_seed(0))
        return rank_links(_scores(one, one.joined), [_scores(one, drawn)], min(1.0, len(drawn) / others))
    number = torch.full((len(one.z),), -1).masked_scatter(one.present, torch.arange(nodes))
    blocks = logit_blocks(one.z[one.present], number[one.every])
    return rank_links(_scores(one, one.joined), (logits for _, logits in blocks))


def _mean(found: list[Links]) -> Links:
    count = len(found)
    return Links(
        sum(one.auc for one in found) / count,
        sum(one.average_precision for one in found) / count,
        sum(one.others for one in found),
    )


def _links(even: Links, every: Links, graphs: list[_Graph]) -> tuple[Check, ...]:
    held = all(one.held_out for one in graphs)
    what = "held-out links" if held else "links that the encoder saw"
    count = sum(len(one.joined) for one in graphs)
    poor = "Train longer, or give the nodes data." if even.auc < 0.6 else ""
    ratio = max(1, round(every.others / max(1, count)))
    says = f"The chance that one of {count:,} {what} scores above a pair that is not joined. {poor}".strip()
    return (
        Check("links/auc", even.auc, "", "warn" if poor else "ok", says),
        Check(
            "links/average-precision",
            even.average_precision,
            says=f"Of pairs ranked as high as one of the {what}, how many are joined, beside as many that are not.",
        ),
        Check(
            "links/auc-all", every.auc, says=f"The same among all {every.others:,} pairs that are not joined."
        ),
        Check(
            "links/average-precision-all",
            every.average_precision,
            says=f"The same at the true ratio, {ratio:,} pairs that are not joined to each that is; at random it would "
            f"be {1 / (1 + ratio):.2g}.",
        ),
    )


def _degrees(one: _Graph) -> Tensor:
    return torch.bincount(one.every.flatten(), minlength=len(one.z)).double()


def _expected(expected: Tensor, degrees: Tensor) -> tuple[Check, ...]:
    ratio = float(expected.mean() / degrees.mean())
    says = f"Nodes have {float(degrees.mean()):.3g} neighbours on average."
    off = not 0.5 < ratio < 2
    if off:
        says += (
            " So the probabilities are none: rank pairs by them, and do not count by them. Trained on the bound, the "
            "model is a density."
        )
    checks = [Check("degree/expected", float(expected.mean()), "neighbours", "warn" if off else "ok", says)]
    if float(expected.std()) > 0 and float(degrees.std()) > 0:
        together = float(torch.corrcoef(torch.stack([expected, degrees]))[0, 1])
        checks.append(
            Check(
                "degree/correlation",
                together,
                says="Between the neighbours that nodes have and are expected to have.",
            )
        )
    return tuple(checks)


def _degree_chart(expected: Tensor, degrees: Tensor) -> Chart:
    few = slice(0, 2000)
    series = Series("nodes", tuple(expected[few].tolist()), tuple(degrees[few].tolist()))
    return Chart(
        "degrees",
        "Neighbours",
        "A model of the graph expects of each node about as many neighbours as it has.",
        "points",
        (series,),
        "neighbours",
        "expected neighbours",
    )


def _map(view: View, one: _Graph) -> tuple[Chart, ...]:
    """The codes of one graph's nodes on their two main directions, coloured by class where classes are known."""
    z = one.z[one.present]
    if z.shape[1] < 2 or len(z) < 3:
        return ()
    found = principal(z.float(), 2)
    places = (z.float() - found.mean) @ found.axes.T
    labels = view.known.columns.get("node_labels") if len(view) == 1 else None
    classes = torch.zeros(len(z), dtype=torch.long)
    if labels is not None:
        classes = read_store(labels, slice(0, 1))[0][0][one.present]
    series = []
    for n, value in enumerate(classes.unique()[:_TONES].tolist()):
        here = places[classes == value][:500]
        name = f"class {value}" if labels is not None else "nodes"
        series.append(Series(name, tuple(here[:, 1].tolist()), tuple(here[:, 0].tolist()), n % _TONES + 1))
    says = "Where the codes of the nodes lie, on the two directions in which they differ most."
    return (Chart("nodes", "Nodes", says, "points", tuple(series), "first direction", "second direction"),)
