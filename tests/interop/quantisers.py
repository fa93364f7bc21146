"""The doctor of quantisers on modules of other libraries, run by their interpreter; prints its findings as JSON.

    PYTHONPATH=src:tests PYTHON -m interop.quantisers vector_quantize_pytorch

`FAULTS` lists what these versions have wrong: checks that fail, with the value where it is known.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn

__all__ = ["FAULTS", "differences"]


class Fault(NamedTuple):
    """A check that fails.

    Args:
        check: its name.
        low: least value, None for any or for a word.
        high: largest value.
    """

    check: str
    low: float | None = None
    high: float | None = None


_ROTATION = (Fault("gradient/near-zero", 1000), Fault("round-trip/zero"))
_OFF = Fault("restart", 0, 0.3)
_RAVE = (Fault("ema/start"), Fault("ema/two-processes"), Fault("restart", 0, 0.3))

FAULTS: Mapping[str, Mapping[str, tuple[Fault, ...]]] = {
    "vector_quantize_pytorch": {
        "VectorQuantize": (*_ROTATION, _OFF),
        "VectorQuantize, straight-through, restarts": (),
        "VectorQuantize, narrow": (Fault("mask"), Fault("gradient/near-zero", 1000), _OFF),
        "VectorQuantize, 2 heads": (
            Fault("round-trip"),
            Fault("mask"),
            Fault("commitment/beta"),
            Fault("gradient/near-zero", 1000),
            _OFF,
        ),
        "VectorQuantize, cosine": (*_ROTATION, Fault("mask/all", 1.001), _OFF),
        "VectorQuantize, learned": (*_ROTATION, Fault("commitment/beta", 0.999, 1.001), _OFF),
        **{f"ResidualVQ, {n} layers": (Fault("gradient/gain", n - 1e-3, n + 1e-3),) for n in (2, 4, 8)},
        "ResidualVQ, rotation": (*_ROTATION, Fault("gradient/gain", 2), Fault("use", 0, 31), _OFF),
        "SimVQ": _ROTATION,
        "FSQ, 8 x 5 x 5 x 5": (),
        "FSQ, 1500": (Fault("indices"),),
        "ResidualFSQ, 8 layers": (Fault("gradient/gain", 4),),
        "LFQ": (Fault("mask/all", -1e-3, 1e-3),),
        "LatentQuantize": (Fault("round-trip", 0.01), Fault("round-trip/zero")),
    },
    "encodec": {
        "VectorQuantization, without k-means": (*_RAVE, Fault("use", 0, 63)),
        "VectorQuantization": _RAVE,
        "ResidualVectorQuantizer": (*_RAVE, Fault("commitment/depths", -1e-3, 1e-3), Fault("use", 0, 31)),
    },
}
"""By library and module: the findings. (Whether EnCodec's single layer keeps half of its codes is a matter of luck.)"""

_EITHER = {("VectorQuantization", "use")}


def _vqp() -> dict[str, Callable[[], nn.Module]]:
    import vector_quantize_pytorch as v

    plain: dict[str, Any] = {"rotation_trick": False, "kmeans_init": True, "threshold_ema_dead_code": 2}
    stacked: dict[str, Any] = {"dim": 16, "codebook_size": 64}
    return {
        "VectorQuantize": lambda: v.VectorQuantize(16, 128),
        "VectorQuantize, straight-through, restarts": lambda: v.VectorQuantize(16, 128, **plain),
        "VectorQuantize, narrow": lambda: v.VectorQuantize(16, 128, codebook_dim=8),
        "VectorQuantize, 2 heads": lambda: v.VectorQuantize(16, 128, heads=2),
        "VectorQuantize, cosine": lambda: v.VectorQuantize(16, 128, use_cosine_sim=True),
        "VectorQuantize, learned": lambda: v.VectorQuantize(
            16, 128, learnable_codebook=True, ema_update=False
        ),
        **{
            f"ResidualVQ, {n} layers": (lambda n=n: v.ResidualVQ(num_quantizers=n, **stacked, **plain))
            for n in (2, 4, 8)
        },
        "ResidualVQ, rotation": lambda: v.ResidualVQ(num_quantizers=8, **stacked),
        "SimVQ": lambda: v.SimVQ(16, 256),
        "FSQ, 8 x 5 x 5 x 5": lambda: v.FSQ([8, 5, 5, 5]),
        "FSQ, 1500": lambda: v.FSQ([1500]),
        "ResidualFSQ, 8 layers": lambda: v.ResidualFSQ(dim=4, levels=[8, 5, 5, 5], num_quantizers=8),
        "LFQ": lambda: v.LFQ(dim=8),
        "LatentQuantize": lambda: v.LatentQuantize(levels=[15, 15, 15], dim=3),
    }


def _encodec() -> dict[str, Callable[[], nn.Module]]:
    try:
        import torchaudio  # noqa: F401
    except ImportError:
        # its build on PyPI does not fit torch's build for CPU, and no quantiser uses it
        sys.modules["torchaudio"] = ModuleType("torchaudio")
    from encodec.quantization import ResidualVectorQuantizer
    from encodec.quantization.core_vq import VectorQuantization

    return {
        "VectorQuantization, without k-means": lambda: VectorQuantization(16, 128, kmeans_init=False),
        "VectorQuantization": lambda: VectorQuantization(16, 128),
        "ResidualVectorQuantizer": lambda: ResidualVectorQuantizer(16, 4, 64),
    }


_MODULES = {"vector_quantize_pytorch": _vqp, "encodec": _encodec}


def differences(library: str, found: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """What the doctor did not find, found beyond the list, or measured otherwise."""
    for name, faults in FAULTS[library].items():
        failed = {one["name"]: one for one in found[name] if one["ok"] is False}
        for fault in faults:
            one = failed.pop(fault.check, None)
            if one is None:
                yield f"{library}, {name}: {fault.check} did not fail"
            elif isinstance(one["value"], (int, float)):
                low = -float("inf") if fault.low is None else fault.low
                high = float("inf") if fault.high is None else fault.high
                if not low <= one["value"] <= high:
                    yield f"{library}, {name}: {fault.check} is {one['value']:.4g}, not from {low:g} to {high:g}"
        for check, one in failed.items():
            if (name, check) not in _EITHER:
                yield f"{library}, {name}: {check} failed with {one['value']}: {one['says']}"


def main(library: str) -> None:
    """Print the findings of all modules of a library."""
    from narrows.core import seeded
    from narrows.testing import check_quantizer

    torch.set_num_threads(1)
    found = {}
    for name, make in _MODULES[library]().items():
        with seeded(0):
            found[name] = [one.to_json() for one in check_quantizer(make())]
    print(json.dumps({"version": version(library.replace("_", "-")), "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
