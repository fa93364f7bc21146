"""How known quantisers are called: ours, and those of vector-quantize-pytorch, EnCodec (RAVE), DAC and SimVQ."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn

from narrows.core import Autoencoder, Batch, Bottleneck, Pass
from narrows.core.check import refuse
from narrows.core.schedules import at
from narrows.testing.quantizers.subject import Answer, Subject, states

__all__ = ["known"]

_TERMS = ("commitment", "codebook")


def known(module: nn.Module) -> Subject:
    """The subject of a module of a known class.

    Raises:
        RequestError: the class is not known.
    """
    if isinstance(module, Autoencoder):
        if not _quantises(module.bottleneck):
            what = type(module.bottleneck).__name__
            raise refuse("module", what, "a quantiser of single tokens, or a model whose bottleneck is one")
        weights = {name: at(module.objective.weights.get(name, 1.0), 0) for name in _TERMS}
        return _ours(module.bottleneck, weights)
    if _quantises(module):
        return _ours(module, None)
    name, own = type(module).__name__, type(module).__module__.partition(".")[0]
    for library, classes in _CLASSES.items():
        if own == library or library == "":
            make = classes.get(name)
            if make is not None and (library or _resembles(module)):
                return make(module)
    inner = getattr(module, "quantizer", None)
    if isinstance(inner, nn.Module):
        return known(inner)
    raise refuse(
        "module",
        f"{type(module).__module__}.{name}",
        "a quantiser of this package, vector-quantize-pytorch, EnCodec, RAVE, DAC or SimVQ",
        "For another, give call=, decode= and width=: see narrows.testing.check_quantizer.",
    )


def _quantises(module: nn.Module) -> bool:
    """Whether this is a `narrows.bottlenecks.discrete.quantizer.Quantizer` of single tokens.

    This package does not import it.
    """
    ours = isinstance(module, Bottleneck) and all(hasattr(module, name) for name in ("quantize", "unrounded"))
    return ours and bool(getattr(module, "separate", True))


def _ours(module: Any, weights: Mapping[str, float] | None) -> Subject:
    inward = module.inward
    width = inward.in_features if isinstance(inward, nn.Linear) else module.width

    def call(part: Any, x: Tensor, mask: Tensor | None) -> Answer:
        code = part(x)
        each = {name: (weights or {}).get(name, 1.0) for name in _TERMS if name in code.costs}
        loss = sum((w * code.costs[name].mean() for name, w in each.items()), torch.zeros(()))
        return Answer(code.z, part.to_symbols(code), loss if each else None)

    def start(part: Any, x: Tensor) -> None:
        model = cast(Any, SimpleNamespace(encoder=lambda tokens, condition: tokens))
        part.prepare(model, Batch(x))

    @torch.no_grad()
    def update(part: Any, x: Tensor) -> None:
        part.after_step(Pass(Batch(x), part(x)))

    def smooth(part: Any, x: Tensor) -> Tensor:
        return part.outward(part.unrounded(part.inward(x)))

    def layers(part: Any, indices: Tensor) -> Tensor:
        return torch.stack([part.outward(v) for v in part.partial(indices)])

    return Subject(
        module,
        type(module).__name__,
        width,
        module.codes,
        call,
        decode=lambda part, indices: part.from_symbols(indices).z,
        smooth=smooth,
        layers=layers if isinstance(inward, nn.Identity) else None,
        start=start,
        update=update,
        relaxed=module.relaxed,
        weighted=weights is not None,
        learns=bool(states(module)),
    )


def _resembles(module: nn.Module) -> bool:
    """Whether a class outside the known libraries has the parts of the one whose name it has."""
    return any(hasattr(module, name) for name in ("_codebook", "layers", "vq", "embedding_proj"))


def _first(vectors: Tensor, indices: Tensor, *rest: Any) -> Answer:
    return Answer(vectors, indices, rest[0].sum() if rest and isinstance(rest[0], Tensor) else None)


def _vqp(
    decode: str, inner: Callable[[Any, Tensor], Tensor] = lambda part, x: x, channels: bool = False
) -> Callable[[nn.Module], Subject]:
    """A class of vector-quantize-pytorch: (quantised, indices, loss) from tokens (B, L, d)."""

    def make(module: nn.Module) -> Subject:
        takes = "mask" in inspect.signature(module.forward).parameters
        owner = cast(Any, module)

        swap = (lambda t: t.movedim(-1, 1)) if channels else (lambda t: t)
        back = (lambda t: t.movedim(1, -1)) if channels else (lambda t: t)

        def call(part: Any, x: Tensor, mask: Tensor | None) -> Answer:
            found = part(swap(x)) if mask is None else part(swap(x), mask=mask)
            return _first(back(found[0]), *found[1:])

        def smooth(part: Any, x: Tensor) -> Tensor:
            pass_in, pass_out = (getattr(part, f"project_{w}", lambda t: t) for w in ("in", "out"))
            return pass_out(inner(part, pass_in(x)))

        layers = getattr(owner, "layers", None)
        plain = not getattr(owner, "has_projections", False)
        stack = _stack if layers is not None and hasattr(owner, "get_codes_from_indices") else None
        size: int = getattr(owner, "codebook_size", None) or owner.layers[0].codebook_size
        return Subject(
            module,
            type(module).__name__,
            _width(module),
            size,
            call,
            decode=lambda part, indices: back(getattr(part, decode)(indices)),
            smooth=smooth,
            layers=stack if plain and stack else None,
            parallel=_synchronise,
            masked=takes,
            learns=bool(states(module)),
        )

    return make


def _stack(part: Any, indices: Tensor) -> Tensor:
    codes: Tensor = part.get_codes_from_indices(indices)
    return codes.cumsum(0)


def _width(module: Any) -> int:
    if isinstance(getattr(module, "project_in", None), nn.Linear):
        return int(module.project_in.in_features)
    for name in ("dim", "codebook_dim", "effective_codebook_dim"):
        if isinstance(getattr(module, name, None), int):
            return int(getattr(module, name))
    layers = getattr(module, "layers", None)
    if layers is not None and len(layers):
        return _width(layers[0])
    codes = getattr(module, "codebook", None)
    if isinstance(codes, Tensor):
        return codes.shape[-1]
    raise refuse("module", type(module).__name__, "a quantiser whose width can be read", "Give width=.")


def _synchronise(module: nn.Module) -> None:
    """What the constructor of vector-quantize-pytorch's codebooks does with several processes."""
    for one in module.modules():
        if hasattr(one, "use_ddp") and hasattr(one, "all_reduce_fn"):
            codebook = cast(Any, one)
            codebook.use_ddp, codebook.all_reduce_fn = True, torch.distributed.all_reduce


