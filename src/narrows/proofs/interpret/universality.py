"""Dictionaries of two language models, matched by what they do on the same tokens: are their spaces alike?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.audit.metrics.stability import Rows
from narrows.audit.metrics.universality import correlated, csr, permuted
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.interpret._reading import codes, layer, rows_data
from narrows.proofs.worlds import own_world

__all__ = ["PROOF"]

_SECOND = {"seed": 1, "width": 96, "layers": 3}
"""The second language model: another seed, another width, fewer layers."""

Space = tuple[Tensor, Tensor]
"""Rows for training and for testing."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Match dictionaries of a first model with those of a second one, and of the second without training."""
    first, second, untrained = _models(trial) if trial.budget["lm"] else _planted(trial)
    a = _dictionary(trial, first, 0)
    numbers: dict[str, float] = {}
    for name, space, offset in (("trained", second, 1000), ("untrained", untrained, 2000)):
        b = _dictionary(trial, space, offset)
        found = correlated(a[1], b[1])
        x, y = a[0].decoder[found.pairs[:, 0]], b[0].decoder[found.pairs[:, 1]]
        numbers[f"{name}/matched"] = found.matched
        numbers[f"{name}/pairs"] = float(len(found.pairs))
        numbers[f"{name}/correlation"] = found.best[0]
        for what, one in permuted(x, y, seed=trial.seed).items():
            numbers[f"{name}/{what}"] = one.value
            numbers[f"{name}/{what}-limit"] = one.limit
            numbers[f"{name}/{what}-above"] = one.value - one.chance
    return numbers


def _models(trial: Trial) -> tuple[Space, Space, Space]:
    """Activations of two language models, and of the second as it is initialised, of the same tokens."""
    return layer("resid.2"), layer("resid.1", **_SECOND), layer("resid.1", untrained=True, **_SECOND)


def _planted(trial: Trial) -> tuple[Space, Space, Space]:
    """A planted dictionary, the same through a linear map, and the same codes with unrelated atoms."""
    data = own_world(trial).data
    draw = torch.Generator().manual_seed(trial.seed + 500)
    one = cast(Tensor, data.train.all().x), cast(Tensor, data.test.all().x)
    width = one[0].shape[1]
    linear = torch.eye(width) + 0.5 * torch.randn(width, width, generator=draw) / width**0.5
    atoms = F.normalize(torch.randn(len(data.truth.atoms), width, generator=draw), dim=1)
    other = [
        torch.as_tensor(c, dtype=torch.float32) @ atoms for c in (data.truth.codes, data.truth.test_codes)
    ]
    return one, (one[0] @ linear, one[1] @ linear), (other[0], other[1])


def _dictionary(trial: Trial, space: Space, offset: int) -> tuple[Rows, Any]:
    """Train a dictionary; its decoder rows, and its codes of the test rows."""
    train, test = space
    own = replace(trial, seed=trial.seed + offset)
    shape = tuple(train.shape[1:])
    model: Any = own.build(topk_sae, spec=shape, latents=trial.budget["latents"], k=trial.budget["k"])
    own.fit(model, rows_data(train), lr=1e-3)
    return Rows(model.decoder.atoms.detach()), csr(codes(model, test))


PROOF = Proof(
    data="dictionary",
    claims=Claim.read("""
        SVCCA of matched latents of two models is above 99 of 100 permuted pairings:
            trained/svcca > trained/svcca-limit
        so is the rank correlation of distances (RSA):
            trained/rsa > trained/rsa-limit
        SVCCA exceeds its chance by more than that of a model without training does:
            trained/svcca-above > untrained/svcca-above  (not at quick scale)
        so does RSA:
            trained/rsa-above > untrained/rsa-above  (not at quick scale)
        """),
    quick={"steps": 300, "batch_size": 128, "latents": 96, "k": 4, "lm": 0},
    default={"steps": 1500, "batch_size": 512, "latents": 512, "k": 16, "lm": 1},
    notes="""
        The models are those of `narrows.testing.tiny_lm` with one tokenizer and text: 4 layers of width 128, read
        after the third, and 3 layers of width 96 from another seed, read after the second; the third is the second as
        it is initialised. Latents are matched by the Pearson correlation of their activations on the test tokens:
        each must be the other's best, on in at least ten tokens, and r at least .1. SVCCA keeps 99 % of the variance
        of the matched decoder rows; RSA is the Spearman correlation of the distances of 400 of them; 1,000 permuted
        pairings each. The excess over chance is compared with the untrained model's, since chance depends on the
        number of pairs. At quick scale the models are linear maps of one planted dictionary, and the third has
        unrelated atoms.
        """,
)
