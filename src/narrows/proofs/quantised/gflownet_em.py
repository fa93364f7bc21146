"""GFlowNet-EM: how near is a policy to the posterior of 12 bits, beside an encoder of independent bits?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.discrete.gumbel import GumbelQuantizer
from narrows.bottlenecks.discrete.policy import PolicyPosterior
from narrows.core import NO_CONDITION, Autoencoder, Condition, Objective, Spec
from narrows.likelihoods import Bernoulli
from narrows.methods.quantised.gflownet_em import gflownet_em
from narrows.nets import build
from narrows.nets.after import After
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.reduced import independent_nll, reduced

__all__ = ["PROOF"]

NET, WIDTH = "mlp:256", 64
"""The nets of all, and the width of the policy; the encoder has twice as many features."""
RATE = 3e-3
_ROWS = 100
"""Examples that are enumerated together."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train both models; enumerate all codes of test examples."""
    budget = trial.budget
    data = reduced(trial.data, rows=budget["rows"], tests=budget["test"])
    bits, steps = budget["bits"], budget["steps"]
    codes = torch.tensor([[n >> (bits - 1 - j) & 1 for j in range(bits)] for n in range(2**bits)])
    x = data.test.all().x
    assert isinstance(x, Tensor)
    numbers = {"independent/nll": independent_nll(data.train.all().x, x, data.spec)}
    models = {
        "gflownet": trial.build(
            gflownet_em,
            spec=data.spec,
            latent=bits,
            width=WIDTH,
            net=NET,
            temperature=f"linear:4:1:{steps // 2}",
        ),
        "gumbel": trial.build(_factorised, spec=data.spec, bits=bits, steps=steps),
    }
    for name, model in models.items():
        trial.fit(model, data.train, lr=RATE)
        with torch.no_grad():
            found = [_exact(model, codes, part) for part in x.split(_ROWS)]
        nll, gap = torch.cat(found, 1).mean(1).tolist()
        numbers |= {f"{name}/nll": nll, f"{name}/kl": gap, f"{name}/bound": nll + gap}
    return numbers


def _exact(model: Autoencoder, codes: Tensor, x: Tensor) -> Tensor:
    """-log p(x), and KL(q(z|x) || p(z|x)), of examples, (2, B), by the sum over all codes (2^Z, Z)."""
    logits = model.decode(model.bottleneck.from_symbols(codes).z).flatten(1).double()
    flat = x.flatten(1).double()
    joint = flat @ logits.T - F.softplus(logits).sum(1) - codes.shape[1] * math.log(2)
    log_p = joint.logsumexp(1)
    features = model.encoder(x)
    if isinstance(model.bottleneck, GumbelQuantizer):
        each = model.bottleneck.logits(features).log_softmax(-1)  # (B, Z, 2)
        log_q = each[:, torch.arange(codes.shape[1]), codes].sum(-1)
    else:
        q = model.bottleneck.posterior(features)  # type: ignore[operator]
        assert isinstance(q, PolicyPosterior)
        log_q = q.enumerated()
    log_q = log_q.double()
    return torch.stack([-log_p, (log_q.exp() * (log_q - joint + log_p[:, None])).sum(1)])


class _Pairs(nn.Module):
    """An encoder whose output is read as two numbers for each bit, (B, Z, 2)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        found: Tensor = self.net(x, condition)
        return found.unflatten(-1, (-1, 2))


def _factorised(spec: Spec, bits: int, steps: int) -> Autoencoder:
    """Independent bits relaxed by Gumbel-softmax, whose temperature falls to 1/16 in three quarters of the steps."""
    falling = f"cosine:1:0.0625:{steps * 3 // 4}"
    output = Bernoulli(spec.shape)
    encoder = build.encoder(spec.shape, 2 * WIDTH, NET)
    encoder = _Pairs(After(encoder, build.decoder(2 * WIDTH, (2 * bits,), "linear")))
    decoder = After(nn.Flatten(-2), build.decoder(2 * bits, output.parameter_shape, NET))
    quantizer = GumbelQuantizer(2, codes=2, tokens=bits, temperature=falling)
    return Autoencoder(encoder, quantizer, decoder, output, Objective())


PROOF = Proof(
    data="mnist",
    quick_data="digits",
    claims=Claim.read("""
        the divergence of the posterior of the policy is at most 0.7 of that of independent bits:
            gflownet/kl < 0.7 * gumbel/kl  (not at quick scale)
        and log p(x) of unseen examples is higher:
            gflownet/nll < gumbel/nll  (not at quick scale)
        it is a model of x:
            gflownet/nll < independent/nll
        """),
    quick={"steps": 60, "rows": 1000, "test": 100, "bits": 6, "batch_size": 50},
    default={"steps": 1500, "rows": 20_000, "test": 300, "bits": 12, "batch_size": 100},
    full={"steps": 50_000, "rows": 60_000, "test": 10_000, "batch_size": 100},
    notes="""
        MNIST averaged to 14 x 14 pixels and binarised; 12 bits (quick: 6), so that KL(q || p(z|x)) and log p(x) are
        exact sums over all codes of each model, in nats. Perceptrons of one hidden layer of 256 units, as many steps
        for both. The rival has independent bits, relaxed by Gumbel-softmax, whose temperature falls from 1 to 1/16 in
        three quarters of the steps; its log p(x) is that of hard codes. The temperature of the policy's target falls
        from 4 to 1 in half of the steps. `bound` is the negative evidence lower bound. The paper compares test
        likelihoods of models with a grid of 4 x 4 categorical codes, and learns log Z.
        """,
)
