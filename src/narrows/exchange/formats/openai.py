"""OpenAI's autoencoders of GPT-2: a torch file of weights and the name of the activation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from narrows.core.check import RequestError, whole
from narrows.exchange.description import Description
from narrows.exchange.files import Weights, read_pickle
from narrows.exchange.format import Format

__all__ = ["OpenAI"]

_STATISTICS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")


class OpenAI(Format):
    """A ``.pt`` file; with TopK each input is normalised."""

    name = "openai"
    title = "one .pt file"

    def recognises(self, path: Path) -> bool:
        """The file, or a folder with nothing else."""
        return _file(path) is not None

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """Read the file, which is a pickle."""
        file = _file(path)
        assert file is not None
        state = read_pickle(file, allow_pickle)
        activation = state.get("activation")
        if activation not in ("TopK", "ReLU"):
            raise RequestError(f"{file}: the activation {activation!r} is not known; TopK and ReLU are.")
        weights = Weights(file, {name: value for name, value in state.items() if isinstance(value, Tensor)})
        shape = weights.shape("encoder.weight")
        if len(shape) != 2:
            raise RequestError(f"{file}: `encoder.weight` is {shape}, where two dimensions are expected.")
        n, d = shape
        tensors = {
            "encoder": weights.take("encoder.weight", n, d),
            "encoder_bias": weights.take("latent_bias", n),
            "decoder": weights.take("decoder.weight", d, n).T,
            "decoder_bias": weights.take("pre_bias", d),
        }
        weights.finish(_STATISTICS)
        k = _k(state.get("activation_state_dict"), file, n) if activation == "TopK" else 0
        return Description(
            "topk" if k else "relu",
            tensors,
            k=k,
            token_norm="layer" if k else "none",
            promises={"l0": float(k)} if k else {},
            format=self.name,
        )


def _file(path: Path) -> Path | None:
    """The file itself, or the only one of a folder."""
    if path.is_file():
        return path if path.suffix == ".pt" else None
    files = list(path.iterdir()) if path.is_dir() else []
    return files[0] if len(files) == 1 and files[0].suffix == ".pt" and files[0].is_file() else None


def _k(activation: Any, file: Path, n: int) -> int:
    if not isinstance(activation, Mapping) or "k" not in activation:
        raise RequestError(f"{file} lacks `activation_state_dict.k`, the number of active latents.")
    after = activation.get("postact_fn", "ReLU")
    if after != "ReLU":
        raise RequestError(
            f"{file}: values after the selection are not rectified (`{after}`), which is not read."
        )
    k = activation["k"]
    return whole(f"k of {file}", int(k) if isinstance(k, Tensor) else k, high=n)
