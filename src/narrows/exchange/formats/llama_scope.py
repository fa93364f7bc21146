"""Llama Scope, first release: JumpReLU with one threshold, trained as TopK, and norms of input and output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from narrows.core.check import RequestError, number, whole
from narrows.exchange.description import Description
from narrows.exchange.files import Weights, flag, map_tensors, read_config
from narrows.exchange.format import Format
from narrows.exchange.places import from_transformer_lens

__all__ = ["LlamaScope"]

_CONFIG, _WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"


class LlamaScope(Format):
    r"""``hyperparams.json`` with ``checkpoints/final.safetensors``.

    .. math:: h = W \frac{\sqrt{d}}{n_{in}} x + b, \qquad
        f = h\, 1\Big[h\, \|a\| > \theta \frac{\sqrt{d}}{n_{out}}\Big], \qquad
        \hat x = (A^\top f + b_d)\, \frac{n_{out}}{\sqrt{d}}

    The factor of the threshold is documented nowhere; this one has the stated L0 in all places that were tried.
    `sanity` compares it with the others.
    """

    name = "llama-scope"
    title = "hyperparams.json with checkpoints/final.safetensors"

    def recognises(self, path: Path) -> bool:
        """A folder with both files."""
        return (path / _CONFIG).is_file() and (path / "checkpoints").is_dir()

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """Read a folder."""
        config = read_config(path / _CONFIG)
        d, n = (whole(f"{name} of {path / _CONFIG}", config.get(name)) for name in ("d_model", "d_sae"))
        if config.get("act_fn", "jumprelu") != "jumprelu":
            raise RequestError(
                f"{path / _CONFIG}: the activation `{config['act_fn']}` is not known; jumprelu is."
            )
        norms = config.get("dataset_average_activation_norm")
        if not isinstance(norms, dict):
            raise RequestError(f"{path / _CONFIG} lacks `dataset_average_activation_norm`.")
        first, last = (
            number(f"dataset_average_activation_norm.{end} of {path / _CONFIG}", norms.get(end), low=1e-9)
            for end in ("in", "out")
        )
        weights = Weights(path / _WEIGHTS, map_tensors(path / _WEIGHTS))
        tensors = {
            "encoder": weights.take("encoder.weight", n, d),
            "encoder_bias": weights.take("encoder.bias", n),
            "decoder": weights.take("decoder.weight", d, n).T,
        }
        bias = flag(config, "use_decoder_bias", path / _CONFIG, True)
        tensors["decoder_bias"] = weights.take("decoder.bias", d) if bias else torch.zeros(d)
        weights.finish()
        root = d**0.5
        theta = number(f"jump_relu_threshold of {path / _CONFIG}", config.get("jump_relu_threshold"), low=0)
        threshold = torch.full((n,), theta * root / last)
        if flag(config, "sparsity_include_decoder_norm", path / _CONFIG, True):
            # The norm of an atom in the comparison is a threshold of its own for each latent.
            lengths = torch.linalg.vector_norm(tensors["decoder"].float(), dim=1)
            threshold = threshold / lengths.clamp_min(torch.finfo(torch.float32).tiny)
        tensors["threshold"] = threshold
        hooks = [str(config.get(f"hook_point_{end}") or "") for end in ("in", "out")]
        return Description(
            "jumprelu",
            tensors,
            kind="sae" if hooks[0] == hooks[1] else "transcoder",
            centre=flag(config, "apply_decoder_bias_to_pre_encoder", path / _CONFIG),
            scale=(root / first, root / last),
            metadata={**_facts(hooks), "norm": first, "output_norm": last, "config": {self.name: config}},
            promises={"l0": float(config["top_k"])} if isinstance(config.get("top_k"), int) else {},
            format=self.name,
        )


def _facts(hooks: list[str]) -> dict[str, Any]:
    places = [from_transformer_lens(hook) for hook in hooks]
    found = {"hook": hooks[0], "target_hook": hooks[1], "place": places[0], "target_place": places[1]}
    return {name: value for name, value in found.items() if value}
