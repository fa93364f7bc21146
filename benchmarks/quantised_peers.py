"""Quantisers of vector-quantize-pytorch, EnCodec and DAC, run by their interpreter for `benchmarks.quantised`.

It imports nothing of `narrows`. A step of vector-quantize-pytorch is its forward pass in training mode, which updates
the codebook, and the backward pass; straight-through, without restarts, as ours. EnCodec and DAC encode. What a
package imports at its top and its quantiser never uses (torchaudio, audiotools) may be missing: an empty module
stands in.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks import apart

__all__ = ["CODES", "DEPTH", "FRAMES", "ROUNDS", "SOUND", "WIDTH", "repeated", "tokens"]

EXAMPLES, LENGTH, WIDTH, DEPTH, BITS, CODES = 16, 1024, 64, 8, 13, 1024
"""Examples, tokens of one, width, layers, bits of the large codebook, codes of a layer."""
FRAMES, SOUND = 75, 128
"""Frames of a second of sound at 24 kHz, and their width, as EnCodec has them."""
ROUNDS = {"vq-1024": 4, "encode-8x1024": 100}
"""Steps of a round, where one is too short."""


def tokens(width: int = WIDTH) -> Tensor:
    """The tokens that all quantise, the same in every process."""
    return torch.randn(EXAMPLES, LENGTH, width, generator=torch.Generator().manual_seed(0))


def repeated(case: str, step: Callable[[], Any]) -> Iterator[float]:
    """Rounds of steps, each with the memory beyond that before the first, in MB."""
    before = apart.peak()
    while True:
        for _ in range(ROUNDS.get(case, 1)):
            step()
        yield apart.peak() - before


def _trained(module: Any, x: Tensor) -> Callable[[], None]:
    def step() -> None:
        leaf = x.clone().requires_grad_()
        vectors, _, loss = module(leaf)
        (vectors.sum() + 0.25 * loss.sum()).backward()

    return step


def vector_quantize_pytorch(case: str) -> Iterator[float]:
    """VQ, RVQ, LFQ or SimVQ."""
    import vector_quantize_pytorch as v

    plain: dict[str, Any] = {"rotation_trick": False, "decay": 0.99}
    x = tokens(BITS if case == "lfq-8192" else WIDTH)
    if case.startswith("vq"):
        module = v.VectorQuantize(WIDTH, int(case.split("-")[1]), **plain)
        module._codebook.embed.copy_(x.flatten(0, 1)[None, : module.codebook_size])
        module._codebook.embed_avg.copy_(module._codebook.embed)
    elif case == "rvq-8x1024":
        module = v.ResidualVQ(dim=WIDTH, codebook_size=CODES, num_quantizers=DEPTH, **plain)
    elif case == "lfq-8192":
        module = v.LFQ(dim=BITS)
    else:
        module = v.SimVQ(WIDTH, 2**BITS, rotation_trick=False)
    return repeated(case, _trained(module.train(), x))


def encodec(case: str) -> Iterator[float]:
    """`encode` of the residual quantiser of EnCodec."""
    _stand_in("torchaudio")
    from encodec.quantization import ResidualVectorQuantizer

    module = ResidualVectorQuantizer(SOUND, DEPTH, CODES, kmeans_init=False).eval()
    x = torch.randn(1, SOUND, FRAMES)
    return repeated(case, torch.no_grad()(lambda: module.vq.encode(x)))


def dac(case: str) -> Iterator[float]:
    """The residual quantiser of DAC at its own sizes: 87 frames of width 1024, codes of width 8; it has no `encode`."""
    _stand_in("torchaudio", "audiotools")
    found = find_spec("dac") if "dac" not in sys.modules else None
    if found is None or found.submodule_search_locations is None:
        raise ImportError("No module named 'dac'")
    folder = Path(next(iter(found.submodule_search_locations)))
    for name, path in (("dac", folder), ("dac.nn", folder / "nn")):
        package = ModuleType(name)  # the package itself imports all of its training
        package.__path__ = [str(path)]
        sys.modules[name] = package
    from dac.nn.quantize import ResidualVectorQuantize

    module = ResidualVectorQuantize(1024, n_codebooks=DEPTH, codebook_size=CODES, codebook_dim=8).eval()
    x = torch.randn(1, 1024, 87)
    return repeated(case, torch.no_grad()(lambda: module(x)))


def _stand_in(*names: str) -> None:
    for name in names:
        try:
            __import__(name)
        except ImportError:
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)


PEERS = {"vector-quantize-pytorch": vector_quantize_pytorch, "encodec": encodec, "dac": dac}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", required=True)
    parser.add_argument("--only", required=True, choices=sorted(PEERS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    apart.serve({given.only: lambda: PEERS[given.only](given.case)}, given.only)
