"""`sweep`: several autoencoders trained in lockstep on one stream of batches, each into a run folder of its own.

Reading is paid once: a batch is read (from memory, shards, or a model that runs along) when the first of the models
asks for it, and waits until all have seen it. What a model sees, draws and learns is what it would alone, to the
same bits, for each has its own random state; so each run resumes by itself, and so does the sweep.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from narrows import data as nd
from narrows.core import Batch, files
from narrows.core.check import RequestError, WorkError, refuse
from narrows.core.lock import Lock, is_empty
from narrows.core.progress import Progress, Silent
from narrows.data import BatchReader, Source
from narrows.methods import index
from narrows.runs.combinations import Wanted, combinations, request
from narrows.runs.compare import compare
from narrows.runs.fingerprint import fingerprint
from narrows.runs.fit import finish
from narrows.runs.recipe import Recipe, versions
from narrows.runs.run import Run, load
from narrows.train import Engine, Plan, Store, threads_for, training_mode, validation_part
from narrows.train.checkpoint import Checkpoint, fitting
from narrows.train.devices import make_fabric
from narrows.train.stages import total_steps

__all__ = ["results", "sweep"]


def sweep(
    data: Any,
    method: str | None = None,
    over: Mapping[str, Sequence[Any]] | None = None,
    out: str | Path = "runs/sweep",
    *,
    epochs: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    lr: float | str | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32",
    progress: bool | Silent = True,
    page: bool = True,
    data_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[Run]:
    """Fit every combination of some values on one stream of batches; go on where an earlier call stopped.

    The order of the examples is the one of `seed`, for all runs, also where seeds are swept over. Streams are shared
    where they are equal: runs that differ in their data options or batch size have each their own.

    Args:
        data: as for `fit`.
        method: a name of the table of methods; None where `over` says it.
        over: by name the values: ``{"k": [16, 32], "seed": [0, 1]}``. A name is ``method``, a field of
            `narrows.train.Plan` (seed, lr, batch_size ...), an option of the method or one of the data.
        out: the folder of the sweep; each run is a folder in it, such as ``k=16_seed=0``.
        epochs: as for `fit`.
        steps: as for `fit`.
        batch_size: as for `fit`.
        patience: as for `fit`.
        lr: as for `fit`.
        seed: of initialisation and noise, where it is not swept over, and of the order of the examples.
        device: ``auto``, ``cpu`` or ``cuda``; one for all.
        precision: ``32`` or ``bf16``.
        progress: show a progress bar on stderr.
        page: examine and compare the finished runs on one page, ``compare.html`` in `out`.
        data_options: as for `fit`.
        training: as for `fit`.
        options: the method's own options that all runs have in common.

    Returns:
        The finished runs, in the order of the combinations; the last name of `over` varies fastest.

    Raises:
        RequestError: something that was asked for cannot be; or `out` holds another sweep.
        WorkError: some of the runs failed; the others are finished first.

    Example:
        >>> import tempfile
        >>> out = tempfile.mkdtemp()
        >>> runs = sweep("digits", "topk-sae", {"k": [2, 4]}, out, steps=3, progress=False, page=False, latents=32)
        >>> [run.path.name for run in runs]
        ['k=2', 'k=4']
    """
    common = {"epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr, "seed": seed}
    common |= {"patience": patience}
    settings = {**common, "device": device, "precision": precision, "order_seed": seed, **(training or {})}
    if settings.get("devices", 1) != 1:
        raise refuse("devices", settings["devices"], "1, since a sweep trains on one device")
    wanted = combinations(method, over or {}, settings, dict(data_options or {}), options)
    folder = Path(out)
    who = progress if isinstance(progress, Silent) else Progress() if progress else Silent()
    with _folder(folder), Lock(folder):
        files.remove_temporary_files(folder)
        asked = request(folder, data, wanted)
        with ExitStack() as held:
            runs = _Sweep(folder, data, wanted, who, held).run(asked)
        if page and len(runs) > 1:
            with who:
                compare(runs, folder / "compare.html", progress=who, write=True)
    return runs


def results(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What each run ended with: its name, and the last figures on held-out data (or of training, without them).

    Args:
        runs: finished runs.
    """
    rows = []
    for run in runs:
        last: dict[str, Any] = {}
        for record in run.metrics:
            last |= record
        held = {k.removeprefix("held_out/"): v for k, v in last.items() if k.startswith("held_out/")}
        figures = held or {k: v for k, v in last.items() if "/" in k}
        rows.append({"run": run.path.name} | {k: v for k, v in figures.items() if isinstance(v, float)})
    return rows


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make a folder; it goes again where nothing was put into it."""
    try:
        made = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
    try:
        yield
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()


class _Shared(BatchReader):
    """A feed that remembers its last batch, so that models in lockstep read it once."""

    step = -1
    batch: Batch

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        if step != self.step:
            self.batch, self.step = super().at(step), step
        return self.batch


class _Streams:
    """Makes feeds, the same one for the same arguments."""

    def __init__(self) -> None:
        self.made: dict[tuple[Any, ...], _Shared] = {}

    def __call__(self, dataset: Any, batch_size: int, seed: int, **how: Any) -> _Shared:
        key = (id(dataset), batch_size, seed, *sorted((k, str(v)) for k, v in how.items()))
        if key not in self.made:
            self.made[key] = _Shared(dataset, batch_size, seed, **how)
        return self.made[key]


class _Parts:
    """What each run is trained on and what it is followed on, the same data sets for the same rows."""

    def __init__(self) -> None:
        self.made: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def __call__(self, source: Source, plan: Plan) -> tuple[Any, Any]:
        key = (id(source), plan.order, plan.validation)
        if key not in self.made:
            train, validation = validation_part(source.train, plan)
            self.made[key] = (train, source.test if validation is None else validation)
        return self.made[key]


class _Loss(Silent):
    """Remembers the loss that an engine shows."""

    value = float("nan")

    def advance(self, done: int, metrics: Mapping[str, float] | None = None) -> None:
        """Remember."""
        self.value = (metrics or {}).get("loss", self.value)


class _Member:
    """One model of a sweep: its run, its engine, and the random state that is its own."""

    def __init__(
        self,
        run: Run,
        parts: tuple[Any, Any],
        fabric: Any,
        streams: _Streams,
        checkpoint: Checkpoint | None,
    ) -> None:
        (train, held_out), plan = parts, plan_of(run)
        self.run, self.loss, self.fabric = run, _Loss(), fabric
        self.engine = Engine(
            run.model, plan, train, held_out, Store(run.path), self.loss, fabric, readers=streams
        )
        self.total = total_steps(run.model, plan, len(train))
        self.at = int(checkpoint.metadata["at"]) if checkpoint is not None else 0
        self.steps: Iterator[int] = self.engine.go(checkpoint)
        self.random: list[Tensor] | None = None  # the engine seeds it at its first step
        self.open, self.failure = True, ""

    def advance(self) -> None:
        """Make one step, or finish; an error ends this model alone."""
        if self.random is not None:
            self._random(self.random)
        try:
            self.at = next(self.steps)
        except StopIteration:
            finish(self.run, self.engine)
            self.at, self.open = self.total, False
        except WorkError as error:
            self.failure, self.open = str(error), False
        self.random = self._random()

    def _random(self, states: list[Tensor] | None = None) -> list[Tensor]:
        """The random states of the devices; set first where some are given."""
        cuda = self.fabric.device.type == "cuda"
        if states is not None:
            torch.set_rng_state(states[0])
            if cuda:
                torch.cuda.set_rng_state(states[1], self.fabric.device)
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.fabric.device)] if cuda else [])]


class _Sweep:
    """Carries out the combinations, those that are behind first."""

    def __init__(
        self, folder: Path, data: Any, wanted: Sequence[Wanted], progress: Silent, held: ExitStack
    ) -> None:
        self.folder, self.data, self.wanted, self.progress = folder, data, wanted, progress
        self.held, self.prints = held, dict[int, str]()
        self.fabric = make_fabric(wanted[0].plan)
        self.sources: dict[str, Source] = {}

    def run(self, asked: bytes | None = None) -> list[Run]:
        """Train what is not finished.

        Args:
            asked: what becomes ``sweep.json`` once the data are opened and the models built.

        Raises:
            WorkError: some runs failed.
        """
        todo = [w for w in self.wanted if not (self.folder / w.name / "result.json").is_file()]
        if todo:
            made = {w.name: self._made(w) for w in todo}
            if asked is not None:
                files.write(self.folder / "sweep.json", asked)
            threads = max(
                threads_for(run.model, run.data.train, int(run.recipe.training["batch_size"]))
                for run in made.values()
            )
            with training_mode(threads):
                streams = _Streams()
                parts = _Parts()
                members = [self._member(w, run, threads, streams, parts) for w, run in _both(todo, made)]
                with self.progress:
                    self._lockstep(members)
            failed = [f"{m.run.path.name}: {m.failure}" for m in members if m.failure]
            if failed:
                raise WorkError(
                    f"{len(failed)} of {len(self.wanted)} runs in {self.folder} failed; the others are finished.\n"
                    + "\n".join(failed)
                )
        return [load(self.folder / w.name) for w in self.wanted]

    def _lockstep(self, members: list[_Member]) -> None:
        total = sum(m.total for m in members)
        self.progress.begin(f"Training {len(members)} models", total, sum(m.at for m in members))
        shown: list[float] = []
        while going := [m for m in members if m.open]:
            step = min(m.at for m in going)
            for member in going:
                if member.at == step:
                    member.advance()
            losses = [m.loss.value for m in members if m.loss.value == m.loss.value]
            if losses and losses != shown:
                shown = losses
                metrics = {"best loss": min(losses), "worst": max(losses)}
                self.progress.advance(sum(m.at for m in members), metrics)

    def _source(self, options: Mapping[str, Any]) -> Source:
        key = json.dumps(options, sort_keys=True, default=str)
        if key not in self.sources:
            self.sources[key] = nd.open(self.data, **options)
        return self.sources[key]

    def _made(self, wanted: Wanted) -> Run:
        """The run of a combination with a fresh model; nothing is written."""
        reads = index.METHODS[wanted.method].reads
        source = self._source({"kinds": reads, **wanted.data})
        torch.manual_seed(wanted.plan.seed)
        model = index.builder(wanted.method)(source.spec, **wanted.options)
        plan = Plan.of(len(source.train), model.default_plan, wanted.said)
        recipe = Recipe(
            wanted.method,
            wanted.options,
            source.spec,
            source.describe(),
            plan.to_json(),
            versions(1),
            self._fingerprint(source),
        )
        return Run(self.folder / wanted.name, recipe, model, source)

    def _member(self, wanted: Wanted, run: Run, threads: int, streams: _Streams, parts: _Parts) -> _Member:
        """A model ready to be trained: from its last sound checkpoint where there is one."""
        checkpoint = None
        with _folder(run.path):
            self.held.enter_context(Lock(run.path))
        if (run.path / "recipe.json").exists():
            self._same(run)
            checkpoint, said = Store(run.path).restore(fitting(run.model))
            for sentence in said:
                self.progress.say(f"{wanted.name}: {sentence}")
        elif not is_empty(run.path):
            raise RequestError(
                f"{run.path} holds something that is no run. Move it away, or name another folder."
            )
        else:
            run.recipe = Recipe(**{**vars(run.recipe), "versions": versions(threads)})
            run.recipe.write(run.path)
        return _Member(run, parts(run.data, plan_of(run)), self.fabric, streams, checkpoint)

    def _same(self, run: Run) -> None:
        """Hold a run that an earlier call began to what is wanted now; how it began stays as it was."""
        before = Recipe.read(run.path)
        if before.fingerprint != run.recipe.fingerprint:
            raise RequestError(
                f"The data of {self.folder} changed since the sweep began. Put the old data back, or name another "
                "folder."
            )
        if {**run.recipe.form(), "versions": before.versions} != before.form():
            raise RequestError(f"{run.path} holds another run than this sweep asks for. Move it away.")
        run.recipe = before

    def _fingerprint(self, source: Source) -> str:
        if id(source) not in self.prints:
            self.prints[id(source)] = fingerprint(source)
        return self.prints[id(source)]


def plan_of(run: Run) -> Plan:
    """The settled plan that a run's recipe holds."""
    return Plan.from_json(dict(run.recipe.training))


def _both(wanted: Sequence[Wanted], made: Mapping[str, Run]) -> list[tuple[Wanted, Run]]:
    return [(w, made[w.name]) for w in wanted]
