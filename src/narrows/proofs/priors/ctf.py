"""Does a causal model of clusters of codes, refined in one pass, sample better than one of the codes themselves?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from narrows.core import Autoencoder
from narrows.priors.ctf import CTF
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.quality import decoded
from narrows.proofs.second import index_grid

__all__ = ["PROOF"]


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VQ-VAE with many codes, and two priors over its indices; exchange codes within and across clusters."""
    first = index_grid(trial)
    base = first.model
    numbers = {"positions/frechet": first.shuffled()}
    arms = {
        "ctf": f"ctf:width=64,depth=2,fine_depth=2,clusters={trial.budget['clusters']}",
        "flat": "ar:width=64,depth=4",
    }
    for name, text in arms.items():
        prior = first.fit(text)
        numbers[f"{name}/nll"] = first.nll(prior)
        numbers[f"{name}/frechet"] = first.sampled()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            prior.sample(1)
        numbers[f"{name}/operations"] = float(counter.get_total_flops())
        numbers[f"{name}/weights"] = float(sum(p.numel() for p in prior.parameters()))
        if isinstance(prior, CTF):
            torch.manual_seed(trial.seed)
            numbers["swap/cluster"] = swapped(base, first.held_out, prior.cluster)
            numbers["swap/any"] = swapped(base, first.held_out, torch.zeros_like(prior.cluster))
    return numbers


@torch.no_grad()
def swapped(model: Autoencoder, indices: Tensor, cluster: Tensor) -> float:
    """The mean squared change of an image if one of its codes is exchanged for another of the same cluster.

    Args:
        model: the tokenizer.
        indices: of images, (B, L); one position of each is drawn.
        cluster: the cluster of each code, (K,). Codes that are alone in a cluster are left out.
    """
    rows = torch.arange(len(indices))
    place = torch.randint(indices.shape[1], (len(indices),))
    old = indices[rows, place]
    others = (cluster[old][:, None] == cluster) & (old[:, None] != torch.arange(len(cluster)))
    kept = others.any(1)
    rows, place = rows[kept], place[kept]
    new = indices.clone()
    new[rows, place] = torch.multinomial(others[kept].float(), 1)[:, 0]
    images = [decoded(model, model.bottleneck.from_symbols(some[rows]).z) for some in (indices, new)]
    return float((images[0] - images[1]).square().mean())


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        a code exchanged for another of its cluster changes pixels at most half as much as for any other code:
            swap/cluster < 0.5 * swap/any  (not at quick scale)
        the Frechet distance of samples is below that of a causal transformer over the codes with as many weights:
            ctf/frechet < flat/frechet  (not at quick scale)
        and at most three quarters of that of codes with the frequencies of their places:
            ctf/frechet < 0.75 * positions/frechet  (not at quick scale)
        and a sample takes at most a fifth more operations:
            ctf/operations < 1.2 * flat/operations
        """),
    quick={
        "steps": 8,
        "prior_steps": 2,
        "codes": 64,
        "clusters": 8,
        "rows": 200,
        "test": 40,
        "look": 5,
        "batch_size": 32,
    },
    default={
        "steps": 300,
        "prior_steps": 300,
        "codes": 512,
        "clusters": 32,
        "rows": 20_000,
        "test": 1000,
        "look": 300,
        "batch_size": 64,
    },
    full={"steps": 20_000, "prior_steps": 20_000, "rows": 60_000, "test": 10_000},
    notes="""
        A grid of 7 x 7 tokens (digits: 4 x 4) of images at 14 x 14 pixels, 512 codes of width 8 in 32 clusters. Both
        priors have four blocks of 64 channels, two and two in that of clusters, about as many weights, equal steps,
        and the same codes. Codes of a row are independent given all clusters, so that `nll`, which is exact for both,
        compares a narrower family with the causal one. Operations are those of matrix products while one example is
        drawn. Frechet distances are of 32 features of a small classifier. The paper's scores, with Inception on
        ImageNet at 256 pixels and codebooks of 16,384, and its times are not shown.
        """,
)
