"""sparsify (EleutherAI): TopK autoencoders and transcoders, current and of earlier versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from narrows.activations.hook_points import from_module_path
from narrows.core import files
from narrows.core.check import RequestError, whole
from narrows.exchange.description import Description, Losses
from narrows.exchange.files import Weights, flag, map_tensors, read_config
from narrows.exchange.format import Files, Format

__all__ = ["Sparsify"]

_CONFIG, _WEIGHTS = "cfg.json", "sae.safetensors"


class Sparsify(Format):
    """A folder of one hook point: ``cfg.json`` and ``sae.safetensors``; ``../config.json`` describes the run."""

    name = "sparsify"
    title = "cfg.json with sae.safetensors"

    def recognises(self, path: Path) -> bool:
        """A folder with the file of weights."""
        return path.is_dir() and (path / _WEIGHTS).is_file()

    def read(self, path: Path, *, allow_pickle: bool = False) -> Description:
        """Read the folder of one hook point."""
        config = read_config(path / _CONFIG)
        activation = config.get("activation", "topk")
        signed = flag(config, "signed", path / _CONFIG)
        if activation not in ("topk", "groupmax") or signed:
            shown = "signed TopK" if signed else activation
            raise RequestError(
                f"{path / _CONFIG}: the activation `{shown}` is not known; topk and groupmax are."
            )
        weights = Weights(path / _WEIGHTS, map_tensors(path / _WEIGHTS))
        d, n = self._sizes(config, weights, path)
        transcoder, skip = flag(config, "transcode", path / _CONFIG), "W_skip" in weights
        if skip != flag(config, "skip_connection", path / _CONFIG):
            raise RequestError(
                f"{path / _CONFIG} contradicts {_WEIGHTS} on whether there is a skip connection."
            )
        if skip and not transcoder:
            raise RequestError(f"{path / _CONFIG}: a skip connection without `transcode` is not read.")
        tensors = {
            "encoder": weights.take("encoder.weight", n, d),
            "encoder_bias": weights.take("encoder.bias", n),
            "decoder": weights.take("W_dec", n, d),
            "decoder_bias": weights.take("b_dec", d),
        }
        if skip:
            tensors["skip"] = weights.take("W_skip", d, d).T
        weights.finish()
        k = whole(f"k of {path / _CONFIG}", config.get("k"), high=n)
        options = {} if activation == "topk" else {"groupmax": True}
        return Description(
            "topk",
            tensors,
            kind="transcoder" if transcoder else "sae",
            centre=not transcoder,
            k=k,
            options=options,
            metadata=self._facts(path, config),
            promises={"l0": float(k)},
            format=self.name,
        )

    @staticmethod
    def _sizes(config: dict[str, Any], weights: Weights, path: Path) -> tuple[int, int]:
        """The widths of input and code. `num_latents` is 0 if it follows from `expansion_factor`."""
        if "d_in" not in config:
            raise RequestError(f"{path / _CONFIG} lacks `d_in`.")
        d = whole(f"d_in of {path / _CONFIG}", config["d_in"])
        n = whole(f"num_latents of {path / _CONFIG}", config.get("num_latents", 0), low=0)
        if not n:
            n = d * whole(f"expansion_factor of {path / _CONFIG}", config.get("expansion_factor", 32))
        return d, n

    @staticmethod
    def _facts(path: Path, config: dict[str, Any]) -> dict[str, Any]:
        """Metadata from the names of the folder and the configuration of the run beside it."""
        facts: dict[str, Any] = {"hook": path.resolve().name, "config": {"sparsify": config}}
        try:
            run = files.read_json(path.resolve().parent / "config.json")
        except (OSError, ValueError):
            run = {}
        if isinstance(run, dict):
            names = {"model": "model", "dataset": "dataset", "context": "ctx_len"}
            facts |= {ours: run[theirs] for ours, theirs in names.items() if run.get(theirs) is not None}
        if place := from_module_path(facts["hook"]):
            facts["place"] = place
        return facts

    def losses(self, description: Description) -> Losses:
        """It has TopK only, without norms, and equal widths of input and output."""
        if description.activation != "topk" or description.kind == "cross-layer":
            raise self.cannot(description, "sparsify has autoencoders and transcoders with TopK")
        if description.width != description.output_width:
            raise self.cannot(description, "sparsify has outputs of the width of the input")
        results, facts = [], []
        if description.centre == (description.kind == "transcoder"):
            results.append(
                "that the decoder's bias is not subtracted, as it is except in transcoders: ``fold=True`` mends it"
            )
        if description.token_norm != "none":
            results.append(f"the norm of each example, `{description.token_norm}`")
        if description.by_norm or description.scale != (1.0, 1.0):
            results.append("factors of input, output or atoms: fold them with ``fold=True``")
        if len({t.dtype for t in description.tensors.values()}) > 1:
            facts.append("tensors of several types: it casts all to one when it loads")
        known = [
            name
            for name in ("model", "tokenizer", "dataset", "context", "bos")
            if name in description.metadata
        ]
        if known:
            facts.append(f"{', '.join(known)} in its own folder: they are in config.json beside it")
        return Losses(tuple(results), tuple(facts))

    def centre(self, description: Description) -> bool | None:
        """It is subtracted, except in transcoders."""
        return description.kind != "transcoder"

    def write(self, description: Description) -> Files:
        """The folder of one hook point."""
        given = description.tensors
        tensors = {
            "encoder.weight": given["encoder"],
            "encoder.bias": given["encoder_bias"],
            "W_dec": given["decoder"],
            "b_dec": given["decoder_bias"],
        }
        if "skip" in given:
            tensors["W_skip"] = given["skip"].T
        config = {
            "activation": "groupmax" if description.options.get("groupmax") else "topk",
            "expansion_factor": max(1, description.latents // description.width),
            "normalize_decoder": False,
            "num_latents": description.latents,
            "k": description.k,
            "multi_topk": False,
            "skip_connection": "skip" in given,
            "transcode": description.kind == "transcoder",
            "d_in": description.width,
        }
        old = description.metadata.get("config", {}).get(self.name, {})
        kept = {name: old[name] for name in old if name not in config or name in _AS_WRITTEN}
        return {_CONFIG: {**config, **kept}, _WEIGHTS: tensors}


_AS_WRITTEN = ("expansion_factor", "normalize_decoder", "multi_topk")
"""Fields of a configuration that have no effect on codes, and are kept as they were."""
