"""`fit` and `resume`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from narrows.cli import shared
from narrows.cli.errors import Interrupted, note
from narrows.core.check import RequestError, printable, refuse
from narrows.core.texts import text_table

__all__ = ["fit", "resume"]


@dataclass(frozen=True)
class _Fitting(shared.TrainingOptions):
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient (gradient clipping).")] = (
        None
    )
    ema: Annotated[
        float | None,
        typer.Option(
            help="Keep an exponential moving average of the weights with this decay, such as 0.999."
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Random seed of initialisation, order of examples and noise.")] = 0
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Fit a group of runs that are equal but for the seed: their number, such as 3, or the seeds, such "
            "as 0,1,5. The same command continues an interrupted group.",
        ),
    ] = None
    devices: Annotated[int, typer.Option(help="Number of devices that share each batch.")] = 1
    strategy: Annotated[
        str,
        typer.Option(
            help="Parallelism: auto, ddp, fsdp, or tensor (the latents of a dictionary divided over the devices)."
        ),
    ] = "auto"
    logger: Annotated[str | None, typer.Option(help="Also log to tensorboard or wandb.")] = None
    measure_every: Annotated[
        int | None, typer.Option(help="Evaluate on held-out data every this many steps; 0 for each epoch.")
    ] = None
    calibration: Annotated[
        float | None,
        typer.Option(
            help="Fraction of the training rows that are kept from training to calibrate anomaly scores, such as 0.1; "
            "for `score --alpha`."
        ),
    ] = None
    bag: Annotated[
        float | None,
        typer.Option(
            help="Fraction of the training rows that is trained on, drawn with the seed: with --seeds 5, each run has "
            "its own rows, and `score` of the group is their mean."
        ),
    ] = None
    rescue: Annotated[
        bool,
        typer.Option(
            "--rescue",
            help="DATA is a finished run: fit it again with a remedy that its audit names, and show both audits.",
        ),
    ] = False

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `narrows.fit`, those of its `training` that were typed in one dict."""
        given = super().arguments()
        del given["rescue"]
        training = {name: given.pop(name) for name in ("clip", "ema", "strategy", "calibration", "bag")}
        given["seeds"] = shared.seeds(self.seeds)
        return {**given, "training": {k: v for k, v in training.items() if v not in (None, "auto")} or None}


def fit(
    data: shared.Data,
    method: shared.Method = None,
    out: Annotated[
        Path | None, typer.Option(help="The new run folder; by default runs/DATA-METHOD.", metavar="RUN")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="A prior over the codes, trained in a second stage; only this one if DATA is a finished run.",
            metavar="NAME[:OPTIONS]",
        ),
    ] = None,
    prior_steps: Annotated[
        int | None, typer.Option(help="Number of optimizer steps of the second stage.")
    ] = None,
    *,
    how: _Fitting,
    data_options: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Fit a method to data in a run folder.

    `narrows fit DATA --method NAME --help` also shows the options of the method. With --prior, DATA may be a
    finished run: the prior is trained on its codes, and the new run has both.
    """
    if how.rescue:
        _rescue(Path(data), out, how, (method, prior, prior_steps, data_options, options))
        return
    if method is None and prior is None and not (Path(data) / "recipe.json").is_file():
        raise RequestError("No method is given: use --method NAME. To list the names: narrows list")
    import narrows as nr

    given: dict[str, Any] = {"method": method, "out": out, "prior": prior, "prior_steps": prior_steps}
    made: Any
    with _resumable(out):
        made = nr.fit(data, **given, **how.arguments(), data_options=data_options, **options)
    if isinstance(made, list):
        _finished_group(made)
    else:
        note(f"The run in {made.path} is finished. Next: narrows audit {made.path}")


def _rescue(run: Path, out: Path | None, how: _Fitting, others: Sequence[Any]) -> None:
    """Fit a run again with a remedy, and print what was wrong before and after."""
    if any(others) or replace(how, progress=True) != _Fitting(rescue=True):
        fix = (
            "Method, data and options are those of the run: narrows fit runs/vae --rescue --out runs/better."
        )
        raise refuse("rescue", True, "given with a finished run as DATA, --out and --progress alone", fix)
    if not (run / "recipe.json").is_file():
        raise refuse("--rescue", str(run), "given with a finished run as DATA")
    from narrows.runs.rescue import rescue

    with _resumable(out):
        tried = rescue(run, out, progress=how.progress)
    print(printable(text_table(tried.rows)))
    print(printable(tried.says))
    note(f"The run in {tried.run.path} is finished. Next: narrows compare {run} {tried.run.path}")


def _finished_group(runs: list[Any]) -> None:
    """Print mean and standard deviation of the final metrics of a group."""
    from narrows.runs.group import summary

    rows = [
        {
            "metric": row["metric"],
            "mean ± sd": f"{row['mean']:.4g} ± {row['sd']:.2g}",
            "runs": str(row["runs"]),
        }
        for row in summary(runs)
        if row["sd"] is not None
    ]
    print(printable(text_table(rows)))
    folder = runs[0].path.parent
    note(f"The {len(runs)} runs in {folder} are finished. Next: narrows compare {folder} ANOTHER")


def resume(
    run: shared.Run,
    epochs: Annotated[float | None, typer.Option(help="Total number of epochs.")] = None,
    steps: Annotated[
        list[str] | None,
        typer.Option(help="Total number of steps; or of a stage: prior=3000.", metavar="N|STAGE=N"),
    ] = None,
    progress: shared.ShowProgress = True,
) -> None:
    """Continue an interrupted run.

    Of a group or a sweep, continue the unfinished runs.
    """
    import narrows as nr

    if (run / "sweep.json").is_file():
        from narrows.runs.several import resume_all

        if epochs is not None or steps is not None:
            argument, value = ("--steps", " ".join(steps)) if steps else ("--epochs", epochs)
            raise refuse(argument, value, "left out for several runs", "Resume each run by itself.")
        with _resumable(run):
            resumed = resume_all(run, progress=progress)
        note(f"The {len(resumed)} runs in {run} are finished.")
        return
    finished = epochs is None and steps is None and (run / "result.json").is_file()
    with _resumable(run):
        nr.resume(run, epochs=epochs, steps=shared.steps(steps), progress=progress)
    state = "was already finished; use --steps N to train it further" if finished else "is finished"
    note(f"The run in {run} {state}. Next: narrows audit {run}")


@contextmanager
def _resumable(run: Path | None) -> Iterator[None]:
    """Convert Ctrl-C to a message on how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        if run is None:
            raise Interrupted(
                "Interrupted. To continue: narrows resume runs/NAME, with the newest run."
            ) from None
        begun = any((run / name).is_file() for name in ("recipe.json", "sweep.json"))
        next_step = f"To continue: narrows resume {run}" if begun else "The training had not begun."
        raise Interrupted(f"Interrupted. {next_step}") from None
