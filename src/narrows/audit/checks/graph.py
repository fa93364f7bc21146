"""Link prediction from codes of nodes, and the number of edges that the model expects."""

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
"""Largest number of graphs, and of nodes of a graph whose pairs are all ranked."""

_DRAWN = 1 << 22
"""Pairs that are drawn of a larger graph."""

_TONES = 6


class _Graph(NamedTuple):
    """One graph with the pairs of nodes that are ranked."""

    z: Tensor
    """Codes of the nodes, (N, Z)."""
    present: Tensor
    """Which rows are nodes and not padding, (N,)."""
    edges: Tensor
    """All edges, (E, 2)."""
    positives: Tensor
    """The edges that are ranked, (P, 2)."""
    negatives: Tensor
    """As many pairs of nodes without an edge, (P, 2)."""
    held_out: bool
    """Whether the encoder did not see the positives."""


def graph(view: View) -> Finding:
    """AUC and average precision of links, against as many non-edges and against all of them; expected degrees."""
    if not isinstance(view.model.likelihood, Edges) or not isinstance(view.z, Tensor):
        return Finding()
    graphs = list(_graphs(view, view.z))
    if not graphs:
        return Finding()
    balanced = _mean([rank_links(_scores(g, g.positives), [_scores(g, g.negatives)]) for g in graphs])
    full = _mean([_against_all(g) for g in graphs])
    bias = float(view.model.likelihood.bias)
    expected = torch.cat([expected_degrees(g.z, bias)[g.present] for g in graphs])
    degrees = torch.cat([_degrees(g)[g.present] for g in graphs])
    checks = (*_links(balanced, full, graphs), *_expected(expected, degrees))
    return Finding(checks, (_degree_chart(expected, degrees), *_map(view, graphs[0])))


def _graphs(view: View, z: Tensor) -> Iterator[_Graph]:
    edges, counts = entries(view.batch.target, view.batch.weight)
    visible, masked = view.batch.condition["edges"], view.batch.condition.get("edges_mask")
    present = view.batch.condition.get("mask", torch.ones(z.shape[:2], dtype=torch.bool))
    columns = view.known.columns if len(view) == 1 else {}
    draw = torch.Generator().manual_seed(view.seed)
    for i in range(min(len(z), _GRAPHS)):
        links = edges[i, counts[i]]
        if not len(links):
            continue
        known = visible[i] if masked is None else visible[i, masked[i]]
        hidden = links[~torch.isin(keys(links, z.shape[1]), keys(known, z.shape[1]))]
        positives = hidden if len(hidden) else links
        if "test_edges" in columns:
            positives, negatives = (
                read_store(columns[n], slice(0, 1))[0][0] for n in ("test_edges", "test_non_edges")
            )
        else:
            negatives = _negatives(present[i], links, len(positives), draw)
        if len(negatives):
            codes, _ = split(torch.cat([z[i], present[i].to(z.dtype).unsqueeze(-1)], -1))
            yield _Graph(codes.double(), present[i], links, positives, negatives, len(hidden) > 0)


