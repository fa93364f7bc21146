"""`convert`: read a dictionary of any format, and write it in another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narrows.core.check import RequestError, refuse, whole
from narrows.exchange.description import Description, Losses
from narrows.exchange.files import flag, vacant, write_files, write_folder
from narrows.exchange.fold import folded, with_centre, without_scaling
from narrows.exchange.format import Format
from narrows.exchange.formats import find, recognise, unknown
from narrows.exchange.readings import read_as
from narrows.exchange.runs import Narrows
from narrows.exchange.threshold import activations, thresholded

__all__ = ["Conversion", "convert", "members", "read"]


@dataclass(frozen=True)
class Conversion:
    """A finished conversion.

    Args:
        out: the folder that was written.
        source: the format that was read.
        target: the format that was written.
        description: what was written.
        losses: what the target could not hold.
        count: the number of dictionaries; `description` is the first.
    """

    out: Path
    source: str
    target: str
    description: Description
    losses: Losses
    count: int = 1


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
    description = finite(typed(found.read(path, allow_pickle=allow_pickle), path), path)
    return read_as(description, reading) if reading else description


def typed(description: Description, path: Path) -> Description:
    """The description, if its metadata have the types that `Description` states.

    Raises:
        RequestError: some have not.
    """
    facts = description.metadata
    for name in ("model", "place", "target_place", "hook", "target_hook", "tokenizer"):
        if not isinstance(facts.get(name, ""), str):
            raise refuse(f"the {name.replace('_', ' ')} in the metadata of {path}", facts[name], "a text")
    if facts.get("context") is not None:
        whole(f"the length of a context in the metadata of {path}", facts["context"])
    flag(facts, "bos", path)
    return description


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
                how = "1 number that is" if bad == 1 else f"{bad:,} numbers that are"
                raise RequestError(
                    f"{path} is damaged: `{name}` of its {description.format} file has {how} NaN or infinite. "
                    "Get the file again."
                )
    return description


def convert(
    path: str | Path,
    out: str | Path,
    to: str,
    *,
    fold: bool = False,
    reading: str = "",
    jumprelu: Any = None,
    allow_pickle: bool = False,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> Conversion:
    """Write a run, or a dictionary of another library, in another format.

    What the target cannot hold is listed before anything is written. If codes or reconstructions would change,
    nothing is written without `force`. A folder of several dictionaries (a set of transcoders, a run of sparsify, a
    folder of runs) is converted as a whole: to one folder each, or to a set if the target has sets.

    Args:
        path: a run folder, or a file or folder of a known format.
        out: the new folder, which must not exist or must be empty.
        to: the target: ``narrows``, ``saelens``, ``sparsify``, ``dictionary_learning`` ...
        fold: fold factors, norms of atoms and the subtracted bias into the weights first, as `folded` says.
        reading: another reading than that of the configuration.
        jumprelu: activations, as `narrows.data.open` takes them; a TopK is then written as a JumpReLU whose L0 on
            them is k (`thresholded`).
        allow_pickle: open pickles too, for tensors and plain values only.
        force: write even if codes or reconstructions change.
        say: shows the list of what is lost.

    Raises:
        RequestError: an argument is invalid, the input is damaged, or the target cannot hold it.
        WorkError: the target cannot be written; nothing is left behind.
    """
    path, out = Path(path), Path(out)
    target = Narrows() if to == Narrows.name else find(to)
    vacant(out)
    found = members(path)
    ready: dict[str, Description] = {}
    for name, one in (found or {"": path}).items():
        description = read(one, reading=reading, allow_pickle=allow_pickle)
        if jumprelu is not None:
            description = thresholded(description, activations(jumprelu, description))
        if fold:
            description = without_scaling(folded(description))
            centre = target.centre(description)
            description = description if centre is None else with_centre(description, centre)
        ready[name] = description
    losses = _losses(target, ready, force, say)
    joined = target.join(list(ready.values())) if found else None

    def fill(folder: Path) -> None:
        if joined is not None:
            write_files(folder, joined)
            return
        for name, one in ready.items():
            (folder / name).mkdir(exist_ok=True)
            target.save(one, folder / name)

    write_folder(out, fill)
    first = next(iter(ready.values()))
    return Conversion(out, first.format, target.name, first, losses, len(ready))


def members(path: Path) -> Mapping[str, Path]:
    """The dictionaries of a folder that holds several, by name, in the order of the numbers in them; else none."""
    found = recognise(path)
    if found is not None or Narrows().recognises(path) or not path.is_dir():
        return {} if found is None else found.members(path)
    below = [one for one in path.iterdir() if one.is_dir() and (Narrows().recognises(one) or recognise(one))]
    return {one.name: one for one in sorted(below, key=_order)}


def _order(path: Path) -> tuple[list[int], str]:
    return [int(number) for number in re.findall(r"\d+", path.name)], path.name


def _losses(
    target: Format, ready: Mapping[str, Description], force: bool, say: Callable[[str], None]
) -> Losses:
    """What the target cannot hold of any of the dictionaries, which is shown.

    Raises:
        RequestError: codes or reconstructions would change.
    """
    each = [target.losses(one) for one in ready.values()]
    results = tuple(dict.fromkeys(text for one in each for text in one.results))
    scalings = ("scaling", "target_scaling")
    if any(one.metadata.get(name) for one in ready.values() for name in scalings):
        results += ("the scaling of the data that it was fitted to: fold it with ``fold=True``",)
    facts = tuple(dict.fromkeys(text for one in each for text in one.facts))
    for fact in facts:
        say(f"{target.name} does not hold {fact}.")
    if results:
        listed, title = "; ".join(results), next(iter(ready.values())).title
        if not force:
            raise RequestError(
                f"``to={target.name!r}`` cannot hold this {title}, and its results would change: {listed}. "
                "Nothing was written. Write it without these: ``force=True``"
            )
        say(f"{target.name} does not hold {listed}: codes or reconstructions change.")
    return Losses(results, facts)
