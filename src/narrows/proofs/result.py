"""The result of a proof: values, verdict and environment."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from narrows.proofs.verdict import Judgement, Verdict, spread, worst

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["COLOURS", "Result", "environment", "write_json"]

COLOURS: dict[Verdict, str] = {
    "reproduced": "green",
    "reproduced post hoc": "green",
    "inconclusive": "yellow",
    "refuted here": "red",
}


@dataclass(frozen=True)
class Result:
    """The result of a proof.

    Args:
        name: the method.
        claim: what the paper claims, in a sentence.
        scale: ``quick``, ``default`` or ``full``.
        data: description of the data.
        budget: the budget of the scale: steps, rows ...
        seeds: the seeds.
        measured: values by name, one per seed.
        judgements: the results of testing the claims.
        environment: versions, machine, seconds, command.
        notes: the notes of the proof.
    """

    name: str
    claim: str
    scale: str
    data: Mapping[str, Any]
    budget: Mapping[str, int]
    seeds: tuple[int, ...]
    measured: Mapping[str, Sequence[float]]
    judgements: tuple[Judgement, ...]
    environment: Mapping[str, Any]
    notes: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst of the claims' verdicts."""
        return worst([j.verdict for j in self.judgements])

    @property
    def held(self) -> str:
        """How many of the claims hold, such as ``3 of 5 claims``."""
        return f"{sum(j.holds for j in self.judgements)} of {len(self.judgements)} claims"

    def as_dict(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "name": self.name,
            "claim": self.claim,
            "verdict": self.verdict,
            "scale": self.scale,
            "data": dict(self.data),
            "budget": dict(self.budget),
            "seeds": list(self.seeds),
            "measured": {
                name: {"mean": fmean(values), "spread": spread(values), "seeds": list(values)}
                for name, values in self.measured.items()
            },
            "claims": [j.as_dict() for j in self.judgements],
            "notes": self.notes,
            "environment": dict(self.environment),
        }

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON, atomically."""
        return write_json(path, self.as_dict())

    def show(self) -> None:
        """Print the claim, the measured values and the verdict."""
        from rich.console import Console

        Console().print(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.markup import escape
        from rich.table import Table

        title = f"[bold]{self.name}[/bold]  {escape(self.claim)}"
        yield title
        numbers = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for heading in ("measured", "mean", "spread", "by seed"):
            right = heading in ("mean", "spread")
            numbers.add_column(heading, justify="right" if right else "left", header_style="dim")
        for name, values in self.measured.items():
            deviation = spread(values)
            numbers.add_row(
                escape(name),
                f"{fmean(values):.4g}",
                "-" if deviation is None else f"{deviation:.2g}",
                " ".join(f"{v:.4g}" for v in values),
            )
        yield numbers
        for j in self.judgements:
            colour = COLOURS[j.verdict]
            between = "" if j.low is None else f", 90 % interval {j.low:.3g} to {j.high:.3g}"
            yield f"  [{colour}]{j.verdict}[/{colour}]  {escape(j.claim.says)}"
            yield f"      [dim]{escape(j.claim.formula)}: mean slack {j.mean:.3g}{between}[/dim]"
            if j.claim.post_hoc:
                yield f"      [dim]post hoc: {escape(j.claim.post_hoc)}[/dim]"
        source = self.data.get("name", "data")
        seconds = self.environment.get("seconds", 0.0)
        colour = COLOURS[self.verdict]
        yield (
            f"[bold {colour}]{self.verdict}[/bold {colour}]  "
            f"[dim]{self.held} hold; {escape(str(source))}, seeds {', '.join(map(str, self.seeds))}, "
            f"{self.scale} scale, {seconds:.0f} s[/dim]\n"
        )


def environment(device: str, seconds: Mapping[int, tuple[float, float]], command: str) -> dict[str, Any]:
    """The environment of a measurement.

    Args:
        device: that trained.
        seconds: of each seed, on the clock and of the processor (all threads together).
        command: that measures it again.
    """
    import torch

    import narrows

    return {
        "narrows": narrows.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in ("numpy", "lightning-fabric", "scikit-learn")},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "seconds": round(sum(clock for clock, _ in seconds.values()), 2),
        "cpu_seconds": round(sum(cpu for _, cpu in seconds.values()), 2),
        "seconds_per_seed": {str(seed): round(clock, 2) for seed, (clock, _) in seconds.items()},
        "command": command,
    }


def write_json(path: str | Path, value: Any) -> Path:
    """Write a JSON file atomically."""
    from narrows.core import files

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
    return path


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
