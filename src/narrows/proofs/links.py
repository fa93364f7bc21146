"""Prediction of held-out edges, for proofs of methods for graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from narrows.audit.metrics.links import Links, rank_links
from narrows.core import Autoencoder
from narrows.core.check import optional
from narrows.data import Source
from narrows.data import open as open_data
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["claims", "compare", "nodes_of", "predicted", "proof", "spectral"]

LEARNING_RATE = 0.01
EPOCHS = 200
"""The paper's."""

SPECTRAL_WIDTHS = (16, 128)
"""Numbers of eigenvectors of the baseline: the width of the code, and that of the paper."""

NOTES = (
    "Each seed holds out 10 % of the edges to judge by and 5 % more, each with as many pairs that are not joined; "
    "nothing is chosen by them. 200 steps of Adam at 0.01 and the published widths, 32 and 16. The spectral embedding "
    "has 16 eigenvectors, as many as a code is wide, or 128, as in the paper, whichever predicts better. At quick "
    "scale the graph is drawn from a stochastic block model."
)


def proof(claimed: tuple[Claim, ...]) -> Proof:
    """The proof of a method on the edges of cora, at quick scale on a generated graph."""
    quick, steps = {"steps": EPOCHS // 2}, {"steps": EPOCHS}
    return Proof("cora", claimed, quick_data="sbm", seeds=10, quick=quick, default=steps, notes=NOTES)


def claims(name: str, auc: float, ap: float, bare_auc: float, bare_ap: float) -> tuple[Claim, ...]:
    """The rows of the paper's table, each with a point to spare, and the two differences that matter, halved.

    Args:
        name: of the method's arm.
        auc: published, with data of the nodes.
        ap: published average precision, with data of the nodes.
        bare_auc: published, without.
        bare_ap: published, without.
    """
    published = (
        (name, "auc", "AUC of held-out links", auc),
        (name, "ap", "average precision", ap),
        ("featureless", "auc", "without data of the nodes, AUC", bare_auc),
        ("featureless", "ap", "without data of the nodes, average precision", bare_ap),
    )
    rows = tuple(
        Claim(
            f"{says} is no more than a point below the published {100 * value:.1f}",
            f"{arm}/{number} > {value} - 0.01",
            quick=False,
        )
        for arm, number, says, value in published
    )
    rivals = {"featureless": "with data of the nodes AUC is at least 3 points above that without"}
    rivals["spectral"] = "AUC is at least 3 points above that of a spectral embedding of the same edges"
    return rows + tuple(
        Claim(says, f"{name}/auc > {rival}/auc + 0.03", quick=rival == "featureless")
        for rival, says in rivals.items()
    )


def compare(trial: Trial, name: str, builder: Callable[..., Autoencoder]) -> Mapping[str, float]:
    """Held-out edges predicted by a method with the data of the nodes and without, and by a spectral embedding.

    Each trial holds out edges of its own.
    """
    source = open_data(**{**trial.data.how, "seed": trial.seed})
    found: dict[str, Links] = {}
    for arm, encoder in {name: "gcn", "featureless": "gcn:features=identity"}.items():
        model = trial.build(builder, spec=source.spec, encoder=encoder)
        found[arm] = predicted(nodes_of(trial.fit(model, source.train, lr=LEARNING_RATE), source), source)
    vectors = spectral(source, max(SPECTRAL_WIDTHS))
    found["spectral"] = max(predicted(vectors[:, -width:], source) for width in SPECTRAL_WIDTHS)
    return {
        f"{arm}/{short}": value
        for arm, links in found.items()
        for short, value in (("auc", links.auc), ("ap", links.average_precision))
    }


@torch.no_grad()
def nodes_of(model: Autoencoder, source: Source) -> Tensor:
    """The codes of the nodes, (N, Z), from the edges that the test part lets the encoder see."""
    code = model.encode(source.test.batch(slice(0, 1)))
    z: Tensor = code.z[0]
    return z


def predicted(z: Tensor, source: Source) -> Links:
    """How the held-out edges rank among as many pairs that are not joined, by inner products of codes (N, Z)."""
    names = ("test_edges", "test_non_edges")
    held = source.test.batch(slice(0, 1), names).condition
    one, other = ((z[held[name][0, :, 0]] * z[held[name][0, :, 1]]).sum(-1) for name in names)
    return rank_links(one, [other])


def spectral(source: Source, width: int) -> Tensor:
    """The leading eigenvectors of the normalised adjacency matrix of the training edges, (N, width)."""
    sparse = optional("scipy.sparse", "sklearn", "compare with a spectral embedding")
    linalg = optional("scipy.sparse.linalg", "sklearn", "compare with a spectral embedding")
    nodes = source.spec.shape[0]
    ends = source.train.batch(slice(0, 1)).condition["edges"][0]
    rows, columns = torch.cat([ends, ends.flip(1)]).T.numpy()
    ones = torch.ones(len(rows), dtype=torch.float64).numpy()
    matrix = sparse.coo_matrix((ones, (rows, columns)), shape=(nodes, nodes)).tocsr()
    scale = sparse.diags(matrix.sum(1).A1.clip(min=1) ** -0.5)
    start = torch.ones(nodes, dtype=torch.float64).numpy()
    _, vectors = linalg.eigsh(scale @ matrix @ scale, k=width, which="LA", v0=start)
    return torch.from_numpy(vectors)
