"""VIB: from few and noisy labels, a code of limited rate against maximum likelihood with the same net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from narrows.audit.metrics.calibration import calibration_error
from narrows.core import Autoencoder
from narrows.core.predictor import Predictor
from narrows.data import Dataset
from narrows.methods.variational.vib import vib
from narrows.proofs.classifier import classifier
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.reduced import reduced

__all__ = ["PROOF"]

LATENT, NET = 16, "mlp:128,128"
BETAS = (0.001, 0.01, 0.1)
WRONG = 0.2
"""Share of the training labels that are drawn anew from all classes but the right one."""


def measure(trial: Trial) -> Mapping[str, float]:
    """Train a VIB at each weight, and five nets by maximum likelihood; choose the weight on other noisy labels."""
    rows = trial.budget["rows"]
    data = reduced(trial.data, rows=2 * rows, tests=trial.budget["test"], binary=False)
    noisy = _with_errors(data.train, data.spec.classes, trial.seed)
    train, chosen_on = noisy.take(rows), noisy.rows(slice(rows, None))
    test = data.test
    numbers: dict[str, float] = {}
    held: dict[float, float] = {}
    options = {"spec": data.spec, "latent": LATENT, "net": NET}
    for beta in BETAS:
        model = trial.fit(trial.build(vib, beta=beta, **options), train, lr=1e-3)
        held[beta] = _judged(_probabilities(model, chosen_on, trial.seed), chosen_on)["nll"]
        found = _judged(_probabilities(model, test, trial.seed), test)
        numbers |= {f"beta={beta}/{what}": value for what, value in found.items()}
        with torch.no_grad():
            numbers[f"beta={beta}/rate"] = float(model.encode(test.all()).costs["kl"].mean())
    best = min(held, key=lambda beta: held[beta])
    numbers |= {f"vib/{what}": numbers[f"beta={best}/{what}"] for what in ("nll", "ece", "error")}
    nets = []
    for member in range(trial.budget["nets"]):
        model = replace(trial, seed=trial.seed + 1000 * member).build(
            classifier, spec=data.spec, width=LATENT, net=NET
        )
        trial.fit(model, train, lr=1e-3)
        nets.append(_probabilities(model, test, trial.seed))
    for name, p in (("ml", nets[0]), ("ensemble", torch.stack(nets).mean(0))):
        numbers |= {f"{name}/{what}": value for what, value in _judged(p, test).items()}
    return numbers


def _with_errors(part: Dataset, classes: int, seed: int) -> Dataset:
    """The examples with a share of wrong labels."""
    assert part.labels is not None
    draw = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(part), generator=draw) < WRONG
    moved = torch.randint(1, classes, (len(part),), generator=draw)
    return replace(part, labels=torch.where(wrong, (part.labels + moved) % classes, part.labels))


@torch.no_grad()
def _probabilities(model: Autoencoder, part: Dataset, seed: int) -> Tensor:
    """p(y | x) of all examples: with a posterior, the mean over 12 codes, as in the first paper."""
    assert isinstance(model, Predictor)
    batch = part.all()
    torch.manual_seed(seed)
    draws = 0 if model.encode(batch[:1]).rate is None else 12
    return model.predict(batch, draws)


def _judged(p: Tensor, part: Dataset) -> dict[str, float]:
    """The negative log-probability of the labels, the calibration error and the share of wrong predictions."""
    assert part.labels is not None
    labels = part.labels[: len(p)]
    return {
        "nll": -float(p.double().gather(1, labels[:, None]).clamp_min(1e-300).log().mean()),
        "ece": calibration_error(p, labels),
        "error": float((p.argmax(1) != labels).double().mean()),
    }


PROOF = Proof(
    data="fashion-mnist",
    quick_data="digits",
    claims=Claim.read("""
        -log p(y | x) of unseen examples is at least 0.1 nats less than after maximum likelihood:
            vib/nll < ml/nll - 0.1  (not at quick scale)
        and the calibration error is at least a fifth less:
            vib/ece < 0.8 * ml/ece  (not at quick scale)
        the weight limits the rate:
            beta=0.1/rate < beta=0.001/rate - 1
        """),
    quick={"steps": 50, "rows": 200, "test": 200, "nets": 1, "batch_size": 50},
    default={"steps": 800, "rows": 500, "test": 5000, "nets": 5, "batch_size": 100},
    full={"steps": 10_000, "rows": 500, "test": 10_000, "batch_size": 100},
    notes="""
        500 images of 14 x 14 pixels, of which 20 % of the labels are wrong; the weight is chosen on 500 other images
        with such labels, and all is measured on true labels of the test set. Predictions of the VIB are the mean over
        12 codes. Beside it stand five nets trained by maximum likelihood from other initial weights, whose mean
        probability is `ensemble`.
        """,
)
