"""`harvest`: store the activations of some layers of a model in a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from narrows.activations.capture import capture, rows
from narrows.activations.contexts import ContextOptions
from narrows.activations.hook_points import HookPoint, resolve
from narrows.activations.manifest import Manifest, unsealed
from narrows.activations.models import DTYPES, Model, load, wrap
from narrows.activations.recompute import CONTEXTS, work_of
from narrows.activations.shards import HEADER, ShardWriter
from narrows.activations.units import Inputs, Plan, Text, compute, unit_rows
from narrows.core.check import RequestError, choice, refuse, whole
from narrows.core.lock import Lock
from narrows.core.progress import Progress, Silent
from narrows.core.tensorfile import write_tensors
from narrows.runs.harvesting.header import header_of
from narrows.runs.harvesting.inputs import Documents, contexts_of, of_images, of_inputs, of_text

__all__ = ["harvest"]

_SHARD = (16 << 20, 256 << 20)
_RESUME = "Free some, then run the same command again: it computes only the missing shards."


def harvest(
    model: str | Path | nn.Module | Model,
    text: Any = None,
    at: str | Sequence[str] = (),
    out: str | Path = "",
    *,
    images: Any = None,
    inputs: Any = None,
    tokenizer: Any = None,
    tokens: int | None = None,
    context: int | None = None,
    mode: str | None = None,
    chat: bool = False,
    overlong: str | None = None,
    special: str = "drop",
    positions: str = "all",
    bos: bool | None = None,
    key: str | None = None,
    split: str = "file",
    gradients: bool = False,
    dtype: str = "float32",
    model_dtype: str = "float32",
    device: str = "auto",
    batch_size: int | None = None,
    shard: int | None = None,
    on_the_fly: bool = False,
    progress: bool | Silent = True,
) -> Manifest:
    """Harvest activations: run a model and store activations of some of its layers.

    The work is divided into units, each a shard on disk. The same call again computes only missing shards, and
    processes started by torchrun divide the units by rank.

    Args:
        model: a name on the Hugging Face hub, a folder, ``minilm``, ``stories260k``, any module, or a `Model`.
        text: ``bundled`` (Python's documentation), ``wikitext``, ``shakespeare``, a path (.txt, .jsonl, each
            also as .gz, .parquet, a folder saved by `datasets`), or a list of documents.
        at: layers: short names such as ``resid.3``, module paths, globs, several separated by commas; see
            `narrows.activations.hook_points`.
        out: the new folder.
        images: for vision models, instead of text: an argument of `narrows.data.open`.
        inputs: instead of text: tensors (N, ...), or batches of them.
        tokenizer: a `transformers` tokenizer, for a module or instead of the model's own.
        tokens: largest number of tokens; all if None.
        context: tokens per context, with special tokens; if None, 128 or the longest that the model accepts.
        mode: ``packed`` (documents concatenated and cut) or ``documents`` (one per context); packed if None.
        chat: the documents are conversations, lists of messages with `role` and `content`; each is one context and
            is never split.
        overlong: treatment of documents longer than a context: ``split``, ``truncate`` or ``drop``; if None,
            conversations are dropped and other documents split.
        special: ``drop`` or ``keep`` the rows of special tokens.
        positions: ``all``, ``last``, or ``N:`` to omit the first N of each context.
        bos: begin each context with the BOS token; if None, as the tokenizer does.
        key: key of JSON lines, or column of a table; if None, `text`, or `messages` for conversations.
        split: unit that is one document of a plain text file: ``file``, ``paragraph`` or ``line``.
        gradients: also store the gradients of a causal model's loss with respect to the activations.
        dtype: type of the stored activations: ``float32``, ``bfloat16`` or ``float16``.
        model_dtype: type of a loaded model's weights.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: contexts per forward pass; if None, about 2,048 tokens, on a GPU 16,384.
        shard: contexts per shard; if None, shards of 16 to 256 MiB.
        on_the_fly: store no activations, only how to compute them when the folder is read.
        progress: show a progress bar on stderr.

    Returns:
        The manifest; `narrows fit` and `narrows.data.open` read its `folder`.

    Raises:
        RequestError: an argument is invalid, a layer does not exist, or the folder holds another harvest.
        WorkError: an activation is not finite, or the disk is full; finished shards remain.

    Example:
        >>> import tempfile
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = harvest(net, inputs=torch.randn(10, 3), at="1", out=folder, progress=False)
        ...     made.complete, made.layers["1"]["count"]
        (True, 10)
    """
    if not str(out):
        raise refuse("out", out, "the path of the new folder")
    if sum(given is not None for given in (text, images, inputs)) != 1:
        raise RequestError("Give exactly one of ``text``, ``images`` and ``inputs``.")
    choice("dtype", dtype, DTYPES)
    progress_bar = _progress_bar(progress)
    loaded = _loaded(model, tokenizer, device, model_dtype)
    options = _contexts(loaded, context, mode, chat, overlong, special, positions, bos, tokens)
    hook_points = resolve(loaded.module, at)
    with progress_bar, _evaluating(loaded.module):
        work: Text | Inputs
        if text is not None:
            documents = of_text(text, key or ("messages" if chat else "text"), split)
            work = _text(documents, loaded, options, Path(out), progress_bar)
            description = documents.describe()
        elif images is not None:
            work, description = of_images(images, loaded, options)
        else:
            work, description = of_inputs(inputs, loaded, options)
        job = _job(loaded, hook_points, work, description, Path(out), gradients, dtype, batch_size, shard)
        return _live(job) if on_the_fly else _run(job, progress_bar)


def _loaded(model: str | Path | nn.Module | Model, tokenizer: Any, device: str, model_dtype: str) -> Model:
    """The model, with another tokenizer if one is given."""
    if isinstance(model, nn.Module):
        return wrap(model, tokenizer)
    found = model if isinstance(model, Model) else load(model, device, model_dtype)
    return found if tokenizer is None else replace(found, tokenizer=tokenizer)


def _progress_bar(progress: bool | Silent) -> Silent:
    """The progress bar itself if one is given; else a new one, on rank 0."""
    if isinstance(progress, Silent):
        return progress
    return Progress() if progress and os.environ.get("RANK", "0") == "0" else Silent()


def _contexts(
    model: Model,
    context: int | None,
    mode: str | None,
    chat: bool,
    overlong: str | None,
    special: str,
    positions: str,
    bos: bool | None,
    tokens: int | None,
) -> ContextOptions:
    """How text is cut into contexts; defaults depend on the model and on the kind of documents."""
    return ContextOptions(
        "chat" if chat else mode or "packed",
        context or min(128, model.longest or 128),
        overlong or ("drop" if chat else "split"),
        special,
        positions,
        bos,
        0 if tokens is None else whole("tokens", tokens),
    )


@dataclass(frozen=True)
class _Job:
    """All settings of a harvest."""

    model: Model
    hook_points: list[HookPoint]
    work: Text | Inputs
    plan: Plan
    header: dict[str, Any]
    folder: Path
    rows: list[int]

    @property
    def row_bytes(self) -> int:
        """Bytes per row, over all layers."""
        return _row_bytes(self.hook_points, self.plan.dtype, self.plan.gradients)


def _text(
    documents: Documents, model: Model, options: ContextOptions, out: Path, progress_bar: Silent
) -> Text:
    """The contexts, read from an earlier run of the same call if there is one."""
    with suppress(OSError, ValueError, KeyError, RequestError):
        header = unsealed(out / HEADER)["header"]
        same = header["text"] == documents.describe() and all(
            header["contexts"][k] == v for k, v in asdict(options).items()
        )
        if same and header["model"]["revision"] == model.revision:
            work = work_of(header, out)
            work.contexts.counts.update({k: header["contexts"][k] for k in header["contexts"]["counted"]})
            return work
    return contexts_of(documents, model, options, progress_bar.say)


def _job(
    model: Model,
    hook_points: list[HookPoint],
    work: Text | Inputs,
    description: Mapping[str, Any],
    folder: Path,
    gradients: bool,
    dtype: str,
    batch_size: int | None,
    shard: int | None,
) -> _Job:
    """Find shapes by a small forward pass, and fix units and header."""
    if gradients and (model.kind != "causal" or not isinstance(work, Text)):
        raise refuse(
            "gradients", True, f"left out for {model.name}", "Only a causal model of text has a loss."
        )
    work, hook_points = _with_shapes(model, hook_points, work)
    mean = max(1, int(work.sizes(0, min(len(work), 1000)).mean()))
    runs = whole("batch_size", batch_size or max(1, (2048 if model.device.type == "cpu" else 16384) // mean))
    if shard is None:
        each = mean * _row_bytes(hook_points, dtype, gradients)
        target = min(max(len(work) * each // 64, _SHARD[0]), _SHARD[1])
        shard = max(1, target // (each * runs)) * runs
    plan = Plan(whole("shard", shard), runs, gradients, dtype)
    counted = unit_rows(work, plan.unit)
    if not sum(counted):
        raise RequestError("No positions are selected. Choose other ``positions``, or special='keep'.")
    header = header_of(model, hook_points, work, description, plan, counted)
    return _Job(model, hook_points, work, plan, header, folder, counted)


def _with_shapes(
    model: Model, hook_points: list[HookPoint], work: Text | Inputs
) -> tuple[Text | Inputs, list[HookPoint]]:
    """Inputs and hook points with their shapes, from one small forward pass."""
    some = work.inputs(np.arange(1), model.device)[0]
    if isinstance(work, Text):
        some = {name: value[:, :8] for name, value in some.items()}
    captured = capture(model.module, some, hook_points)
    found = {hook_point.name: rows(captured[hook_point.name], hook_point) for hook_point in hook_points}
    hook_points = [
        replace(hook_point, shape=tuple(found[hook_point.name].shape[2:])) for hook_point in hook_points
    ]
    if not isinstance(work, Text):
        work = replace(work, positions=int(found[hook_points[0].name].shape[1]))
    return work, hook_points


def _row_bytes(hook_points: Iterable[HookPoint], dtype: str, gradients: bool) -> int:
    numbers = sum(torch.Size(hook_point.shape or ()).numel() for hook_point in hook_points)
    return numbers * torch.tensor([], dtype=getattr(torch, dtype)).element_size() * (1 + gradients)


def _live(job: _Job) -> Manifest:
    """Write only manifest and contexts; activations are computed when they are read."""
    if not job.model.source or not isinstance(job.work, Text):
        raise refuse("on_the_fly", True, "left out: it needs a model loaded by name, and text")
    with _open_folder(job) as writer:
        return writer.finish(range(len(job.rows)), live=True)


@contextmanager
def _open_folder(job: _Job, rank: int = 0) -> Iterator[ShardWriter]:
    """The locked folder with the contexts; a rank is processed by one process at a time."""
    writer = ShardWriter(job.folder, job.header)
    with Lock(job.folder, f".lock-{rank}"):
        if isinstance(job.work, Text):
            try:
                work_of(job.header, job.folder)
            except RequestError:  # missing or damaged
                write_tensors(job.folder / CONTEXTS, job.work.contexts.tensors(), _RESUME)
        yield writer


def _run(job: _Job, progress_bar: Silent) -> Manifest:
    """Compute the units of this rank."""
    rank, world = (
        int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))
    )
    own_units = list(range(len(job.rows)))[rank::world]
    if not (job.folder / HEADER).exists():  # checked before the folder is created
        _enough_room(job, sum(job.rows[unit] for unit in own_units))
    with _open_folder(job, rank) as writer:
        return _share(job, writer, own_units, progress_bar)


def _share(job: _Job, writer: ShardWriter, own_units: list[int], progress_bar: Silent) -> Manifest:
    """Compute and write missing units; each is written while the next is computed."""
    units, total = range(len(job.rows)), sum(job.rows[unit] for unit in own_units)
    todo = writer.missing(own_units)
    left = sum(job.rows[unit] for unit in todo)
    _enough_room(job, left, _RESUME)
    if len(todo) < len(own_units):
        progress_bar.say(f"{len(own_units) - len(todo)} of {len(own_units)} shards exist already.")
    if todo:
        progress_bar.begin(f"Harvesting {job.model.name}", total, total - left, "rows")
    done = total - left

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress_bar.advance(done)

    try:
        with ThreadPoolExecutor(1) as pool:
            writing: Future[None] | None = None
            for unit in todo:
                tensors = compute(job.model, job.hook_points, job.work, job.plan, unit, report)
                if writing is not None:
                    writing.result()
                writing = pool.submit(writer.write, unit, tensors)
            if writing is not None:
                writing.result()
    except BaseException:
        with suppress(Exception):  # finished shards stay readable
            writer.finish(units)
        raise
    return writer.finish(units)


def _enough_room(job: _Job, rows_left: int, fix: str = "") -> None:
    """Raise if the disk has too little free space."""
    existing = next(path for path in (job.folder, *job.folder.absolute().parents) if path.exists())
    need, free = rows_left * job.row_bytes, shutil.disk_usage(existing).free
    if need > free:
        fit = int(free * 0.9 / job.row_bytes)
        less = f"Read less, such as ``tokens={fit}``; s" if fit else "S"
        raise refuse(
            "out",
            str(job.folder),
            f"a disk with {need / 1e9:.1f} GB free; this one has {free / 1e9:.1f}",
            fix or f"{less}tore bfloat16; or use ``on_the_fly``.",
        )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the context; afterwards each module has its old mode."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
