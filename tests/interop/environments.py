"""An interpreter for each library: given by an environment variable, or installed once in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import torch

__all__ = ["LIBRARIES", "QUANTISERS", "interpreter"]

_OWN = ("lightning-fabric", "typer", "rich", "safetensors")

LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "saelens": ("sae-lens==6.54.12",),
    "sparsify": ("eai-sparsify==1.3.3",),
    "dictionary_learning": ("dictionary-learning==0.1.0",),
    "circuit_tracer": ("circuit-tracer==0.5.0",),
    "llamascopium": ("llamascopium==2.0.0b34", "transformer-lens==3.9.0"),
    "vector_quantize_pytorch": ("vector-quantize-pytorch==1.32.0", *_OWN),
    "encodec": ("encodec==0.1.1", *_OWN),
    "published": (),
}
"""The packages of each environment; our own modules run in some, and need theirs."""

QUANTISERS = ("vector_quantize_pytorch", "encodec")
"""Libraries whose modules are examined, instead of files."""

_BROKEN = ("torchvision", "torchaudio")
"""Dependencies that are removed again: their builds on PyPI do not fit torch's build for CPU."""


def interpreter(library: str) -> str:
    """The path of an interpreter that has the library.

    ``NARROWS_PEER_SAELENS`` (and so on) names one. Otherwise an environment is made below ``NARROWS_PEERS``, or found
    there. ``published`` needs only numpy and torch, so it takes this interpreter.
    """
    if not LIBRARIES[library]:
        return sys.executable
    variable = f"NARROWS_PEER_{library.upper()}"
    if given := os.environ.get(variable):
        return given
    cache = os.environ.get("NARROWS_PEERS")
    if cache is None:
        raise SystemExit(
            f"Set {variable} to an interpreter that has {library}, or NARROWS_PEERS to a folder."
        )
    folder = Path(cache).resolve() / library
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        _install(folder, python, LIBRARIES[library])
    return str(python)


def _install(folder: Path, python: Path, packages: tuple[str, ...]) -> None:
    """An environment with the same torch as here."""
    print(f"Installing {', '.join(packages)} in {folder}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    same = f"torch=={torch.__version__}"
    subprocess.run([python, "-m", "pip", "install", "-q", same, *packages], check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *_BROKEN], check=True)
    (folder / "complete").touch()