def _bounded(part: Any, x: Tensor) -> Tensor:
    """FSQ of vector-quantize-pytorch without rounding."""
    half = (part._levels - 1) * (1 + 1e-3) / 2
    if getattr(part, "preserve_symmetry", False):
        return torch.tanh(x)
    offset = torch.where(part._levels % 2 == 0, 0.5, 0.0)
    return (torch.tanh(x + torch.atanh(offset / half)) * half - offset) / (part._levels // 2)


def _encodec(module: nn.Module) -> Subject:
    """EnCodec's and RAVE's residual quantiser or a layer of it: tokens (B, d, N), indices of a stack (D, B, N)."""
    owner = cast(Any, module)
    inside = owner.vq if hasattr(owner, "vq") else owner
    stacked = hasattr(inside, "layers")

    def core(part: Any) -> Any:
        return part.vq if hasattr(part, "vq") else part

    def call(part: Any, x: Tensor, mask: Tensor | None) -> Answer:
        vectors, indices, loss = core(part)(x.movedim(-1, 1))
        return Answer(vectors.movedim(1, -1), indices.movedim(0, -1) if stacked else indices, loss.sum())

    def decode(part: Any, indices: Tensor) -> Tensor:
        vectors: Tensor = core(part).decode(indices.movedim(-1, 0) if stacked else indices)
        return vectors.movedim(1, -1)

    def layers(part: Any, indices: Tensor) -> Tensor:
        each = [
            one.decode(k).movedim(1, -1) for one, k in zip(core(part).layers, indices.unbind(-1), strict=True)
        ]
        return torch.stack(each).cumsum(0)

    one = inside.layers[0] if stacked else inside
    width = one.project_in.in_features if isinstance(one.project_in, nn.Linear) else one.codebook.shape[-1]
    return Subject(
        module,
        type(module).__name__,
        int(width),
        int(one.codebook_size),
        call,
        decode=decode,
        smooth=(lambda part, x: x) if stacked else lambda part, x: part.project_out(part.project_in(x)),
        layers=layers if stacked else None,
    )


def _dac(module: nn.Module) -> Subject:
    """DAC's residual quantiser or one of its layers: tokens are (B, d, T), indices of a stack (B, D, T)."""
    stacked = hasattr(module, "quantizers")
    first: Any = cast(Any, module).quantizers[0] if stacked else module

    def call(part: Any, x: Tensor, mask: Tensor | None) -> Answer:
        found = part(x.movedim(-1, 1))
        if stacked:
            vectors, indices, _, commitment, codebook = found
            return Answer(vectors.movedim(1, -1), indices.movedim(1, -1), 0.25 * commitment + codebook)
        vectors, commitment, codebook, indices, _ = found
        return Answer(vectors.movedim(1, -1), indices, 0.25 * commitment.mean() + codebook.mean())

    def decode(part: Any, indices: Tensor) -> Tensor:
        if stacked:
            vectors: Tensor = part.from_codes(indices.movedim(-1, 1))[0]
        else:
            vectors = part.out_proj(part.decode_code(indices))
        return vectors.movedim(1, -1)

    def smooth(part: Any, x: Tensor) -> Tensor:
        """The projections of the first layer; those of the others get no gradient."""
        one = part.quantizers[0] if stacked else part
        return one.out_proj(one.in_proj(x.movedim(-1, 1))).movedim(1, -1)

    # Codes of unit length behind projections: terms of the loss cannot be read from the outside.
    return Subject(
        module,
        type(module).__name__,
        first.in_proj.in_channels,
        first.codebook_size,
        call,
        decode,
        smooth,
        learns=False,
    )


def _simvq(module: nn.Module) -> Subject:
    """The authors' SimVQ: images (B, d, H, W) in, ((quantised, 0, indices), losses) out."""
    owner = cast(Any, module)

    def call(part: Any, x: Tensor, mask: Tensor | None) -> Answer:
        (vectors, _, indices), losses = part(x.movedim(-1, 1)[..., None])
        terms = getattr(losses, "commitment", losses)
        return Answer(
            vectors[..., 0].movedim(1, -1), indices.view(x.shape[:-1]), torch.as_tensor(terms).sum()
        )

    def decode(part: Any, indices: Tensor) -> Tensor:
        shape = (len(indices), indices.shape[1], 1, owner.embedding.weight.shape[1])
        vectors: Tensor = part.get_codebook_entry(indices.flatten(), shape)
        if vectors.shape == (shape[0], shape[3], shape[1], 1):
            vectors = vectors.movedim(1, -1)
        return vectors.reshape(*indices.shape, shape[3])

    codes, width = owner.embedding.weight.shape
    return Subject(
        module,
        type(module).__name__,
        width,
        codes,
        call,
        decode=decode,
        codebook=lambda part: part.embedding_proj(part.embedding.weight),
        learns=False,
    )


_CLASSES: Mapping[str, Mapping[str, Callable[[nn.Module], Subject]]] = {
    "vector_quantize_pytorch": {
        "VectorQuantize": _vqp("get_output_from_indices"),
        "ResidualVQ": _vqp("get_output_from_indices"),
        "SimVQ": _vqp("indices_to_codes"),
        "ResidualSimVQ": _vqp("get_output_from_indices"),
        "FSQ": _vqp("indices_to_codes", inner=_bounded),
        "ResidualFSQ": _vqp("get_output_from_indices"),
        "LFQ": _vqp("indices_to_codes"),
        "LatentQuantize": _vqp("indices_to_codes", channels=True),
    },
    "dac": {"VectorQuantize": _dac, "ResidualVectorQuantize": _dac},
    "": {
        "VectorQuantization": _encodec,
        "ResidualVectorQuantization": _encodec,
        "ResidualVectorQuantizer": _encodec,
        "SimVQ": _simvq,
    },
}
"""By library and class; those of the last group are copied between repositories."""
