"""One dictionary for all layers against one a layer, and how latents are spread over the layers of one token."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.audit.depth import depth
from narrows.core import Batch
from narrows.methods.sparse.multi_layer_sae import multi_layer_sae
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.stacked import Planted, dataset, fvus, layers, spec_of

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train both on the same layers, as many latents in total and on, and look at the depth of the latents."""
    train, test = layers(trial) if trial.budget["contexts"] else planted(trial)
    count, latents, k = train.shape[1], trial.budget["latents"], trial.budget["k"]
    model = trial.build(multi_layer_sae, spec=spec_of(train), latents=count * latents, k=k)
    trial.fit(model, dataset(train), lr=trial.budget["lr/1000"] / 1000)
    with torch.no_grad():
        z = model.encode(Batch(test)).z
        errors = fvus(test, model.reconstruct(Batch(test)))
    alone = []
    for m in range(count):
        one = trial.build(topk_sae, spec=spec_of(train[:, m]), latents=latents, k=k)
        trial.fit(one, dataset(train[:, m]), lr=trial.budget["lr/1000"] / 1000)
        with torch.no_grad():
            back = one.reconstruct(Batch(test[:, m]))
        alone += fvus(test[:, [m]], back[:, None])
    return {
        "multi/fvu": sum(errors) / count,
        "each/fvu": sum(alone) / count,
        "worst/ratio": max(a / b for a, b in zip(errors, alone, strict=True)),
        "depth/ratio": depth(z).ratio,
        "depth/control": depth(z, shuffle=trial.seed).ratio,
    }


def planted(trial: Trial) -> tuple[Tensor, Tensor]:
    """Four layers with the same directions, in which each feature of a token is on for two neighbouring layers."""
    world = Planted.of(trial, torch.ones(48, 1), trial.budget["width"])
    draw = torch.Generator().manual_seed(trial.seed + 2000)
    parts = []
    for codes in (trial.data.truth.codes, trial.data.truth.test_codes):
        code = torch.from_numpy(codes)[:, None, :48]
        start = torch.randint(0, 3, (len(code), 1, 48), generator=draw)
        at = torch.arange(4)[None, :, None]
        parts.append(torch.where((at == start) | (at == start + 1), code, 0) @ world.atoms[:, 0])
    return parts[0], parts[1]


_SIZES = {"batch_size": 256, "width": 24}


PROOF = Proof(
    method="multi-layer-sae",
    data="dictionary",
    data_options={"d": 24, "atoms": 48, "l0": 4.0},
    claims=(
        Claim("in no layer is the error over 1.5 times that of an SAE of its own", "worst/ratio", "<", 1.5),
        Claim(
            "a token's latents are on at a narrower depth than chance would have it",
            "depth/ratio",
            "<",
            "depth/control",
            factor=0.9,
        ),
    ),
    measure=measure,
    scales={
        "quick": {**_SIZES, "steps": 60, "lr/1000": 10, "latents": 24, "k": 3, "contexts": 0},
        "default": {**_SIZES, "steps": 800, "lr/1000": 3, "latents": 128, "k": 8, "contexts": 128},
        "full": {**_SIZES, "steps": 20_000, "lr/1000": 1, "latents": 1024, "k": 16, "contexts": 1024},
    },
    notes=(
        "The layers are the residual stream after each of the story model's five layers; at quick scale four planted "
        "ones, in which each feature of a token is on in two neighbouring layers. The dictionaries of single layers "
        "have a fifth of the latents each, so that both sides have as many in total, and the same k. The variance "
        "of a latent's layer splits into what lies within tokens and between them; `depth/ratio` is the share "
        "within. The control deals each latent's layers out anew among its own activations. The authors' models "
        "have 6 to 34 layers."
    ),
)
