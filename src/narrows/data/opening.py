"""`open`: from a name, a path or arrays to a `Source`; `like`: other data with the same scaling."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from narrows.core.check import RequestError, UnknownNameError, UnknownOptionError, nearest, refuse
from narrows.core.spec import Kind, Spec
from narrows.data.as_views import as_views
from narrows.data.assemble import Split, assemble, one_part, rescaled
from narrows.data.dataset import Dataset, Source
from narrows.data.holes import with_holes
from narrows.data.named.registry import SYNTHETIC, expand, find, names, why_not
from narrows.data.raw import Raw
from narrows.data.readers.fields import fields_of_images
from narrows.data.readers.mixed import as_table
from narrows.data.sequences import SEQUENCES, sequence_source, sequences_like

__all__ = ["like", "open", "raw_like"]

Reader = Callable[..., "Raw | Source | Dataset"]
"""What reads data: arrays to be split and scaled (`Raw`), or a whole `Source`.

With a parameter `kind`, whose annotation names the kinds that it can make, it is asked for what a method reads. With a
parameter `like`, the description of a fit's data, it gives all of other data as one data set.
"""
_ARRAYS = "arrays in memory"
_PATHS = ("second",)
_COMMON = ("scale", "split", "limit", "missing", "scaling", "target_scaling", "domain", "spec")


def open(
    what: Any,
    *,
    scale: str = "auto",
    split: float | str | None = None,
    limit: int | None = None,
    scaling: Mapping[str, Any] | None = None,
    target_scaling: Mapping[str, Any] | None = None,
    domain: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    kinds: Sequence[Kind] = (),
    missing: float = 0.0,
    **options: Any,
) -> Source:
    """Open data.

    Args:
        what: a name (see `names`), a path, an array (N, ...), a pair (x, y), a mapping with x_train, y_train,
            x_test ... or a `Source`.
        scale: ``auto``, ``none``, ``unit`` (from 0 to 1) or ``standard`` (mean 0, variance 1); fitted on the
            training part.
        split: the share of the test part, or the name of a key or column that says which example belongs to it.
        limit: at most so many examples in each part.
        scaling: a scaling that `Source.describe` wrote, instead of a new one.
        target_scaling: the same for the target.
        domain: the domain of fields that `Source.describe` wrote, instead of the box around their positions.
        spec: what `Source.describe` wrote; the data must still be like it.
        kinds: which kinds of data are wanted (what a method reads), where what is opened can be had as several: an
            image as an array or a field, a table with text as a mixed table or as indicators.
        missing: hide this share of a table's cells, or of all modalities of all rows, at random but the same ones each
            time, to see how well they are filled in; their truth is kept beside, where only the audit reads it.
        **options: what the reader of this kind of data takes: `key`, `labels`, `target`, `columns`, `layout`,
            `size` for files; the options of a synthetic set.

    Raises:
        RequestError: no such data, or they cannot be read as they are.

    Example:
        >>> open("digits").spec
        Spec(shape=(1, 8, 8), values='unit', classes=10)
        >>> open(np.eye(4, dtype=np.float32), split=0.25).spec.values
        'binary'
    """
    if isinstance(what, Source):
        if not options and scaling is None and (scale, split, limit, missing) == ("auto", None, None, 0):
            return what
        raise refuse("what", what.name, "a name, a path or arrays where options are given", "Open it anew.")
    kinds = (options["kind"],) if "kind" in options else kinds
    kinds = kinds or ((spec.get("kind", "array"),) if spec else ())
    name, key, reader = _find(what, kinds)
    if [*kinds][:1] == ["views"] or _views(reader):
        reader, options = as_views(what, name, reader), {**options, "kind": "views"}
    split = _share(split)
    known = inspect.signature(reader).parameters
    if isinstance(split, str) and "split" not in known:
        raise refuse("split", split, "the share of the test part, between 0 and 1")
    if "kind" not in options and (kind := _kind(reader, kinds)):
        options["kind"] = kind
    asked = {"scale": scale, "split": split, "limit": limit, "missing": missing}
    options = _taken(known, asked) | options
    plan = Split(split if isinstance(split, float) else None, limit)
    raw = _read(reader, name, options | _columns(known, spec), kinds)
    if isinstance(raw, Raw) and raw.kind in SEQUENCES:
        options |= {"scale": scale, "split": split, "limit": limit}
        raw = sequence_source(raw, name, plan, scale)
    if isinstance(raw, Source):
        if missing and "missing" not in known:
            raise refuse("missing", missing, f"left out: `{name}` is no table, nor several modalities")
        how = _how({"what": key, **options})
        return _as_described(replace(raw, name=raw.name or name, how=how), spec)
    assert isinstance(raw, Raw)
    options |= _chosen(raw, known)
    if "table" in kinds or (spec or {}).get("kind") == "table":
        raw = as_table(raw, name, _parts(spec))
    how = _how({"what": key, **asked, "missing": missing or None, **options})
    kept = {"scaling": scaling, "target_scaling": target_scaling, "domain": domain, "spec": spec}
    source = assemble(raw, name, plan, scale, how, **kept)
    return with_holes(source, missing) if missing else source


def like(described: Source | Mapping[str, Any], what: Any, **options: Any) -> Dataset:
    """Read other data the way described ones were read: the same options, scaling and classes.

    Args:
        described: a `Source`, or what `Source.describe` wrote; the described data themselves are not needed.
        what: a name, a path, arrays, a `Source` (its test part) or a `Dataset`. Where the described examples were
            bytes, numbers that lie from 0 to 1 are taken as scaled already.
        **options: as of `open`; they go before the description's.

    Returns:
        All examples; of data with an official test part, that part.

    Raises:
        RequestError: the examples have another shape than the described ones.

    Example:
        >>> like(open("digits"), np.zeros((3, 8, 8), np.uint8)).all().x.shape
        torch.Size([3, 1, 8, 8])
    """
    description = described.describe() if isinstance(described, Source) else described
    if isinstance(what, (Source, Dataset)):
        return rescaled(what.test if isinstance(what, Source) else what, description)
    kind = description["spec"].get("kind", "array")
    name, _, reader = _find(what, (kind,))
    if kind == "views" or _views(reader):
        reader = as_views(what, name, reader)
    known = inspect.signature(reader).parameters
    kept = {k: v for k, v in description.items() if k in known and k not in _COMMON and k != "what"}
    if "like" in known:
        found = _call(reader, name, {**kept, **options, "like": description})
        assert not isinstance(found, Raw | Source)
        return found
    if isinstance(what, str) and what in SYNTHETIC:
        made = _call(reader, name, {**kept, **options})
        if isinstance(made, Source):
            return rescaled(made.test, description)
    raw = raw_like(description, what, **options)
    if raw.kind in SEQUENCES:
        return sequences_like(raw, name, description, options.get("limit"))
    return one_part(raw, name, description, options.get("limit"))


def raw_like(description: Mapping[str, Any], what: Any, **options: Any) -> Raw:
    """Other data as they stand, read the way described ones were; see `like`."""
    spec = description["spec"]
    kinds = (spec.get("kind", "array"),)
    name, _, reader = _find(what, kinds)
    known = inspect.signature(reader).parameters
    told = {*known, "points"} if kinds == ("field",) else {*known}
    kept = {k: v for k, v in description.items() if k in told and k not in _COMMON and k != "what"}
    kept |= _columns(known, spec)
    options.pop("limit", None)
    try:
        raw = _read(reader, name, {**kept, **options}, kinds)
    except RequestError:
        without = {k: v for k, v in kept.items() if k not in ("labels", "target", "split")}
        if without == kept:
            raise
        raw = _read(reader, name, {**without, **options}, kinds)  # new data often come without labels
    assert isinstance(raw, Raw)
    return as_table(raw, name, _parts(spec)) if spec.get("kind") == "table" else raw


def _columns(known: Mapping[str, Any], spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a reader of tables is told of the columns of a described table."""
    return {"parts": parts} if "parts" in known and (parts := _parts(spec)) else {}


