"""The header of a harvest's manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from narrows.activations.hook_points import HookPoint
from narrows.activations.models import Model
from narrows.activations.recompute import digest_of
from narrows.activations.units import Inputs, Plan, Text

__all__ = ["header_of"]


def header_of(
    model: Model,
    hook_points: Sequence[HookPoint],
    work: Text | Inputs,
    description: Mapping[str, Any],
    plan: Plan,
    counted: Sequence[int],
) -> dict[str, Any]:
    """The header of the manifest, from which any unit can be recomputed.

    Args:
        model: the model.
        hook_points: its layers, with the shape of a row of each.
        work: the contexts, or the examples.
        description: of the text or the examples.
        plan: the sizes of units and batches, and what is stored.
        counted: the number of rows of each unit.
    """
    if isinstance(work, Text):
        contexts = work.contexts.describe() | {
            "counted": sorted(work.contexts.counts),
            "sha256": digest_of(work.contexts),
        }
    else:
        contexts = {
            "mode": "examples",
            "positions": work.options.positions,
            "count": len(work),
            "length": work.positions,
        }
    return {
        "model": {
            "name": model.name,
            "kind": model.kind,
            "class": type(model.module).__name__,
            "source": model.source,
            "revision": model.revision,
            "dtype": model.dtype,
            **({"tokenizer": model.tokens} if isinstance(work, Text) and model.tokens else {}),
        },
        "layers": {
            hook_point.name: {
                "shape": list(hook_point.shape or ()),
                "dtype": plan.dtype,
                "module": hook_point.path,
                "side": hook_point.side,
                "heads": hook_point.heads,
            }
            for hook_point in hook_points
        },
        "text": dict(description),
        "contexts": contexts,
        "gradients": [hook_point.name for hook_point in hook_points] if plan.gradients else [],
        "units": {"contexts": plan.unit, "batch": plan.batch, "rows": list(counted)},
        "made_with": {name: _version(name) for name in ("narrows", "torch", "transformers")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
