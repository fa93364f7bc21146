"""`fit` and `resume`: train a method on data in a run folder, and continue an interrupted run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import torch

from narrows import data as nd
from narrows.core import Autoencoder, Prior, files
from narrows.core.check import NarrowsError, RequestError, builtin, refuse
from narrows.core.lock import Lock
from narrows.core.values import kept_generators
from narrows.data import Source
from narrows.methods import index
from narrows.priors import PRIORS
from narrows.runs.beforehand import say_beforehand
from narrows.runs.building import resolve
from narrows.runs.card import WARNINGS
from narrows.runs.fingerprint import fingerprint, same_data
from narrows.runs.finish import finish
from narrows.runs.folder import create_folder
from narrows.runs.group import fit_group
from narrows.runs.loading import load
from narrows.runs.observe import Spliced
from narrows.runs.recipe import Builder, Recipe, versions
from narrows.runs.run import Run
from narrows.runs.second_stage import (
    FINISHED,
    base_of,
    begin_with,
    check_prior,
    on_a_run,
    or_a_run,
    with_prior,
    write_begin,
)
from narrows.train import (
    Engine,
    Plan,
    Progress,
    Silent,
    Store,
    threads_for,
    training_mode,
    validation_part,
)
from narrows.train.checkpoint import Checkpoint, compatible_with
from narrows.train.devices import make_fabric
from narrows.train.loggers import make_logger
from narrows.train.plan import FIRST, split_steps
from narrows.train.stages import check_stages, plan_for

__all__ = ["fit", "resume"]


@overload
def fit(
    data: Any,
    method: str | Builder | Autoencoder | None = None,
    out: str | Path | None = None,
    *,
    seeds: None = None,
    **given: Any,
) -> Run: ...


@overload
def fit(
    data: Any,
    method: str | None = None,
    out: str | Path | None = None,
    *,
    seeds: int | Sequence[int],
    **given: Any,
) -> list[Run]: ...


@kept_generators()
def fit(
    data: Any,
    method: str | Builder | Autoencoder | None = None,
    out: str | Path | None = None,
    *,
    prior: str | Prior | None = None,
    epochs: float | None = None,
    steps: int | Mapping[str, int] | None = None,
    prior_steps: int | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    lr: float | str | None = None,
    seed: int = 0,
    seeds: int | Sequence[int] | None = None,
    device: str = "auto",
    precision: str = "32",
    devices: int = 1,
    progress: bool | Silent = True,
    logger: str | None = None,
    measure_every: int | None = None,
    data_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    **options: Any,
) -> Run | list[Run]:
    """Fit a method to data in a new run folder.

    Args:
        data: a name (``"digits"``), a path, an array, or a `Source`: see `narrows.data.open`. With `prior`, also
            a finished run or its folder: the prior is fitted to its codes, and the new run is a complete copy.
        method: the name of a method, a builder function, or an `Autoencoder`; ``vae`` if None.
        out: the run folder, which must not exist; ``runs/<data>-<method>`` if None.
        prior: a prior that is trained in a second stage on the codes, such as ``flow-matching:width=128`` (see
            `narrows.priors.PRIORS`), or a `Prior`, instead of the method's own. A run with an object is opened by
            ``narrows.load(run, prior=...)``.
        epochs: passes over the training data. If neither this nor `steps` is given, a tenth of the training rows is
            a validation set, training ends by early stopping on its loss, and the best weights are kept: see
            `narrows.train.Plan`. The test split is not used.
        steps: optimizer steps; or a number for each stage, such as ``{"tokenizer": 2000, "prior": 3000}``.
        prior_steps: optimizer steps of the second stage, if there is one.
        batch_size: examples per step, over all devices; 128 if None, less for fewer than 1280 examples.
        patience: evaluations without improvement of the validation loss after which training ends; 10 if neither
            `epochs` nor `steps` is given, else no early stopping unless this is given.
        lr: learning rate, or a schedule such as ``"cosine:1e-3:0:5000"``; if None, the default of the method,
            1e-3 for most.
        seed: seed of initialisation, order of examples and noise.
        seeds: fit a group of runs that are equal but for the seed, in folders ``seed-0``, ``seed-1`` ... of `out`: the
            number of seeds, from `seed` on, or a list. Each run is the one that `fit` makes with its seed; the same
            call continues an interrupted group. Their spread is the training spread of `compare`.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``32`` or ``bf16``.
        devices: number of devices (or CPU processes) that share each batch.
        progress: show a progress bar on stderr.
        logger: also log to ``tensorboard`` or ``wandb`` (extras of the same names).
        measure_every: evaluate on held-out data every this many steps, not only after each epoch. Metrics of a
            sparse code are L0, FVU, dead and dense latents and others; with activations of a causal language model
            also CE, KL and loss recovered with reconstructions spliced in (of a large language model only if this
            option is given).
        data_options: options of `narrows.data.open`: key, labels, scale, split ...
        training: other fields of `narrows.train.Plan`: optimizer, weight_decay, clip, strategy ...
        options: keyword arguments of the method's builder.

    Returns:
        The finished run, with its model in `eval()`; a list of runs if there are `seeds`.

    Raises:
        RequestError: an argument is invalid.
        WorkError: the training failed; the run folder has the last valid checkpoint.
    """
    fields: dict[str, Any] = {"steps": steps, "epochs": epochs, "prior_steps": prior_steps}
    fields |= {"batch_size": batch_size, "patience": patience, "lr": lr, "seed": seed, "device": device}
    fields |= {"precision": precision, "devices": devices, "measure_every": measure_every}
    fields |= training or {}
    options = {key: builtin(value) for key, value in options.items()}
    if seeds is not None:
        if base_of(data, prior) is not None:
            raise refuse("seeds", seeds, "left out with a finished run", "Fit each seed by itself.")
        how: dict[str, Any] = {"prior": prior, "progress": progress, "logger": logger}
        how |= {"data_options": data_options, "options": options}
        return fit_group(data, method or "vae", out, seeds, fields, **how)
    shown = progress if isinstance(progress, Silent) else Progress() if progress else Silent()
    recipe, model, source = _prepare(data, method, prior, fields, data_options or {}, options, shown)
    plan = Plan.from_json(dict(recipe.training))
    fabric = make_fabric(plan, len(model.players()) > 1)
    name = f"{source.name}-{recipe.method}"
    parts = validation_part(source.train, plan)
    say_beforehand(source, model, plan, shown if fabric.is_global_zero else Silent())
    with ExitStack() as held:
        folder = _on_rank_zero(
            fabric, lambda: create_folder(out, name, held, lambda folder: _write_start(folder, recipe, model))
        )
        return _train(Run(folder, recipe, model, source), plan, parts, fabric, None, shown, logger)


def _prepare(
    data: Any,
    method: str | Builder | Autoencoder | None,
    prior: str | Prior | None,
    given: Mapping[str, Any],
    data_options: Mapping[str, Any],
    options: dict[str, Any],
    shown: Silent,
) -> tuple[Recipe, Autoencoder, Source]:
    """The recipe, the untrained model and the data of a new run."""
    given = {name: value for name, value in given.items() if value is not None}
    seed = Plan(**split_steps(given)).seed  # a field out of range is refused before data are opened
    if not isinstance(prior, str | None):
        PRIORS.checked(prior)
    base = base_of(data, prior)
    if base is not None:
        for argument, value in {"method": method, **data_options}.items():
            if value is not None:
                raise refuse(argument, value, f"left out: the run {base.path} has its method and its data")
        given = split_steps(given, ("prior",))
        recipe, model, source = on_a_run(base, options)
    else:
        given = split_steps(given)
        name, build = resolve(method or "vae", options, prior)
        kinds = index.METHODS[name].reads if name in index.METHODS else ()
        with or_a_run(data, prior, method):
            source = nd.open(data, **{"kinds": kinds, **data_options})
        torch.manual_seed(seed)
        model = build(source, given, shown.say)
        recipe = Recipe(name, options, source.spec, source.describe(), {})
    rows = len(source.train)
    plan = plan_for(model, rows, given) if base is None else Plan.of(rows, {}, given)
    threads = threads_for(model, source.train, plan.batch_size or 1)
    recipe = replace(
        recipe, training=plan.to_json(), versions=versions(threads), fingerprint=fingerprint(source)
    )
    if prior is not None and options.get("prior") is not prior:
        recipe = with_prior(recipe, model, prior, source)
    model.check_examples(source.train)
    model.check_examples(source.test, "the test part")
    check_prior(model, source)
    check_stages(model, plan, FINISHED if base is not None else ())
    return recipe, model, source


def _write_start(folder: Path, recipe: Recipe, model: Autoencoder) -> None:
    """Write the recipe, and the weights of a finished run that the new one starts from."""
    if recipe.base:
        write_begin(folder, model)
    recipe.write(folder)


@kept_generators()
def resume(
    run: str | Path | Run,
    *,
    epochs: float | None = None,
    steps: int | Mapping[str, int] | None = None,
    method: Builder | Autoencoder | None = None,
    prior: Prior | None = None,
    data: Any = None,
    progress: bool | Silent = True,
    logger: str | None = None,
) -> Run:
    """Continue a run from its last valid checkpoint; on a CPU, the result is bitwise the same.

    A finished run is returned unchanged, unless more `epochs` or `steps` (in total) are given.

    Args:
        run: the run folder, or the run.
        epochs: total number of epochs, instead of that of the recipe.
        steps: total number of steps; or of a stage, such as ``{"prior": 3000}``.
        method: the builder or model of a run whose method has no name.
        prior: a `Prior` as it was before training, of a run that was given one.
        data: the data, if the recipe cannot open them (arrays in memory).
        progress: show a progress bar on stderr.
        logger: as for `fit`.

    Raises:
        RequestError: the folder is not a run, or has no valid checkpoint; steps of a stage that is over.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    recipe = Recipe.read(folder)
    more = epochs is not None or steps is not None
    if not more and (folder / "result.json").is_file():
        return load(folder, method=method, prior=prior)
    new_recipe = _longer(recipe, epochs, steps) if more else recipe
    plan = Plan.from_json(dict(new_recipe.training))
    source = recipe.open(data)
    torch.manual_seed(plan.seed)
    model = (
        recipe.put_prior(method, prior) if isinstance(method, Autoencoder) else recipe.build(method, prior)
    )
    check_stages(model, plan, FINISHED if recipe.base else ())
    fabric = make_fabric(plan, len(model.players()) > 1)
    progress_bar = progress if isinstance(progress, Silent) else Progress()
    found: list[Checkpoint | None] = []
    with ExitStack() as held:
        _on_rank_zero(
            fabric,
            lambda: found.append(
                _last_checkpoint(recipe, steps, Run(folder, new_recipe, model, source), progress_bar, held)
            ),
        )
        checkpoint = found[0] if found else Store(folder).restore(compatible_with(model), trim=False)[0]
        if checkpoint is None and recipe.base:
            begin_with(folder, model, recipe.base.get("tokenizer", ""))
        parts = validation_part(source.train, plan)
        return _train(
            Run(folder, new_recipe, model, source), plan, parts, fabric, checkpoint, progress, logger
        )