def _parts(spec: Mapping[str, Any] | None) -> dict[str, Spec] | None:
    form = (spec or {}).get("parts")
    return {name: Spec.from_json(part) for name, part in form.items()} if form else None


def _read(reader: Reader, name: str, options: Mapping[str, Any], kinds: Sequence[str]) -> Any:
    """What a reader gives; images as fields, where fields are read and no arrays."""
    if "kind" in options:
        kinds = (options["kind"],)
    if "field" not in kinds or "array" in kinds:
        return _call(reader, name, options)
    known = inspect.signature(reader).parameters
    own = {k: v for k, v in options.items() if k in known or k not in ("kind", "points")}
    raw = _call(reader, name, own)
    if not isinstance(raw, Raw) or raw.kind != "array":
        return raw
    return fields_of_images(raw, options.get("points", 1.0))


def _views(reader: Reader) -> bool:
    """Whether a reader makes nothing but several modalities."""
    return inspect.signature(reader).return_annotation == "RawViews"


def _kind(reader: Reader, kinds: Sequence[Kind]) -> str | None:
    """The kind that a reader is asked for: its usual one where that is wanted, else the first wanted that it makes."""
    parameter = inspect.signature(reader).parameters.get("kind")
    if parameter is None or not kinds or parameter.default in kinds:
        return None
    makes = str(parameter.annotation)
    return next((kind for kind in kinds if re.search(rf"\b{kind}\b", makes)), None)


