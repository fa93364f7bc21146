"""JointVAE (arXiv:1804.00104), section 5.1: how often the categorical latent tells the digit."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.published import nets
from benchmarks.published.tables import Request, Results, Table, trained
from narrows.core import NO_CONDITION, NO_WIDTHS, Batch, Condition, Widths
from narrows.methods.variational.jointvae import jointvae
from narrows.nets.kinds import Net
from narrows.proofs.clusters import accuracy

__all__ = ["TABLE"]

BATCH, EPOCHS, PER_EPOCH = 64, 100, 937
SPEC = replace(nets.BINARY, shape=(1, 32, 32), values="unit")


class Conditioned(nn.Sequential):
    """Modules one after the other; leading axes before those of `dims` are kept."""

    def __init__(self, dims: int, *modules: nn.Module) -> None:
        super().__init__(*modules)
        self.dims = dims

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(..., input) -> (..., output)."""
        lead = x.shape[: -self.dims]
        y = super().forward(x.reshape(-1, *x.shape[-self.dims :]))
        return y.reshape(*lead, *y.shape[1:])


class Convolutions(Net):
    """The authors' nets for 32 x 32 pixels: three convolutions of stride 2, and a layer of 256."""

    def encoder(self, shape: tuple[int, ...], out: int, condition: Widths = NO_WIDTHS) -> nn.Module:
        """(x, condition) -> (B, out)."""
        layers: list[nn.Module] = []
        for below, above in ((1, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(below, above, 4, 2, 1), nn.ReLU()]
        return Conditioned(3, *layers, nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, out))

    def decoder(self, z: int, shape: tuple[int, ...], condition: Widths = NO_WIDTHS) -> nn.Module:
        """(z, condition) -> (*samples, B, *shape)."""
        layers: list[nn.Module] = [nn.Linear(z, 256), nn.ReLU(), nn.Linear(256, 1024), nn.ReLU()]
        layers.append(nn.Unflatten(1, (64, 4, 4)))
        layers += [nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU()]
        layers += [nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1)]
        return Conditioned(1, *layers)


def larger(x: Tensor) -> Tensor:
    """Images of 32 x 32 pixels, by bilinear interpolation."""
    return F.interpolate(x, (32, 32), mode="bilinear", align_corners=False)


def measure(request: Request) -> dict[str, float]:
    """Train, then match categories and digits of the test images."""
    train, test, labels = nets.digits()
    torch.manual_seed(request.seed)
    grow = f"linear:0:5:{request.budget['growth']}"
    model = jointvae(
        SPEC,
        latent=10,
        discrete=(10,),
        capacity=grow,
        discrete_capacity=grow,
        net=Convolutions(),
        likelihood="bernoulli",
    )
    lr = request.budget["lr"]
    seconds = trained(model, nets.Images(larger(train)), request, batch_size=BATCH, lr=lr)
    with torch.no_grad():
        logs = [model.encode(Batch(x)).q.logits[0] for x in larger(test).split(500)]  # type: ignore[union-attr]
    chance = torch.cat(logs).exp()
    found, share = chance.argmax(1), chance.mean(0)
    counts = torch.bincount(found * 10 + labels, minlength=100).view(10, 10)
    own = torch.special.entr(chance).sum(1).mean()
    return {
        "seconds": seconds,
        "accuracy": float(counts.amax(1).sum()) / len(labels),
        "one-to-one": accuracy(found, labels),
        "information": float(torch.special.entr(share).sum() - own),
        "rate": float(torch.tensor(10.0).log() - own),
    }


def lines(found: Results) -> list[str]:
    """The published accuracy and ours, by seed."""
    said = ["| | published | ours | by seed |", "|---|---|---|---|"]
    names = {
        "accuracy": ("accuracy, each category its most frequent digit", "0.887"),
        "one-to-one": ("accuracy, one category for each digit", ""),
        "information": ("information of the category about the image, nats", ""),
        "rate": ("its rate, at most log 10 = 2.30 nats", ""),
    }
    for name, (what, number) in names.items():
        each = ", ".join(f"{value:.3f}" for value in found.of("JointVAE", name))
        said.append(f"| {what} | {number} | {found.cell('JointVAE', name, 3)} | {each} |")
    return said


TABLE = Table(
    title="JointVAE on MNIST, 32 x 32 pixels: the categorical latent against the digit",
    budgets={
        "reduced": {"steps": 3000, "growth": 6250, "lr": 2e-3},  # four times faster, at four times the rate
        "full": {"steps": EPOCHS * PER_EPOCH, "growth": 25_000, "lr": 5e-4},
    },
    published=lambda arm: EPOCHS * PER_EPOCH,
    arms=lambda scale: ["JointVAE"],
    measure=measure,
    lines=lines,
)
