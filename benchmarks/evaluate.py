r"""Evaluations of sparse codes: ours and the functions of sae-probes and SAEBench on the same arrays, interleaved.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluate --peers DIR

DIR has a folder for each peer, made once and outside of this project's environment:

    pip install --no-deps --target DIR/sae-probes sae-probes
    pip install --no-deps --target DIR/sae-bench sae-bench==0.6.0 einops beartype jaxtyping wadler-lindig tabulate

What the peers' functions import and do not use is an empty module here (`UNUSED`). A peer that is not there is skipped.
All run in one process, a round of ours after a round of theirs; the table says CPU time, the median of the rounds.

- *Sparse probing*: 20 concepts, each with its own examples; probes of the 1, 2, 5 and 20 best latents, of all latents
  and of the activations, with ten penalties by validation. Theirs: `find_best_reg`, once for each probe, on the columns
  that their rule chooses from standardised codes.
- *Absorption* of 600 words with a given direction and main latent. Theirs: `FeatureAbsorptionCalculator`, with the
  activations handed to it.
- *TPP* of five concepts at five numbers of latents. Theirs: effects, ablations and scores of `scr_and_tpp`; both encode
  the tokens themselves. Theirs draws the negative examples anew for every accuracy, hence the difference.
- *Splice*: CE and KL of a language model with a spliced TopK code, beside as many bare forward passes with their loss.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers import stand_in
from narrows.activations.splice import measure
from narrows.audit.evidence.control import random_dictionary
from narrows.audit.metrics.ablation import effect, perturbation
from narrows.audit.metrics.absorption import absorbed
from narrows.audit.metrics.probing import Problems, probe, separating, sparse_probes, standardised
from narrows.core import Batch

UNUSED = (
    "sae_lens",
    "transformer_lens",
    "xgboost",
    "pandas",
    "datasets",
    "psutil",
    "boto3",
    "openai",
    "plotly",
)

Work = Callable[[], Any]


def codes(count: int, latents: int, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sparse codes (B, N), unit atoms (N, D), and activations (B, D) with a small error."""
    g = torch.Generator().manual_seed(seed)
    rate = 0.03 * torch.rand(latents, generator=g) ** 2 + 0.002
    z = (torch.rand(count, latents, generator=g) < rate) * torch.randn(count, latents, generator=g).exp()
    atoms = torch.nn.functional.normalize(torch.randn(latents, size, generator=g), dim=1)
    return z, atoms, z @ atoms + 0.1 * torch.randn(count, size, generator=g)


def probing(peers: Path, arguments: argparse.Namespace) -> tuple[Work, Work, Callable[[Any, Any], str]]:
    """Our probes, and `find_best_reg`."""
    sys.path.insert(0, str(peers / "sae-probes"))
    package = ModuleType("sae_probes")
    package.__path__ = [str(peers / "sae-probes" / "sae_probes")]  # without what its __init__ reads
    sys.modules["sae_probes"] = package
    from sae_probes.utils_training import find_best_reg

    some: list[tuple[Problems, Problems]] = []
    for seed in range(arguments.concepts):
        z, _, x = codes(1400, arguments.latents, 128, seed)
        g = torch.Generator().manual_seed(seed)
        chosen = z.mean(0).argsort(descending=True)[torch.randperm(200, generator=g)[:12]]
        score = (z[:, chosen] @ torch.randn(12, generator=g)) + 0.5 * torch.randn(1400, generator=g)
        y = (score > score.median()).long()[None]
        parts = (slice(0, 1024), slice(1024, 1400))
        some.append(
            tuple(
                standardised(Problems(m[None, parts[0]], m[None, parts[1]], y[:, parts[0]], y[:, parts[1]]))
                for m in (z, x)
            )  # type: ignore[arg-type]
        )
    ks = (1, 2, 5, 20)

    def ours() -> np.ndarray:
        rows = []
        for latents, activations in some:
            sparse = sparse_probes(latents, ks)
            rows.append(
                [
                    *(float(sparse[k].auc) for k in ks),
                    float(probe(latents).auc),
                    float(probe(activations).auc),
                ]
            )
        return np.array(rows)

    def theirs() -> np.ndarray:
        rows = []
        for latents, activations in some:
            order = separating(latents.train, latents.train_labels, latents.train.shape[2])[0]
            row = []
            for problem, width in (*((latents, k) for k in ks), (latents, len(order)), (activations, 0)):
                train, test, y, truth = (part[0].numpy() for part in problem)
                columns = order[:width].numpy() if width else slice(None)
                found = find_best_reg(train[:, columns], y, test[:, columns], truth, penalty="l2", seed=42)
                row.append(found.metrics.test_auc)
            rows.append(row)
        return np.array(rows)

    def agree(a: np.ndarray, b: np.ndarray) -> str:
        means = np.abs(a.mean(0) - b.mean(0))
        return f"mean AUC by probe differs by at most {means.max():.4f}; one concept's by {np.abs(a - b).max():.3f}"

    return ours, theirs, agree


