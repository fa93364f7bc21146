"""`convert`: read a dictionary of any format, and write it in another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from narrows.core.check import RequestError
from narrows.exchange.description import Description, Losses
from narrows.exchange.files import vacant, write_folder
from narrows.exchange.fold import folded, with_centre, without_scaling
from narrows.exchange.format import Format
from narrows.exchange.formats import find, recognise, unknown
from narrows.exchange.readings import read_as
from narrows.exchange.runs import Narrows

__all__ = ["Conversion", "convert", "read"]


@dataclass(frozen=True)
class Conversion:
    """A finished conversion.

    Args:
        out: the folder that was written.
        source: the format that was read.
        target: the format that was written.
        description: what was written.
        losses: what the target could not hold.
    """

    out: Path
    source: str
    target: str
    description: Description
    losses: Losses


def read(path: str | Path, *, reading: str = "", allow_pickle: bool = False) -> Description:
    """The description of a run, or of a file of another library.

    Args:
        path: a folder or file.
        reading: another reading than that of the configuration, of `narrows.exchange.readings`.
        allow_pickle: open pickles too, for tensors and plain values only.

    Raises:
        RequestError: the path has no known format, or its files are damaged.
    """
    path = Path(path)
    if not path.exists():
        raise RequestError(f"{path} does not exist.")
    own = Narrows()
    found: Format | None = own if own.recognises(path) else recognise(path)
    if found is None:
        raise unknown(path)
    description = finite(found.read(path, allow_pickle=allow_pickle), path)
    return read_as(description, reading) if reading else description


def finite(description: Description, path: Path) -> Description:
    """The description, if all its numbers are finite.

    Raises:
        RequestError: some are not.
    """
    for name, tensor in description.tensors.items():
        # One pass without a copy: a NaN or an infinity makes the sum one. An overflow of the sum is checked again.
        if not bool(tensor.sum().isfinite()):
            bad = sum(int((~part.isfinite()).sum()) for part in tensor.flatten().split(1 << 24))
            if bad:
                raise RequestError(
                    f"{path} is damaged: `{name}` of its {description.format} file has {bad:,} numbers that are NaN or "
                    "infinite. Get the file again."
                )
    return description


def convert(
    path: str | Path,
    out: str | Path,
    to: str,
    *,
    fold: bool = False,
    reading: str = "",
    allow_pickle: bool = False,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> Conversion:
    """Write a run, or a dictionary of another library, in another format.

    What the target cannot hold is listed before anything is written. If codes or reconstructions would change,
    nothing is written without `force`.

    Args:
        path: a run folder, or a file or folder of a known format.
        out: the new folder, which must not exist or must be empty.
        to: the target: ``narrows``, ``saelens``, ``sparsify``, ``dictionary_learning`` ...
        fold: fold factors, norms of atoms and the subtracted bias into the weights first, as `folded` says.
        reading: another reading than that of the configuration.
        allow_pickle: open pickles too, for tensors and plain values only.
        force: write even if codes or reconstructions change.
        say: shows the list of what is lost.

    Raises:
        RequestError: an argument is invalid, the input is damaged, or the target cannot hold it.
        WorkError: the target cannot be written; nothing is left behind.
    """
    out = Path(out)
    target = Narrows() if to == Narrows.name else find(to)
    vacant(out)
    description = read(path, reading=reading, allow_pickle=allow_pickle)
    if fold:
        description = without_scaling(folded(description))
        centre = target.centre(description)
        description = description if centre is None else with_centre(description, centre)
    losses = target.losses(description)
    if any(description.metadata.get(name) for name in ("scaling", "target_scaling")):
        scaling = "the scaling of the data that it was fitted to: fold it with ``fold=True``"
        losses = replace(losses, results=(*losses.results, scaling))
    for fact in losses.facts:
        say(f"{target.name} does not hold {fact}.")
    if losses.results:
        listed = "; ".join(losses.results)
        if not force:
            raise RequestError(
                f"``to={target.name!r}`` cannot hold this {description.title}, and its results would change: {listed}. "
                "Nothing was written. Write it without these: ``force=True``"
            )
        say(f"{target.name} does not hold {listed}: codes or reconstructions change.")
    write_folder(out, partial(target.save, description))
    return Conversion(out, description.format, target.name, description, losses)
