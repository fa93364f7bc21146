"""Language-Model-SAEs 2 (llamascopium): autoencoders, transcoders, and cross-layer transcoders by target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from narrows.core import files
from narrows.core.check import RequestError, number, whole
from narrows.exchange.cross_layer import from_targets
from narrows.exchange.description import Description
from narrows.exchange.files import Weights, flag, map_tensors, read_config
from narrows.exchange.format import Format
from narrows.exchange.places import from_transformer_lens

__all__ = ["Llamascopium"]

_CONFIG, _WEIGHTS = "config.json", "sae_weights.safetensors"
_ACTIVATIONS = ("relu", "jumprelu", "topk")
_THRESHOLD = "activation_function.log_jumprelu_threshold"
_NORM = "dataset_average_activation_norm."


class Llamascopium(Format):
    r"""``config.json`` with ``sae_weights.safetensors``.

    Codes are those of the normalised input. With the norms of atoms in the gate, a threshold is divided by the
    norm instead, which is the same; TopK then has codes in units of the norms, where theirs are divided by them.
    """

    name = "llamascopium"
    title = "config.json with sae_weights.safetensors"

    def recognises(self, path: Path) -> bool:
        """A folder with both files, and a type in the configuration."""
        if not ((path / _WEIGHTS).is_file() and (path / _CONFIG).is_file()):
            return False
        try:
            config = files.read_json(path / _CONFIG)
        except (OSError, ValueError):
            return False
        return isinstance(config, dict) and "sae_type" in config

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """Read a folder."""
        config = read_config(path / _CONFIG)
        kind, activation = config.get("sae_type"), config.get("act_fn", "relu")
        if kind not in ("sae", "clt"):
            raise RequestError(f"{path / _CONFIG}: the type `{kind}` is not read; sae and clt are.")
        if flag(config, "use_glu_encoder", path / _CONFIG):
            raise RequestError(f"{path / _CONFIG}: a gated linear unit as the encoder is not read.")
        if activation not in _ACTIVATIONS:
            raise RequestError(
                f"{path / _CONFIG}: the activation `{activation}` is not read, since its codes depend on the batch or "
                f"on other layers; {', '.join(_ACTIVATIONS)} are. Convert it to jumprelu in its own library first."
            )
        weights = Weights(path / _WEIGHTS, map_tensors(path / _WEIGHTS))
        d = whole(f"d_model of {path / _CONFIG}", config.get("d_model"))
        n = int(d * number(f"expansion_factor of {path / _CONFIG}", config.get("expansion_factor"), low=0))
        return (_one if kind == "sae" else _crossing)(path, config, weights, d, n)


def _one(path: Path, config: Mapping[str, Any], weights: Weights, d: int, n: int) -> Description:
    """An autoencoder or a transcoder."""
    activation = config.get("act_fn", "relu")
    tensors = {
        "encoder": weights.take("W_E", d, n).T,
        "encoder_bias": weights.take("b_E", n),
        "decoder": weights.take("W_D", n, d),
    }
    tensors["decoder_bias"] = _bias(config, weights, d, tensors["decoder"])
    by_norm = flag(config, "sparsity_include_decoder_norm", path / _CONFIG, True)
    if activation == "jumprelu":
        lengths = torch.linalg.vector_norm(tensors["decoder"].float(), dim=1)
        tensors["threshold"] = _threshold(weights, (n,), lengths if by_norm else None)
    hooks = [str(config.get(f"hook_point_{end}") or "") for end in ("in", "out")]
    norm = _norm(config, path)
    if norm == "token-wise" and hooks[0] != hooks[1]:
        raise RequestError(
            f"{path / _CONFIG}: a transcoder with the norm of each token of its output is not read."
        )
    norms = _norms(weights, hooks, norm, path)
    weights.finish()
    metadata: dict[str, Any] = {"hook": hooks[0], "target_hook": hooks[1]}
    metadata |= {"place": from_transformer_lens(hooks[0]), "target_place": from_transformer_lens(hooks[1])}
    scale = tuple(d**0.5 / one for one in norms) if norms else (1.0, 1.0)
    if norms:
        metadata |= {"norm": norms[0], "output_norm": norms[1]}
    k = whole(f"top_k of {path / _CONFIG}", config.get("top_k"), high=n) if activation == "topk" else 0
    return Description(
        activation,
        tensors,
        kind="sae" if hooks[0] == hooks[1] else "transcoder",
        centre=False,
        k=k,
        token_norm="length" if norm == "token-wise" else "none",
        by_norm=by_norm and activation == "topk",
        scale=(scale[0], scale[1]),
        metadata={**{name: v for name, v in metadata.items() if v}, "config": {"llamascopium": dict(config)}},
        promises={"l0": float(k)} if k else {},
        format="llamascopium",
    )


def _crossing(path: Path, config: Mapping[str, Any], weights: Weights, d: int, n: int) -> Description:
    """A cross-layer transcoder, whose decoders are grouped by the layer that they write to."""
    activation = config.get("act_fn", "relu")
    hooks: list[Any] = [config.get(f"hook_points_{end}") for end in ("in", "out")]
    if not all(isinstance(points, list) and points for points in hooks) or len(hooks[0]) != len(hooks[1]):
        raise RequestError(f"{path / _CONFIG}: `hook_points_in` and `hook_points_out` must list all layers.")
    count = len(hooks[0])
    encoder, bias = weights.take("W_E", count, d, n), weights.take("b_E", count, n)
    decoder = encoder.new_zeros(count, n, count, d)
    for to in range(count):
        decoder[: to + 1, :, to] = weights.take(f"W_D.{to}", to + 1, n, d)
    layers = [
        {
            "encoder": encoder[i].T,
            "encoder_bias": bias[i],
            "decoder": decoder[i],
            "decoder_bias": weights.take(f"b_D.{i}", d),
        }
        for i in range(count)
    ]
    tensors = from_targets(layers)
    by_norm = flag(config, "sparsity_include_decoder_norm", path / _CONFIG, True)
    if activation == "jumprelu":
        lengths = torch.linalg.vector_norm(tensors["decoder"].float(), dim=1).view(count, n)
        tensors["threshold"] = _threshold(weights, (count, n), lengths if by_norm else None).flatten()
    elif activation == "topk" and by_norm:
        raise RequestError(f"{path / _CONFIG}: TopK by the norms of atoms over several layers is not read.")
    norm = _norm(config, path)
    if norm == "token-wise":
        raise RequestError(
            f"{path / _CONFIG}: a cross-layer transcoder with the norm of each token is not read."
        )
    norms = _norms(weights, [*hooks[0], *hooks[1]], norm, path)
    weights.finish()
    if norms:
        factors = d**0.5 / torch.tensor(norms)
        tensors |= {"input_scale": factors[:count], "output_scale": factors[count:]}
    k = whole(f"top_k of {path / _CONFIG}", config.get("top_k"), high=n) if activation == "topk" else 0
    return Description(
        activation,
        tensors,
        kind="cross-layer",
        centre=False,
        k=k,
        metadata={"hook": hooks[0][0], "target_hook": hooks[1][0], "config": {"llamascopium": dict(config)}},
        format="llamascopium",
    )


def _bias(config: Mapping[str, Any], weights: Weights, d: int, like: Tensor) -> Tensor:
    return weights.take("b_D", d) if config.get("use_decoder_bias", True) else like.new_zeros(d)


def _threshold(weights: Weights, shape: tuple[int, ...], lengths: Tensor | None) -> Tensor:
    """The thresholds, divided by the atoms' norms if these are in the gate."""
    threshold = weights.take(_THRESHOLD, *shape).float().exp()
    return threshold if lengths is None else threshold / lengths.clamp_min(torch.finfo(torch.float32).tiny)


def _norm(config: Mapping[str, Any], path: Path) -> str:
    norm = str(config.get("norm_activation", "dataset-wise"))
    if norm not in ("dataset-wise", "token-wise", "inference"):
        raise RequestError(f"{path / _CONFIG}: the norm `{norm}` depends on the batch, and is not read.")
    return norm


def _norms(weights: Weights, hooks: list[str], norm: str, path: Path) -> list[float]:
    """The mean norms of the data at each hook point; none if the configuration has another norm."""
    stored = {name: weights.left.pop(name) for name in list(weights.left) if name.startswith(_NORM)}
    if norm != "dataset-wise":
        return []
    found = []
    for hook in hooks:
        value = stored.get(_NORM + hook)
        if value is None or value.numel() != 1 or not float(value) > 0:
            raise RequestError(
                f"{path / _WEIGHTS} lacks the mean norm at {hook}, which its configuration uses."
            )
        found.append(float(value))
    return found
