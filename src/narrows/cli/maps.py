"""Score maps of images: the options of `score`, and their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narrows.cli.errors import note
from narrows.cli.output import destination, write_npz, write_png
from narrows.core.check import RequestError, refuse

if TYPE_CHECKING:
    import numpy as np

    from narrows.data import Dataset
    from narrows.runs.run import Run
    from narrows.runs.verbs.score_map import Mapped

__all__ = ["MapOptions"]

_SHOWN = 16
"""Number of examples in a picture."""


@dataclass(frozen=True)
class MapOptions:
    """The options of score maps."""

    map: Annotated[
        Path | None,
        typer.Option(
            help="For images: write the score of each pixel and a mask of anomalies, .npz, or a picture of the first "
            "images, their maps and masks, .png."
        ),
    ] = None
    mask: Annotated[
        str,
        typer.Option(
            help="From maps to masks: quantile:level=0.995 of the pixels of calibration rows, or otsu; smooth=1, a "
            "Gaussian filter; area=4, the least number of pixels of a region."
        ),
    ] = "quantile"
    truth: Annotated[
        Path | None,
        typer.Option(
            help="True masks, .npy or .npz, (N, H, W): print pixel AUPRC, Dice and PRO.", metavar="MASKS"
        ),
    ] = None

    def path(self, force: bool) -> Path | None:
        """The file of the maps, checked.

        Raises:
            RequestError: true masks or a mask without a file of maps; a file that cannot be written.
        """
        if self.map is None:
            for name, value in (
                ("--truth", self.truth),
                ("--mask", self.mask if self.mask != "quantile" else None),
            ):
                if value is not None:
                    raise refuse(name, str(value), "given with --map FILE", "Such as --map maps.npz.")
            return None
        return destination(self.map, force, (".npz", ".png"))

    def scored(self, run: Run, examples: Dataset, calibration: Any, progress: Any) -> Mapped:
        """The maps of all examples."""
        truth = None if self.truth is None else _masks(self.truth)
        how: dict[str, Any] = {"mask": self.mask, "truth": truth, "calibration": calibration}
        return run.score_map(examples, **how, progress=progress)

    def write(self, path: Path, found: Mapped, examples: Dataset) -> dict[str, Any]:
        """Write the file, print the agreement with true masks, and return what a document says of both."""
        if path.suffix.lower() == ".npz":
            write_npz(path, {"map": found.maps.astype("float32"), "mask": found.masks})
        else:
            write_png(path, _drawn(found, examples))
        facts: dict[str, Any] = {"map": str(path), "threshold": found.threshold}
        if found.agreement is not None:
            facts |= vars(found.agreement)
            note(" ".join(f"{name.upper()} {value:.3f}." for name, value in vars(found.agreement).items()))
        return facts


def _masks(path: Path) -> np.ndarray:
    """The masks of a file: the only array, or the one named mask.

    Raises:
        RequestError: the file cannot be read, or has several arrays and none of this name.
    """
    import numpy as np

    try:
        read = np.load(path, allow_pickle=False)
        if isinstance(read, np.ndarray):
            return read
        with read:
            names = list(read)
            name = names[0] if len(names) == 1 else "mask"
            return np.asarray(read[name])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise RequestError(
            f"{path} is no file of masks: give an .npy file, or an .npz file with one array or one named `mask`."
        ) from error


def _drawn(found: Mapped, examples: Dataset) -> np.ndarray:
    """Images above their maps and masks, as bytes."""
    import numpy as np

    from narrows.cli.pictures import picture

    count = min(_SHOWN, len(examples))
    images = examples.take(count).all().x.numpy().mean(1)
    low, high = found.maps[:count].min(), found.maps[:count].max()
    rows = [
        (images - images.min()) / max(float(np.ptp(images)), 1e-12),
        (found.maps[:count] - low) / max(high - low, 1e-12),
        found.masks[:count].astype(np.float64),
    ]
    return picture(np.concatenate(rows)[:, None], columns=count)
