"""Priors that are told labels: shares of the classes, priors without labels, and what the recipe says."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.core import Batch, Symbols, TokenLayout
from narrows.core.check import RequestError
from narrows.priors import PRIORS, with_labels
from narrows.priors.labels import LabelledPrior

LABELLED = [name for name in PRIORS.parts if "labels" in PRIORS.parameters(name)]
SYMBOLS = {
    "indices": Symbols((4,), codes=5, placed=TokenLayout(((2, 2),))),
    "stacks": Symbols((4, 2), codes=5),
    "tokens": Symbols((4, 3)),
    "vector": Symbols((6,)),
    "array": Symbols((2, 2, 2)),
}


@pytest.mark.parametrize("name", LABELLED)
def test_labels_are_drawn_as_often_as_in_training(name: str) -> None:
    symbols = SYMBOLS[PRIORS.constructor(name).reads[0]]  # type: ignore[attr-defined]
    if name == "next-scale":
        symbols = Symbols((5,), codes=5, placed=TokenLayout(((1, 1), (2, 2))))
    prior = PRIORS.make(f"{name}:labels=yes", symbols=symbols, classes=3)
    assert isinstance(prior, LabelledPrior)
    rows = torch.tensor([0, 2, 2, 2])
    codes = torch.randint(5, (4, *symbols.shape)) if symbols.codes else torch.randn(4, *symbols.shape)
    batch = Batch(codes, condition={"labels": torch.eye(3)[rows]})
    code = SimpleNamespace(code_vectors=lambda: torch.randn(5, 4))
    prior.prepare(SimpleNamespace(bottleneck=code), batch)  # type: ignore[arg-type]
    assert prior.shares.tolist() == [0.25, 0, 0.75]
    torch.manual_seed(0)
    drawn = prior.asked({}, 4000, 1.0, torch.device("cpu"))
    assert drawn is not None
    assert torch.allclose(drawn.float().mean(0), prior.shares, atol=0.03)
    with pytest.raises(RequestError, match="labels"):
        prior.train().told({}, 4)
    assert prior.eval().told({}, 4) is None


def test_the_text_says_whether_a_prior_is_told_labels() -> None:
    assert with_labels("maskgit", 0) == "maskgit"
    assert with_labels("none", 3) == "none"
    assert with_labels("maskgit:labels=no", 3) == "maskgit:labels=no"


def test_fit_tells_a_prior_the_labels_that_the_data_have(tmp_path) -> None:  # type: ignore[no-untyped-def]
    small = {"codes": 8, "width": 4, "steps": 3, "progress": False}
    method = nr.fit("digits", "vq-vae", tmp_path / "a", prior="ar:width=8,depth=1", **small)
    assert method.recipe.arguments["prior"] == "ar:width=8,depth=1,labels=yes"
    assert method.sample(3, label=2).shape == (3, 1, 8, 8)
    base = nr.fit("digits", "vq-vae", tmp_path / "b", prior="none", **small)
    second = nr.fit(base, prior="maskgit:width=8", out=tmp_path / "c", steps=2, progress=False)
    recipe = json.loads((tmp_path / "c" / "recipe.json").read_text())
    assert recipe["prior"]["text"] == "maskgit:width=8,labels=yes"
    assert second.sample(3, label=2, guidance=2.0, steps=2).shape == (3, 1, 8, 8)
    unlabelled = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    assert second.encode(unlabelled)["indices"].shape[0] == 5
    assert second.reconstruct(unlabelled).shape == unlabelled.shape
    plain = nr.fit(base, prior="maskgit:width=8,labels=no", out=tmp_path / "d", steps=2, progress=False)
    with pytest.raises(RequestError, match="labels=yes"):
        plain.sample(3, label=2)