def _as_described(source: Source, spec: Mapping[str, Any] | None) -> Source:
    """Hold data that are opened again to their description."""
    if spec is not None and (list(source.spec.shape), [len(source.train), len(source.test)]) != (
        list(spec["shape"]),
        list(spec["rows"]),
    ):
        raise RequestError(
            f"The data `{source.name}` changed since they were described. Put the old data back, or fit anew."
        )
    return source


def _find(what: Any, kinds: Sequence[Kind] = ()) -> tuple[str, str, Reader]:
    """The short name, the key to open it again, and the reader of any kind of data, for the kinds that are wanted."""
    if isinstance(what, Path) or (isinstance(what, str) and not _is_name(what)):
        if what == _ARRAYS:
            raise RequestError("These data were arrays in memory; they are not kept. Pass the arrays again.")
        path = Path(what).expanduser()
        return (
            path.stem,
            str(path.resolve()),
            _bound(import_module("narrows.data.readers.formats").reader_of(path, kinds), path),
        )
    if isinstance(what, str):
        if what in SYNTHETIC:
            return what, what, _synthetic(what)
        row = expand(what)
        if not row.reader or row.parts:
            raise RequestError(
                f"`{what}` is not read as arrays: {why_not(row)}. "
                f"Its files: {', '.join(f.path for f in row.files[:2])}."
            )
        module, _, function = row.reader.partition(":")
        return (
            what,
            what,
            _bound(getattr(import_module(f"narrows.data.named.{module}"), function), row),
        )
    return "arrays", _ARRAYS, _bound(import_module("narrows.data.readers.arrays").from_memory, what)


def _synthetic(name: str) -> Reader:
    """What makes a synthetic set: the function of its name in the module of its name."""
    called = name.replace("-", "_")
    found: Reader = getattr(import_module(f"narrows.data.synthetic.{called}"), called)
    return found


def _is_name(what: str) -> bool:
    """Whether a text is the name of a set, and not a path."""
    if what in SYNTHETIC or find(what) is not None:
        return True
    if what == _ARRAYS or any(c in what for c in "/\\.") or Path(what).exists():
        return False
    raise UnknownNameError(
        f"There is no data set, file or folder `{what}`. {nearest(what, names())} See: narrows data list"
    )


def _bound(reader: Reader, first: Any) -> Reader:
    """The reader with its first argument given; its signature shows the others."""

    def bound(**options: Any) -> Raw | Source | Dataset:
        return reader(first, **options)

    parameters = list(inspect.signature(reader).parameters.values())[1:]
    bound.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return bound


def _call(reader: Reader, name: str, options: Mapping[str, Any]) -> Raw | Source | Dataset:
    known = list(inspect.signature(reader).parameters)
    for option in options:
        if option not in known:
            takes = {*known, *_COMMON} - {"scaling", "target_scaling", "spec", "like", "kind", "parts"}
            raise UnknownOptionError(
                f"The data `{name}` have no option ``{option}``. {nearest(option, takes, '``')}"
            )
    return reader(**options)


def _share(split: float | str | None) -> float | str | None:
    """A share that was typed as text is a number; any other text is a name."""
    try:
        return None if split is None else float(split)
    except ValueError:
        return split


def _taken(known: Mapping[str, inspect.Parameter], asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of all data, where the reader sees to it itself; a share of the test part only if it takes one."""
    return {
        option: value
        for option, value in asked.items()
        if option in known
        and (option != "split" or isinstance(value, str) or "float" in str(known[option].annotation))
        and value not in (None, "auto", 0.0)
    }


def _chosen(raw: Raw, known: Mapping[str, Any]) -> dict[str, Any]:
    """The columns and the kind that a reader chose, which other data are read with too."""
    columns = {"columns": raw.columns} if raw.columns and "columns" in known else {}
    return columns | ({"kind": raw.kind} if raw.kind != "array" else {})


def _how(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a description keeps, in a form that JSON can hold."""
    return {k: _plain(Path(v).expanduser() if k in _PATHS else v) for k, v in options.items() if _told(k, v)}


def _told(option: str, value: Any) -> bool:
    """Whether an option belongs into a description: not what nobody said, and no arrays."""
    return isinstance(value, (str, int, float, bool, tuple, list, Path)) and (option, value) != (
        "scale",
        "auto",
    )


def _plain(value: Any) -> Any:
    """A JSON-able form of an option."""
    if isinstance(value, Path):
        return str(value.resolve())
    return list(value) if isinstance(value, tuple) else value
