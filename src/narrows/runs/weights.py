"""The weights of a run: reading them from its folder, and whether they match a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from narrows.core import Autoencoder, files
from narrows.core.check import RequestError
from narrows.core.tensorfile import read_tensors
from narrows.train.checkpoint import newest

__all__ = ["check_weights", "read_weights"]


def check_weights(folder: Path, weights: Mapping[str, Tensor], model: Autoencoder | None) -> None:
    """Raise unless names and shapes of the weights are the model's.

    Args:
        folder: the run folder.
        weights: tensors by name.
        model: the model, or None if it is not known.

    Raises:
        RequestError: they are not the model's.
    """
    if model is None:
        return
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            one, two = (shapes.get(name, "nothing") for shapes in (found, expected))
            raise RequestError(
                f"The weights of {folder} do not fit its recipe: `{name}` is {one} in the file, {two} in the model."
            )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a finished run, else those of its last valid checkpoint.

    Raises:
        RequestError: there are none, or they are damaged.
    """
    path, result = folder / "model.safetensors", folder / "result.json"
    try:
        expected = files.read_json(result)["sha256"]
    except FileNotFoundError:
        checkpoint, warnings = newest(folder / "state")
        if checkpoint is None:
            raise RequestError(
                f"{folder} holds no weights yet. {' '.join([*warnings, f'Train it: narrows resume {folder}'])}"
            ) from None
        return checkpoint.under("model/")
    except (ValueError, LookupError, TypeError) as error:
        raise _damaged(result, folder, str(error).split("\n")[0]) from error
    try:
        if expected == files.sha256(path):
            return read_tensors(path)
        reason = "its checksum does not match result.json"
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
    raise _damaged(path, folder, reason)


def _damaged(path: Path, folder: Path, reason: str) -> RequestError:
    return RequestError(
        f"{path} is damaged: {reason.rstrip('.')}. Move {folder / 'result.json'} away, then continue "
        f"from the last checkpoint: narrows resume {folder}"
    )
