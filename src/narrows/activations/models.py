"""Models from the Hugging Face hub, from a local folder, or from memory, ready to be read."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from narrows.activations.folders import FOREIGN, KNOWN, Folder, config_of, folder_of, weights_of
from narrows.core.check import NarrowsError, RequestError, WorkError, choice, nearest, optional, refuse

__all__ = ["DTYPES", "Model", "load", "load_tokenizer", "noted", "place_of", "quietly", "wrap"]

DTYPES = ("float32", "bfloat16", "float16")
_HERE = {"local_files_only": True, "trust_remote_code": False}
"""How transformers is asked, always: for files of the folder that was checked, and for no code of its author's."""

_TIMES, _SLACK = 4, 512 << 20
"""A model may take so many times the bytes of its weights (stored in half, loaded in full), and so many on top."""

_DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers")

_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "tokenizer_config.json",
)
_INPUTS = {"input_ids": "text", "pixel_values": "vision"}


@dataclass(frozen=True)
class Model:
    """A model to read.

    Args:
        module: in eval mode.
        tokenizer: from `transformers`; None where there is none.
        kind: ``causal`` (has a next-token loss), ``encoder``, ``vision`` or ``module`` (anything else).
        name: what it is called in reports.
        revision: the commit of the hub, or a digest of its files or weights.
        source: what `load` takes to get it again; empty for a model in memory.
        dtype: of its weights.
        images: for a vision model, `size`, `channels`, `mean` and `std` of its images.
    """

    module: nn.Module
    tokenizer: Any
    kind: str
    name: str
    revision: str
    source: str = ""
    dtype: str = "float32"
    images: dict[str, Any] | None = None

    @property
    def config(self) -> Any:
        """Its configuration, or None."""
        return getattr(self.module, "config", None)

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @property
    def vocabulary(self) -> int:
        """How many rows its token embedding has; 0 without one."""
        table = getattr(self.module, "get_input_embeddings", lambda: None)()
        return int(table.weight.shape[0]) if isinstance(table, nn.Embedding) else 0

    @property
    def longest(self) -> int:
        """The longest context it takes; 0 if it does not say."""
        names = ("max_position_embeddings", "n_positions", "max_seq_len")
        lengths = [getattr(self.config, name, None) for name in names]
        return next((n for n in lengths if isinstance(n, int)), 0)


def load(
    name: str | Path, device: str = "auto", dtype: str = "float32", *, revision: str = "", fetch: bool = True
) -> Model:
    """Load a model and its tokenizer. No code and no pickle of the model's folder is ever run or opened.

    Args:
        name: a name on the Hugging Face hub, a folder, ``minilm`` or ``stories260k``.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        dtype: of its weights, of `DTYPES`.
        revision: the one that is wanted, such as a manifest notes it; empty for whatever is there.
        fetch: whether the hub may be asked; else the model must be on this machine.

    Raises:
        RequestError: no such model, another revision, or its files are damaged, incomplete or need foreign code.
        WorkError: transformers is not installed.
    """
    choice("model_dtype", dtype, DTYPES)
    transformers = optional("transformers", "language", "load a model")
    with _readable(str(name)), quietly():
        folder = _wanted(str(name), revision, fetch)
        told = config_of(folder.path)
        files = weights_of(folder.path, told)
        config = transformers.AutoConfig.from_pretrained(folder.path, **_HERE)
        causal = any(str(a).endswith(("ForCausalLM", "LMHeadModel")) for a in config.architectures or ())
        auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
        _fits(auto, config, files)
        module, info = auto.from_pretrained(
            folder.path, config=config, use_safetensors=True, output_loading_info=True, **_HERE
        )
        kind = _kind(module, causal)
        tokenizer = _tokenizer(transformers, folder.path) if kind != "vision" else None
        images = _images(transformers, folder.path, config) if kind == "vision" else None
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise RequestError(
            f"The weights of {name} are incomplete: `{missing[0]}` is missing. Get the model again."
        )
    if getattr(config, "is_encoder_decoder", False):
        module = module.get_encoder()
        kind = _kind(module, causal)
    config.use_cache = False  # nothing is generated here
    module = module.to(place_of(device), getattr(torch, dtype)).eval()
    return Model(module, tokenizer, kind, folder.name, folder.revision, folder.source, dtype, images)


def load_tokenizer(name: str, *, revision: str = "", fetch: bool = True) -> Any:
    """Load the tokenizer of a model without its weights; None where it has none.

    Args:
        name: as for `load`.
        revision: as for `load`.
        fetch: as for `load`.

    Raises:
        RequestError: as `load`.
        WorkError: transformers is not installed.
    """
    transformers = optional("transformers", "language", "load a tokenizer")
    with _readable(name), quietly():
        folder = _wanted(name, revision, fetch)
        config_of(folder.path)
        return _tokenizer(transformers, folder.path)


def noted(told: Mapping[str, Any]) -> tuple[str, str]:
    """The source and the revision of the model that a harvest's header names, for `load`.

    Raises:
        RequestError: it was in memory, or the header is damaged.
    """
    source, revision = told.get("source"), told.get("revision")
    if not isinstance(source, str) or not isinstance(revision, str):
        raise RequestError("The manifest names no model and revision. Harvest anew.")
    if not source:
        raise RequestError(
            f"The model of this harvest ({told.get('name')}) was in memory and is not kept. Save it with "
            "save_pretrained, and harvest from the folder."
        )
    return source, revision


