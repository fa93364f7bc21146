"""A transcoder of a layer whose hidden units are known, against a sparse autoencoder of what the layer puts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import Batch, Spec
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.kernels import metrics as sparsity
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.methods.sparse.transcoder import transcoder
from narrows.proofs.engine import Claim, Proof, Trial
from narrows.proofs.sparse._planted import own_world

__all__ = ["PROOF", "Layer"]


@dataclass(frozen=True)
class Layer:
    """A planted MLP with sparse hidden units: ``y = ReLU(x W' - b) V``, four times as wide inside as outside.

    Args:
        read: what each hidden unit reads, rows of unit length, (H, D).
        threshold: where each begins, (H,): its pre-activations' quantile, so that all fire equally often.
        write: what each unit writes, rows of unit length, (H, D).
    """

    read: Tensor
    threshold: Tensor
    write: Tensor

    @classmethod
    def plant(cls, x: Tensor, units: int, rate: float, seed: int) -> Layer:
        """Draw a layer whose units are on for a share `rate` of the inputs x (N, D)."""
        draw = torch.Generator().manual_seed(seed + 1000)  # not the draw that the models start from
        width = x.shape[1]
        read, write = (F.normalize(torch.randn(units, width, generator=draw), dim=1) for _ in range(2))
        return cls(read, torch.quantile((x @ read.T)[:4096], 1 - rate, dim=0), write)

    def __call__(self, x: Tensor) -> Tensor:
        """What the layer puts out for inputs (B, D)."""
        return (x @ self.read.T - self.threshold).relu() @ self.write

    def recovered(self, atoms: Tensor) -> Tensor:
        """The largest cosine of each unit's output direction with any of some atoms, (H,)."""
        return (self.write @ F.normalize(atoms.detach().cpu(), dim=1).T).max(1).values


def measure(trial: Trial) -> Mapping[str, float]:
    """Plant a layer on the data, train both for as many steps, and look for the layer's hidden units."""
    trial = own_world(trial, d=trial.budget["width"], atoms=2 * trial.budget["width"])
    width, k = trial.data.spec.size, trial.budget["active"]
    units = 4 * width
    inputs = [part.all(limit=40_000).x.flatten(1) for part in (trial.data.train, trial.data.test)]
    layer = Layer.plant(inputs[0], units, k / units, trial.seed)
    train, test = ((x, layer(x)) for x in inputs)
    sizes = {"latents": 2 * units, "k": 2 * k}
    models = {
        "transcoder": (
            trial.build(transcoder, spec=Spec((width,), target=(width,)), **sizes),
            _dataset(*train),
        ),
        "sae": (trial.build(topk_sae, spec=Spec((width,)), **sizes), _dataset(train[1])),
    }
    numbers: dict[str, float] = {}
    for name, (model, examples) in models.items():
        trial.fit(model, examples, lr=1e-2)
        cosine = layer.recovered(cast(Tensor, model.decoder.atoms))
        seen = Batch(*test) if name == "transcoder" else Batch(test[1])
        numbers[f"{name}/cosine"] = float(cosine.mean())
        numbers[f"{name}/found"] = float((cosine > 0.9).double().mean())
        numbers[f"{name}/fvu"] = sparsity.fvu(test[1], model.to("cpu").reconstruct(seen))
    return numbers


def _dataset(x: Tensor, target: Tensor | None = None) -> Dataset:
    """Vectors in memory as a data set of their own."""
    return Dataset(x, Scaling(), tuple(x.shape[1:]), target=target)


PROOF = Proof(
    data="dictionary",
    data_options={"d": 32, "atoms": 64},
    claims=Claim.read("""
        the transcoder finds more hidden units:
            transcoder/found > sae/found + 0.1  (not at quick scale)
            Post hoc: [width]
        its atoms point closer to what the units write:
            transcoder/cosine > sae/cosine
            Post hoc: [width]
        it explains the layer's output as well as a code of that output does:
            transcoder/fvu < sae/fvu  (not at quick scale)
            Post hoc: Measured without a claim on seeds 0 to 2, where it held (0.038 against 0.058).
        [width] In 16 dimensions, the first world (seeds 0 to 2), the output is too narrow for any code of it;
            32 were taken after one seed had shown 0.91 against 0.68 of the units there.
        """),
    seeds=(100, 101, 102),
    quick={"steps": 200, "batch_size": 128, "width": 16},
    default={"steps": 3000, "batch_size": 256, "active": 4, "width": 32},
    full={"steps": 20_000, "batch_size": 1024, "width": 64},
    notes="""
        The layer is planted: inputs are sums of atoms (a world of its own for each seed), hidden units read and write
        random directions, each on for the same small share of inputs. A unit counts as found where an atom has a
        cosine above 0.9 with what it writes. Both methods have twice as many latents as there are units, the same k,
        steps and learning rate. Quick scale is the easy world of 16 dimensions, where a code of the output alone is
        hardly identifiable; it has 400 steps since encoders start at the scale of least error, which lets the code of
        the output learn faster: after 150, which sufficed before, the two were alike. The paper's models have up to
        1.4 billion parameters; its circuits are left out.
        """,
)