def _last_checkpoint(
    recipe: Recipe, steps: int | Mapping[str, int] | None, run: Run, progress_bar: Silent, held: ExitStack
) -> Checkpoint | None:
    """Lock a run, check that run and data are unchanged, and read its last valid checkpoint.

    Args:
        recipe: as the run was.
        steps: the new budget, if there is one.
        run: the run with its new recipe.
        progress_bar: for warnings.
        held: the context of the lock.
    """
    held.enter_context(Lock(run.path))
    if Recipe.read(run.path) != recipe:
        raise RequestError(f"{run.path} was changed by another process. Try again.")
    same_data(recipe.fingerprint, run.data)
    for folder in (run.path, run.path / "state"):
        if folder.is_dir():
            files.remove_temporary_files(folder)
    checkpoint, warnings = Store(run.path).restore(compatible_with(run.model))
    for warning in warnings:
        progress_bar.say(warning)
    if checkpoint is None and warnings:
        raise RequestError(f"Every checkpoint of {run.path} is damaged. Fit it again in a new folder.")
    if checkpoint is not None:
        _check_not_over(run.model, checkpoint, steps)
    if run.recipe != recipe:  # if interrupted from here on, the run is an unfinished one
        (run.path / "result.json").unlink(missing_ok=True)
        run.recipe.write(run.path)
    return checkpoint