def _negatives(present: Tensor, links: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """As many pairs of nodes without an edge; fewer if there are not so many."""
    found = [non_edges(present, links, 2 * count + 64, draw) for _ in range(20)]
    return torch.cat(found)[:count]


def _scores(one: _Graph, pairs: Tensor) -> Tensor:
    return dots(one.z.unsqueeze(0), pairs.unsqueeze(0))[0]


def _against_all(one: _Graph) -> Links:
    """Rank the positives against all pairs without an edge; in a large graph against a sample of them."""
    nodes = int(one.present.sum())
    others = nodes * (nodes - 1) // 2 - len(one.edges)
    if len(one.z) > _NODES:
        drawn = non_edges(one.present, one.edges, _DRAWN, torch.Generator().manual_seed(0))
        return rank_links(_scores(one, one.positives), [_scores(one, drawn)], min(1.0, len(drawn) / others))
    number = torch.full((len(one.z),), -1).masked_scatter(one.present, torch.arange(nodes))
    blocks = logit_blocks(one.z[one.present], number[one.edges])
    return rank_links(_scores(one, one.positives), (logits for _, logits in blocks))


def _mean(found: list[Links]) -> Links:
    count = len(found)
    return Links(
        sum(one.auc for one in found) / count,
        sum(one.average_precision for one in found) / count,
        sum(one.negatives for one in found),
    )


def _links(balanced: Links, full: Links, graphs: list[_Graph]) -> tuple[Check, ...]:
    held_out = all(one.held_out for one in graphs)
    links = "held-out links" if held_out else "links that the encoder saw"
    count = sum(len(one.positives) for one in graphs)
    poor = "Train longer, or give the nodes features." if balanced.auc < 0.6 else ""
    ratio = max(1, round(full.negatives / max(1, count)))
    says = f"The chance that one of {count:,} {links} scores above a pair without an edge. {poor}".strip()
    return (
        Check("links/auc", balanced.auc, "", "warn" if poor else "ok", says, 0.5),
        Check(
            "links/average-precision",
            balanced.average_precision,
            says=f"Average precision of the {links} against as many pairs without an edge.",
            chance=0.5,
        ),
        Check(
            "links/auc-all",
            full.auc,
            says=f"The same against all {full.negatives:,} pairs without an edge.",
            chance=0.5,
        ),
        Check(
            "links/average-precision-all",
            full.average_precision,
            says=f"The same at the true ratio, {ratio:,} pairs without an edge to each link.",
            chance=1 / (1 + ratio),
        ),
    )


def _degrees(one: _Graph) -> Tensor:
    return torch.bincount(one.edges.flatten(), minlength=len(one.z)).double()


def _expected(expected: Tensor, degrees: Tensor) -> tuple[Check, ...]:
    ratio = float(expected.mean() / degrees.mean())
    says = f"Nodes have {float(degrees.mean()):.3g} neighbours on average."
    off = not 0.5 < ratio < 2
    if off:
        says += (
            " So the probabilities are not calibrated: use them to rank pairs, not to count edges. Trained on the "
            "bound, the model is a density."
        )
    checks = [Check("degree/expected", float(expected.mean()), "neighbours", "warn" if off else "ok", says)]
    if float(expected.std()) > 0 and float(degrees.std()) > 0:
        together = float(torch.corrcoef(torch.stack([expected, degrees]))[0, 1])
        checks.append(
            Check(
                "degree/correlation",
                together,
                says="Correlation of the degrees and the expected degrees of nodes.",
            )
        )
    return tuple(checks)


def _degree_chart(expected: Tensor, degrees: Tensor) -> Chart:
    few = slice(0, 2000)
    series = Series("nodes", tuple(expected[few].tolist()), tuple(degrees[few].tolist()))
    return Chart(
        "degrees",
        "Neighbours",
        "A calibrated model expects about as many neighbours of each node as it has.",
        "points",
        (series,),
        "neighbours",
        "expected neighbours",
    )


def _map(view: View, one: _Graph) -> tuple[Chart, ...]:
    """The codes of one graph's nodes on their first two principal components, coloured by class if known."""
    z = one.z[one.present]
    if z.shape[1] < 2 or len(z) < 3:
        return ()
    found = principal(z.float(), 2)
    points = (z.float() - found.mean) @ found.axes.T
    labels = view.known.columns.get("node_labels") if len(view) == 1 else None
    classes = torch.zeros(len(z), dtype=torch.long)
    if labels is not None:
        classes = read_store(labels, slice(0, 1))[0][0][one.present]
    series = []
    for n, value in enumerate(classes.unique()[:_TONES].tolist()):
        here = points[classes == value][:500]
        name = f"class {value}" if labels is not None else "nodes"
        series.append(Series(name, tuple(here[:, 1].tolist()), tuple(here[:, 0].tolist()), n % _TONES + 1))
    says = "The codes of the nodes on their first two principal components."
    return (Chart("nodes", "Nodes", says, "points", tuple(series), "first component", "second component"),)
