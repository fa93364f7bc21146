"""Models from the Hugging Face hub, from a local folder, or from memory, whose activations are read."""

from __future__ import annotations

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
from narrows.core.check import (
    NarrowsError,
    RequestError,
    WorkError,
    choice,
    closest,
    nearest,
    optional,
    refuse,
)

__all__ = ["DTYPES", "Model", "load", "load_tokenizer", "model_source", "quietly", "resolve_device", "wrap"]

DTYPES = ("float32", "bfloat16", "float16")
_HERE = {"local_files_only": True, "trust_remote_code": False}
"""Arguments of every call to transformers: only local files of the checked folder, and no code of its author."""

_TIMES, _SLACK = 4, 512 << 20
"""A model may need this multiple of the bytes of its weights (they may be stored in half precision), and this many
bytes in addition."""

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
    """A model whose activations are read.

    Args:
        module: in eval mode.
        tokenizer: from `transformers`, or None.
        kind: ``causal`` (has a next-token loss), ``encoder``, ``vision`` or ``module`` (anything else).
        name: the model's name in reports.
        revision: the commit of the hub, or a digest of its files or weights.
        source: the name with which `load` finds the model again; empty for a model in memory.
        dtype: the type of its weights.
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
        """The device of its weights."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @property
    def vocabulary(self) -> int:
        """The number of rows of its token embedding; 0 without one."""
        table = getattr(self.module, "get_input_embeddings", lambda: None)()
        return int(table.weight.shape[0]) if isinstance(table, nn.Embedding) else 0

    @property
    def tokens(self) -> str:
        """A digest of its tokenizer's vocabulary; empty without a tokenizer that lists its tokens.

        Two tokenizers of equal digest give the same numbers to the same tokens.
        """
        try:
            vocabulary = self.tokenizer.get_vocab()
        except (AttributeError, NotImplementedError):
            return ""
        digest = hashlib.sha256()
        for token, number in sorted(vocabulary.items()):
            digest.update(f"{token}\0{number}\n".encode("utf-8", "surrogatepass"))
        return f"sha256:{digest.hexdigest()[:32]}"

    @property
    def longest(self) -> int:
        """Its longest context in tokens; 0 if its configuration has none."""
        names = ("max_position_embeddings", "n_positions", "max_seq_len")
        lengths = [getattr(self.config, name, None) for name in names]
        return next((n for n in lengths if isinstance(n, int)), 0)


def load(
    name: str | Path, device: str = "auto", dtype: str = "float32", *, revision: str = "", fetch: bool = True
) -> Model:
    """Load a model and its tokenizer, without running code or opening pickles of the model's folder.

    Args:
        name: a name on the Hugging Face hub, a folder, ``minilm`` or ``stories260k``.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        dtype: the type of its weights, of `DTYPES`.
        revision: the wanted revision, such as that of a manifest; empty accepts any.
        fetch: whether the hub may be used; else the model must be on this machine.

    Raises:
        RequestError: no such model, another revision, or its files are damaged, incomplete or need their author's code.
        WorkError: transformers is not installed.
    """
    choice("model_dtype", dtype, DTYPES)
    transformers = optional("transformers", "language", "load a model")
    with _readable(str(name)), quietly():
        folder = _wanted(str(name), revision, fetch)
        described = config_of(folder.path)
        files = weights_of(folder.path, described)
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
    config.use_cache = False  # no text is generated
    module = module.to(resolve_device(device), getattr(torch, dtype)).eval()
    return Model(module, tokenizer, kind, folder.name, folder.revision, folder.source, dtype, images)


def load_tokenizer(name: str, *, revision: str = "", fetch: bool = True) -> Any:
    """Load the tokenizer of a model without its weights; None if it has none.

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


def model_source(described: Mapping[str, Any]) -> tuple[str, str]:
    """The source and the revision of the model of a harvest, for `load`.

    Args:
        described: the entry `model` of the harvest's header.

    Raises:
        RequestError: the model was in memory, or the header is damaged.
    """
    source, revision = described.get("source"), described.get("revision")
    if not isinstance(source, str) or not isinstance(revision, str):
        raise RequestError("The manifest names no model and revision. Harvest again.")
    if not source:
        raise RequestError(
            f"The model of this harvest ({described.get('name')}) was in memory and is not saved. Save it with "
            "save_pretrained, and harvest from the folder."
        )
    return source, revision


def _wanted(name: str, revision: str, fetch: bool) -> Folder:
    folder = folder_of(name, revision, fetch)
    if revision and folder.revision != revision:
        raise RequestError(
            f"The model {folder.name} has changed since the harvest was made ({folder.revision} instead of "
            f"{revision}). Harvest again."
        )
    return folder


def _fits(auto: Any, config: Any, files: Sequence[Path]) -> None:
    """Check the configuration against the size of the weights, before memory is allocated for the model."""
    if getattr(config, "quantization_config", None) is not None:
        return  # its weights take fewer bytes in the file than in memory
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
    """A model in memory: any module; a model of transformers with its tokenizer can read text.

    Args:
        module: it stays on its device, and is read in eval mode.
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


def resolve_device(device: str) -> torch.device:
    """The device of a name; of several processes on one machine, each uses its own GPU."""
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
    """The tokenizer, or None if the folder has none."""
    if not any((path / name).is_file() for name in _TOKENIZERS):
        return None
    return transformers.AutoTokenizer.from_pretrained(path, **_HERE)


def _images(transformers: Any, path: Path, config: Any) -> dict[str, Any]:
    """Size, channels, mean and standard deviation of the images of a vision model."""
    size = getattr(config, "image_size", 224)
    channels = int(getattr(config, "num_channels", 3))
    found = {"size": [size, size] if isinstance(size, int) else list(size), "channels": channels}
    try:
        described, _ = transformers.ImageProcessingMixin.get_image_processor_dict(path, local_files_only=True)
    except (OSError, ValueError):
        described = {}
    half = [0.5] * channels
    return found | {
        "mean": list(described.get("image_mean") or half),
        "std": list(described.get("image_std") or half),
    }


@contextmanager
def quietly() -> Iterator[None]:
    """Let transformers load and save without progress bars and messages on the terminal."""
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
    """Turn an error while a model is loaded into one sentence."""
    try:
        yield
    except (ImportError, MemoryError, NarrowsError):
        raise
    except Exception as error:  # transformers, safetensors and the hub raise errors of many types
        if "trust_remote_code" in str(error):
            raise RequestError(FOREIGN.format(name)) from error
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        kind = WorkError if isinstance(error, (ConnectionError, TimeoutError)) else RequestError
        fix = nearest(name, KNOWN) if closest(name, KNOWN) else "Give a folder or a name on the hub."
        raise kind(f"The model {name!r} cannot be loaded: {first} {fix}") from error
