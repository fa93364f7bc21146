"""The random dictionary: the control that shows which figures a sparse code without training would have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import (
    NO_CONDITION,
    Autoencoder,
    Batch,
    Bottleneck,
    Code,
    Condition,
    Objective,
    Sparse,
    Tree,
)
from narrows.core.check import refuse, whole
from narrows.core.evidence import Latents
from narrows.kernels.sparse import LazyLinear, decode, top
from narrows.likelihoods import Squared

__all__ = ["Control", "random_atoms", "random_dictionary"]


@dataclass(frozen=True)
class Control:
    r"""A random dictionary of equal shape and L0, and its pass over the examples of the audit, on the CPU.

    Args:
        model: see `random_dictionary`.
        z: its codes of the examples, (B, N).
        output: its reconstructions, (B, \*shape).
        atoms: its decoder's atoms, of length 1, (N, D).
    """

    model: Autoencoder
    z: Sparse
    output: Tensor
    atoms: Tensor

    @property
    def k(self) -> int:
        """The number of latents that are on in a code."""
        return int(self.z.values.shape[-1])


def random_atoms(latents: int, size: int, seed: int) -> Tensor:
    """Independent directions of length 1, uniform on the sphere, (latents, size)."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(latents, size, generator=generator), dim=1)


@torch.no_grad()
def random_dictionary(
    batch: Batch, latents: int, l0: float, seed: int = 0, *, signed: bool = False, chunk: int = 1024
) -> Control:
    r"""A sparse autoencoder with random atoms, of the same shape and L0 as another, and its pass over some examples.

    .. math:: z = g\, \mathrm{TopK}_{k}(A (x - \bar x)), \qquad \hat x = A^\top z + \bar x

    The rows of A are random directions of length 1 and k is the L0, rounded. It knows two facts of the data: the mean,
    and one factor g for all latents, which minimises the squared error; without g, the sum of many nearby atoms is far
    too long and the error is larger than that of the mean. If the target is not the input (a transcoder), its atoms
    are other random directions, and g is close to 0.

    Args:
        batch: the examples, x (B, ...) and the target (B, ...); their conditions are ignored.
        latents: number of atoms, N.
        l0: mean number of latents that are on; at least one is.
        seed: of the atoms.
        signed: select the largest absolute values, for codes with negative values.
        chunk: number of examples in one pass.

    Raises:
        RequestError: examples that are not tensors of real numbers.

    Example:
        >>> found = random_dictionary(Batch(torch.randn(50, 8)), latents=32, l0=4.2)
        >>> found.k, found.z.width, found.output.shape
        (4, 32, torch.Size([50, 8]))
    """
    x, target = batch.x, batch.target
    if not isinstance(x, Tensor) or not isinstance(target, Tensor) or not x.is_floating_point():
        raise refuse("batch", type(x).__name__, "examples that are tensors of real numbers")
    k = min(max(1, round(l0)), whole("latents", latents))
    read = random_atoms(latents, x[0].numel(), seed)
    write = read if target is x else random_atoms(latents, target[0].numel(), seed + 1)
    encoder = _Encoder(read, x.flatten(1).mean(0))
    decoder = _Atoms(write, target.flatten(1).mean(0), tuple(target.shape[1:]))
    likelihood = Squared(tuple(target.shape[1:]))
    bottleneck = _TopK(latents, k, signed)
    model = Autoencoder(encoder, bottleneck, decoder, likelihood, Objective()).to(x.device)
    model.requires_grad_(False).eval()
    codes: list[Sparse] = []
    sums: list[Tensor] = []
    inner = square = 0.0
    for some, wanted in zip(x.split(chunk), target.split(chunk), strict=True):
        z = model.encode(Batch(some)).z
        made = decode(z, decoder.atoms)
        inner += float((made * (wanted.flatten(1) - decoder.bias)).double().sum())
        square += float(made.double().square().sum())
        codes.append(z)
        sums.append(made)
    gain = max(0.0, inner / square) if square else 0.0
    bottleneck.gain.fill_(gain)
    indices, values = (torch.cat([getattr(z, name) for z in codes]) for name in ("indices", "values"))
    output = (gain * torch.cat(sums) + decoder.bias).unflatten(1, likelihood.shape)
    return Control(
        model, Sparse(indices.cpu(), gain * values.cpu(), latents), output.cpu(), write.detach().cpu()
    )


class _Encoder(nn.Module):
    """Inner products of the atoms with the centred example."""

    def __init__(self, atoms: Tensor, centre: Tensor) -> None:
        super().__init__()
        self.atoms, self.centre = nn.Parameter(atoms), nn.Parameter(centre)

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> LazyLinear:
        """The pre-activations of examples (B, ...)."""
        return LazyLinear(x.flatten(1), self.atoms, self.atoms.new_zeros(len(self.atoms)), self.centre)


class _TopK(Bottleneck):
    """The k largest positive values, or those with the largest absolute values, times one factor."""

    gain: Tensor

    def __init__(self, latents: int, k: int, signed: bool) -> None:
        super().__init__()
        self.latents, self.k, self.signed = latents, k, signed
        self.register_buffer("gain", torch.ones(()))

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """The code of pre-activations."""
        if self.signed:
            pre = h.dense()
            indices = pre.abs().topk(self.k, dim=-1).indices
            z = Sparse(indices, pre.gather(-1, indices) * self.gain, self.latents)
        else:
            found = top(h, self.k)
            z = Sparse(found.indices, found.values.relu() * self.gain, self.latents)
        return Code(z, evidence=(Latents(z),))


class _Atoms(nn.Module):
    """The weighted sum of atoms, and the mean of the data."""

    def __init__(self, atoms: Tensor, bias: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.atoms, self.bias, self.shape = nn.Parameter(atoms), nn.Parameter(bias), shape

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """The reconstruction of sparse or dense codes (..., N), or of such a code beside a skipped input."""
        z = z[0] if isinstance(z, tuple) else z
        flat = decode(z, self.atoms) if isinstance(z, Sparse) else z @ self.atoms
        return (flat + self.bias).unflatten(-1, self.shape)