def _on_rank_zero(fabric: Any, work: Callable[[], Any]) -> Any:
    """Run a function in the first process only; all processes get its result or its error."""
    result: Any = None
    if fabric.is_global_zero:
        try:
            result = work()
        except NarrowsError as error:
            if fabric.world_size == 1:
                raise
            result = error
    if fabric.world_size > 1:
        result = fabric.broadcast(result)
    if isinstance(result, NarrowsError):
        raise result
    return result


def _train(
    run: Run,
    plan: Plan,
    parts: tuple[Any, Any],
    fabric: Any,
    checkpoint: Checkpoint | None,
    progress: bool | Silent,
    logger: str | None,
) -> Run:
    loggers = (make_logger(logger, run.path),) if logger is not None and fabric.is_global_zero else ()
    progress_bar = progress if isinstance(progress, Silent) else Progress() if progress else Silent()
    train, held_out = parts[0], run.data.test if parts[1] is None else parts[1]
    with training_mode(run.recipe.versions.get("threads")):
        spliced = Spliced(held_out, plan.measure_every > 0, progress_bar.say)
        finished = FINISHED if run.recipe.base else ()
        engine = Engine(
            run.model,
            plan,
            train,
            held_out,
            Store(run.path, loggers),
            progress_bar,
            fabric=fabric,
            observe=spliced,
            finished=finished,
        )
        engine.run(checkpoint)
    if fabric.is_global_zero:
        result = finish(run, engine)
        for warning in (result.get(name) for name in WARNINGS):
            if warning:
                progress_bar.say(warning)
    run.model.to("cpu")
    return run


def _longer(recipe: Recipe, epochs: float | None, steps: int | Mapping[str, int] | None) -> Recipe:
    """The recipe with another budget, of all stages or of those that are named."""
    budget: dict[str, Any] = {"epochs": epochs, "steps": steps, "patience": None}
    if isinstance(steps, Mapping):
        given = {"steps": steps, "stages": recipe.training.get("stages")}
        budget |= split_steps(given, ("prior",) if recipe.base else FIRST)
        if budget["steps"] is None and epochs is None:
            budget = {"stages": budget["stages"]}
    return replace(recipe, training={**recipe.training, **budget})


def _check_not_over(
    model: Autoencoder, checkpoint: Checkpoint, steps: int | Mapping[str, int] | None
) -> None:
    """Check that no stage is to be trained further after which another one has begun."""
    names = [stage.name for stage in model.stages()]
    over = names[: int(checkpoint.metadata["stage"])]
    for name in steps if isinstance(steps, Mapping) else ():
        if name in over or (name in FIRST and over):
            left = ", ".join(names[len(over) :])
            raise refuse(
                "steps", name, f"a stage that is not over: {left}", "Fit a new run to train it longer."
            )