def _wanted(name: str, revision: str, fetch: bool) -> Folder:
    folder = folder_of(name, revision, fetch)
    if revision and folder.revision != revision:
        raise RequestError(
            f"The model {folder.name} is another than when the harvest was made ({folder.revision} instead of "
            f"{revision}). Harvest anew."
        )
    return folder


def _fits(auto: Any, config: Any, files: Sequence[Path]) -> None:
    """Hold what the configuration announces to the size of the weights, before memory is set aside for it."""
    if getattr(config, "quantization_config", None) is not None:
        return  # its numbers take fewer bytes in the file than in memory
    size = sum(file.stat().st_size for file in files)
    most = _TIMES * size + _SLACK
    tensors = 0
    for file in files:
        with safe_open(file, "pt") as opened:
            tensors += len(opened.keys())
    for key, value in config.to_dict().items():
        if key in _DEPTHS and isinstance(value, int) and value > tensors:
            raise refuse(
                f"config.json: {key}",
                value,
                f"at most the number of tensors in the weights, {tensors}",
                "Get the model again.",
            )
    with torch.device("meta"):
        module = auto.from_config(config, trust_remote_code=False)
    need = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
    if need > most:
        raise RequestError(
            f"config.json describes a model of {need / 1e9:.1f} GB, but its weights take {size / 1e9:.1f} GB. "
            "Get the model again."
        )


def wrap(module: nn.Module, tokenizer: Any = None) -> Model:
    """A model in memory: any module; one of transformers with its tokenizer reads text too.

    Args:
        module: as it is, moved to no other device; it is read in eval mode.
        tokenizer: of `transformers`.
    """
    digest = hashlib.sha256()
    for key, value in module.state_dict().items():
        digest.update(f"{key}|{tuple(value.shape)}|".encode())
        some = value.detach().flatten()[:4096].cpu()
        digest.update(some.contiguous().view(torch.uint8).numpy().tobytes() if some.numel() else b"")
    architecture = type(module).__name__
    kind = _kind(module, architecture.endswith(("ForCausalLM", "LMHeadModel")))
    dtype = next((str(p.dtype).removeprefix("torch.") for p in module.parameters()), "float32")
    return Model(module, tokenizer, kind, architecture, f"sha256:{digest.hexdigest()[:32]}", "", dtype)


def place_of(device: str) -> torch.device:
    """The device that is meant: of several processes on one machine, each takes its own GPU."""
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if device == "auto":
        return torch.device(own if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(own if device == "cuda" else device)
    except RuntimeError as error:
        raise refuse("device", device, "`auto`, `cpu` or `cuda`") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise refuse("device", device, "`auto` or `cpu`", "This machine has no GPU that torch can use.")
    return found


def _kind(module: nn.Module, causal: bool) -> str:
    inputs = _INPUTS.get(getattr(module, "main_input_name", ""), "")
    if inputs == "text" and hasattr(module, "config"):
        return "causal" if causal else "encoder"
    return inputs if inputs == "vision" and hasattr(module, "config") else "module"


def _tokenizer(transformers: Any, path: Path) -> Any:
    """The tokenizer, or None where the folder has none."""
    if not any((path / name).is_file() for name in _TOKENIZERS):
        return None
    return transformers.AutoTokenizer.from_pretrained(path, **_HERE)


def _images(transformers: Any, path: Path, config: Any) -> dict[str, Any]:
    """What images a vision model takes."""
    size = getattr(config, "image_size", 224)
    channels = int(getattr(config, "num_channels", 3))
    found = {"size": [size, size] if isinstance(size, int) else list(size), "channels": channels}
    try:
        told, _ = transformers.ImageProcessingMixin.get_image_processor_dict(path, local_files_only=True)
    except (OSError, ValueError):
        told = {}
    half = [0.5] * channels
    return found | {"mean": list(told.get("image_mean") or half), "std": list(told.get("image_std") or half)}


@contextmanager
def quietly() -> Iterator[None]:
    """Let transformers load and save without bars and remarks on the terminal."""
    quiet = optional("transformers", "language").utils.logging
    shown, level = quiet.is_progress_bar_enabled(), quiet.get_verbosity()
    quiet.disable_progress_bar()
    quiet.set_verbosity_error()
    try:
        yield
    finally:
        quiet.set_verbosity(level)
        if shown:
            quiet.enable_progress_bar()


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Say in a sentence what goes wrong while a model is loaded."""
    try:
        yield
    except (ImportError, MemoryError, NarrowsError):
        raise
    except Exception as error:  # transformers, safetensors and the hub each raise their own
        if "trust_remote_code" in str(error):
            raise RequestError(FOREIGN.format(name)) from error
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        kind = WorkError if isinstance(error, (ConnectionError, TimeoutError)) else RequestError
        close = difflib.get_close_matches(name, KNOWN)
        fix = nearest(name, KNOWN) if close else "Give a folder or a name on the hub."
        raise kind(f"The model {name!r} cannot be loaded: {first} {fix}") from error
