"""The data-flow diagram of a method, from its default model: shapes, parts, parameters, loss terms."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from torch import Tensor, nn

from narrows.core import Autoencoder, Batch, Likelihood, Sparse, Spec, Views, seeded
from narrows.core.check import RequestError
from narrows.testing import KINDS, examples

__all__ = ["SPECS", "data_flow"]

_DESCRIPTIONS = {
    Spec((1, 28, 28), "unit", classes=10): "28x28 grey images in 10 classes",
    Spec((384,), "real"): "vectors of 384 numbers",
    Spec((384,), "real", target=(384,)): "pairs of vectors of 384 numbers",
    Spec((3, 64)): "activations of 3 layers, 64 numbers each",
    Spec((3, 64), target=(3, 64)): "inputs and outputs of 3 layers, 64 numbers each",
    Spec((2, 64)): "pairs of vectors of 64 numbers",
    Spec((200,), "counts"): "counts of 200 genes",
} | {spec: f"small data of kind `{spec.kind}`" for spec in KINDS}
SPECS = tuple(_DESCRIPTIONS)


def data_flow(builder: Callable[..., Autoencoder]) -> str:
    """HTML boxes for a batch in the method's default model."""
    for spec in SPECS:
        try:
            with seeded(0):
                model = builder(spec)
        except RequestError:
            continue
        return _draw(model, spec)
    raise RequestError(f"{builder} accepts none of the specs of the diagrams.")


def _draw(model: Autoencoder, spec: Spec) -> str:
    batch = examples(spec, 16).all(conditions=model.conditions)
    seen = _trace(model, batch)
    conditions = "".join(
        f", condition {name} {tuple(value.shape[1:])}" for name, value in batch.condition.items()
    )
    rows = [
        _thing("x", _shape(batch.x), "input" + conditions),
        _part("encoder", model.encoder),
        _thing("features", seen["encoder"]),
        _part("bottleneck", model.bottleneck, _costs(seen["terms"])),
        _thing("z", seen["z"], seen["kind"]),
        _part("decoder", model.decoder),
        _thing("parameters of p(x | z)", seen["decoder"]),
        _part("likelihood", model.likelihood, "distortion = -log p(target | z)"),
        _objective(model, seen["terms"]),
    ]
    if model.prior is not None:
        rows.append(_part("second stage", model.prior, "a prior over the codes, trained in a second stage"))
    caption = f"The default model for {_DESCRIPTIONS[spec]}, {_count(model):,} parameters. B is the batch."
    return f'<div class="flow">{"".join(rows)}</div>\n<p class="flow-caption">{caption}</p>'


def _trace(model: Autoencoder, batch: Batch) -> dict[str, Any]:
    """Shapes of the outputs of parts in one evaluation of the loss."""
    found: dict[str, Any] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            found.setdefault(name, _shape(output))

        return hook

    handles = [getattr(model, name).register_forward_hook(note(name)) for name in ("encoder", "decoder")]
    model.train()
    with seeded(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = model.loss(batch)
        players = {p.name: list(p.loss(batch, 0, loss.passed).terms) for p in model.players()}
        passed = loss.passed or model(batch)  # a generator's loss starts from codes, and has no pass
    for handle in handles:
        handle.remove()
    found.setdefault("decoder", _shape(passed.output))  # in training an inverse need not be evaluated
    code = passed.code
    found["z"] = _shape(code.z)
    found["kind"] = (
        f"{code.z.indices.shape[-1]} of {code.z.width} latents" if isinstance(code.z, Sparse) else ""
    )
    found["terms"] = {**players, "autoencoder": list(loss.terms)}
    return found


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        sizes = list(value.shape)
        if 16 in sizes:  # the batch axis, possibly after others
            at = sizes.index(16)
            return "(" + ", ".join(["K"] * at + ["B"] + [str(s) for s in sizes[at + 1 :]]) + ")"
        return str(tuple(sizes))
    if isinstance(value, Sparse):
        return _shape(value.values)
    if isinstance(value, Views):
        value = value.values
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_shape(v)}" for k, v in value.items())
    if isinstance(value, (tuple, list)):
        return ", ".join(_shape(v) for v in value)
    return type(value).__name__


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _thing(name: str, shape: str, note: str = "") -> str:
    note = f'<span class="flow-note">{escape(note)}</span>' if note else ""
    return f'<div class="flow-thing"><b>{escape(name)}</b> <code>{escape(shape)}</code>{note}</div>'


def _part(role: str, module: nn.Module, note: str = "") -> str:
    count = _count(module)
    size = f"{count:,} parameters" if count else "no parameters"
    inner = "" if isinstance(module, Likelihood) else f'<span class="flow-size">{size}</span>'
    note = f'<span class="flow-note">{escape(note)}</span>' if note else ""
    name = type(module).__name__
    return (
        f'<div class="flow-part flow-{role.split()[0]}"><span class="flow-role">{role}</span>'
        f"<b>{name}</b>{inner}{note}</div>"
    )


def _costs(terms: dict[str, list[str]]) -> str:
    costs = [term for term in terms["autoencoder"] if term != "distortion"]
    return "costs: " + ", ".join(costs) if costs else "no costs"


def _objective(model: Autoencoder, terms: dict[str, list[str]]) -> str:
    lines = "".join(
        f'<span class="flow-note">{escape(player)}: {escape(" + ".join(names))}</span>'
        for player, names in terms.items()
    )
    name = type(model.objective).__name__
    return f'<div class="flow-part flow-objective"><span class="flow-role">objective</span><b>{name}</b>{lines}</div>'