def absorption(peers: Path, arguments: argparse.Namespace) -> tuple[Work, Work, Callable[[Any, Any], str]]:
    """Our tensors, and the calculator of SAEBench."""
    bench(peers)
    from sae_bench.evals.absorption.feature_absorption_calculator import FeatureAbsorptionCalculator

    z, atoms, x = codes(600, arguments.latents, 128, 0)
    direction = torch.nn.functional.normalize(atoms[:5].sum(0), dim=0)
    x, z = x + 2 * direction, z + 0.0
    z[:, :5] += (torch.rand(600, 5) < 0.4) * 1.5
    sae = SimpleNamespace(W_dec=atoms, device="cpu", encode=lambda a: z[read(a)])
    words = [f"w{i}" for i in range(len(x))]
    number = {f"{word}:": i for i, word in enumerate(words)}
    rows = {tuple(row[:2].tolist()): i for i, row in enumerate(x)}

    def read(some: Tensor) -> list[int]:
        return [rows[tuple(row[:2].tolist())] for row in some]

    def cache(prompts: list[str], names_filter: list[str]) -> tuple[None, dict[str, Tensor]]:
        wanted = [number[prompt.split("\n")[-1].strip()] for prompt in prompts]
        return None, {names_filter[0]: x[wanted][:, None].expand(-1, 2, -1)}

    model = SimpleNamespace(run_with_cache=cache, to_tokens=lambda text: torch.zeros(1, 4))
    calculator = FeatureAbsorptionCalculator(model, icl_word_list=[], max_icl_examples=0)

    def ours() -> tuple[np.ndarray, np.ndarray]:
        found = absorbed(x, z, atoms, direction, torch.tensor([0]))
        return found.full.numpy(), found.fraction.numpy()

    def theirs() -> tuple[np.ndarray, np.ndarray]:
        found = calculator.calculate_absorption(
            sae, words, direction, [0], 0, show_progress=False
        ).word_results
        return np.array([w.is_full_absorption for w in found]), np.array(
            [w.absorption_fraction for w in found]
        )

    def agree(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> str:
        furthest = np.abs(a[1] - b[1]).max()
        return f"full absorption in {(a[0] == b[0]).mean():.1%} equal; fractions differ by {furthest:.1e}"

    return ours, theirs, agree


def tpp(peers: Path, arguments: argparse.Namespace) -> tuple[Work, Work, Callable[[Any, Any], str]]:
    """Our TPP, and the functions of SAEBench's `scr_and_tpp`."""
    bench(peers)
    from sae_bench.evals.scr_and_tpp import main as scr
    from sae_bench.evals.sparse_probing.probe_training import Probe

    classes, count, tokens, size, tops = 5, 200, 8, 64, [2, 5, 10, 20, 50]
    latents = arguments.latents // 4
    z, atoms, _ = codes(2 * classes * count * tokens, latents, size, 1)
    z = z.view(2, classes, count, tokens, latents)
    for c in range(classes):
        z[:, c, ..., 10 * c : 10 * c + 10] += 0.5 * torch.rand(2, count, tokens, 10)
    bias = 0.1 * torch.ones(latents)
    encode = lambda a: ((a @ atoms.T) - bias).relu()  # noqa: E731
    x = z @ atoms + 0.05 * torch.randn(2, classes, count, tokens, size)
    probes, weights = (
        {},
        torch.randn(classes, size) * 0.1
        + torch.stack([atoms[10 * c : 10 * c + 10].sum(0) for c in range(classes)]),
    )
    names = [str(c) for c in range(classes)]
    offset = []
    for c, name in enumerate(names):
        scores = x[0].mean(2) @ weights[c]
        others = torch.cat([scores[o] for o in range(classes) if o != c])
        offset.append(-float(scores[c].mean() + others.mean()) / 2)
        probes[name] = Probe(size, torch.float32)
        with torch.no_grad():
            probes[name].net.weight.copy_(weights[c][None])
            probes[name].net.bias.fill_(offset[-1])
    sae = SimpleNamespace(W_dec=SimpleNamespace(data=atoms), encode=encode, decode=lambda f: f @ atoms)
    train, test = ({name: part[c] for c, name in enumerate(names)} for part in x)

    def ours() -> dict[int, float]:
        g = torch.Generator().manual_seed(0)
        f, held = (encode(part).mean(2) for part in x)
        plain = x[1].mean(2)
        chosen = [
            torch.cat([torch.arange(count) + c * count, negatives(c, classes, count, g)])
            for c in range(classes)
        ]
        y = torch.cat([torch.ones(count), torch.zeros(count)]).long()
        strength = []
        for c, rows in enumerate(chosen):
            codes_c = f.flatten(0, 1)[rows]
            stronger = codes_c[:count].mean(0) > codes_c[count:].mean(0)
            strength.append(effect(codes_c, y, weights[c], atoms) * stronger)
        margins = torch.stack(
            [plain.flatten(0, 1)[rows] @ weights[c] + offset[c] for c, rows in enumerate(chosen)]
        )
        codes_of = torch.stack([held.flatten(0, 1)[rows] for rows in chosen])
        return perturbation(
            margins, y.expand(classes, -1), codes_of, weights, atoms, torch.stack(strength), tops
        )

    def theirs() -> dict[int, float]:
        torch.manual_seed(0)
        effects = scr.get_all_node_effects_for_one_sae(sae, probes, names, False, train, 125)
        after = scr.perform_feature_ablations(probes, sae, 125, test, effects, tops, names, 1000, False)
        pooled = {name: part.mean(1) for name, part in test.items()}
        clean = scr.get_probe_test_accuracy(probes, names, pooled, 1000, False)
        found = scr.create_tpp_plotting_dict(after, clean)[0]
        return {top: found[f"tpp_threshold_{top}_total_metric"] for top in tops}

    def agree(a: dict[int, float], b: dict[int, float]) -> str:
        return "ours/theirs " + ", ".join(f"{a[n]:.3f}/{b[n]:.3f}" for n in tops)

    return ours, theirs, agree


def negatives(c: int, classes: int, count: int, g: torch.Generator) -> Tensor:
    """As many examples of the other classes as there are of one."""
    each = -(-count // (classes - 1))
    others = [o * count + torch.randperm(count, generator=g)[:each] for o in range(classes) if o != c]
    return torch.cat(others)[torch.randperm(each * (classes - 1), generator=g)[:count]]


def splice(peers: Path, arguments: argparse.Namespace) -> tuple[Work, Work, Callable[[Any, Any], str]]:
    """CE and KL with a spliced code, and four bare passes of the same model."""
    import transformers

    torch.manual_seed(0)
    config = transformers.GPTNeoXConfig(
        vocab_size=2048, hidden_size=256, num_hidden_layers=6, num_attention_heads=8, intermediate_size=1024,
        max_position_embeddings=256,
    )  # fmt: skip
    model = transformers.GPTNeoXForCausalLM(config).eval().requires_grad_(False)
    config.use_cache = False
    tokens = torch.randint(2048, (16, 128))
    x = torch.randn(2048, 256)
    sae = random_dictionary(Batch(x), 1024, 16).model

    def replaced(a: Tensor) -> Tensor:
        return sae.reconstruct(Batch(a.flatten(0, 1))).view_as(a)

    @torch.no_grad()
    def ours() -> float:
        costs = measure(model, tokens, "resid.3", replaced)
        return costs.average("kl")

    @torch.no_grad()
    def bare() -> float:
        return sum(float(model(input_ids=tokens, labels=tokens).loss) for _ in range(4))

    return ours, bare, lambda a, b: "four passes each: original, spliced, zero and mean ablation"


def bench(peers: Path) -> None:
    """Make SAEBench importable."""
    folder = str(peers / "sae-bench")
    if folder not in sys.path:
        sys.path.insert(0, folder)
        chosen: Any = ModuleType("sae_bench.sae_bench_utils.sae_selection_utils")  # lists all published files
        chosen.get_saes_from_regex = None
        sys.modules[chosen.__name__] = chosen


ROWS: dict[str, tuple[str, Callable[..., tuple[Work, Work, Callable[[Any, Any], str]]]]] = {
    "sparse probing": ("sae-probes", probing),
    "absorption": ("SAEBench", absorption),
    "TPP": ("SAEBench", tpp),
    "splice": ("bare passes", splice),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concepts", type=int, default=20)
    parser.add_argument("--latents", type=int, default=4096)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    stand_in(UNUSED)
    print("| figure | beside | ours, CPU s | theirs, CPU s | theirs / ours | |\n|---|---|---|---|---|---|")
    for name, (beside, build) in ROWS.items():
        if arguments.only and name not in arguments.only.split(","):
            continue
        try:
            ours, theirs, agree = build(arguments.peers, arguments)
        except ImportError as error:
            print(f"({name} is skipped: {error})", file=sys.stderr)
            continue
        seconds: tuple[list[float], list[float]] = ([], [])
        results: list[Any] = [None, None]
        for number in range(arguments.rounds + 1):
            for side, work in enumerate((ours, theirs)):
                begun = time.process_time()
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    results[side] = work()
                if number:  # the first round warms up
                    seconds[side].append(time.process_time() - begun)
        a, b = map(statistics.median, seconds)
        print(f"| {name} | {beside} | {a:.3f} | {b:.3f} | {b / a:.2f} | {agree(*results)} |", flush=True)


if __name__ == "__main__":
    main()
