"""Loading a dictionary of 1 GiB: time and peak memory, ours beside safetensors alone and the libraries themselves.

    python -m benchmarks.exchange [--mib 1024] [--rounds 5] [--saelens PYTHON] [--dictionary-learning PYTHON]

PYTHON is an interpreter that has the library. The same weights lie in a folder of SAELens and in one of
dictionary_learning (a pickle). Each variant runs in a process of its own, a round of one after a round of the other,
and is timed from after its imports until every number has been read once: ours reads them to check that they are
finite, for the others their sum is taken. Memory is the peak resident set over that after the imports; pages of a
mapped file count. The files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

_FRAME = """
import json, resource, sys, time
{imports}
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
def touched(tensors):
    return sum(float(tensor.sum()) for tensor in tensors)
before, start = resident(), time.perf_counter()
{work}
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({{"seconds": seconds, "bytes": peak - before}}))
"""
_OURS = "import narrows as nr\nfrom narrows.methods.index import builder\nnr.load, builder('relu-sae')"
_VARIANTS = {
    "safetensors alone": (
        "",
        "import torch\nfrom safetensors.torch import load_file",
        "touched(load_file({sl!r} + '/sae_weights.safetensors').values())",
    ),
    "narrows": ("", _OURS, "run = nr.load({sl!r})"),
    "SAELens": (
        "saelens",
        "import torch\nfrom sae_lens import SAE",
        "touched(SAE.load_from_disk({sl!r}).parameters())",
    ),
    "torch.load alone": (
        "",
        "import torch",
        "touched(torch.load({dl!r} + '/ae.pt', weights_only=True).values())",
    ),
    "narrows, of dictionary_learning": (
        "",
        _OURS,
        "run = nr.load({dl!r}, allow_pickle=True)",
    ),
    "dictionary_learning": (
        "dictionary_learning",
        "import torch\nfrom dictionary_learning.utils import load_dictionary",
        "touched(load_dictionary({dl!r}, 'cpu')[0].parameters())",
    ),
}
"""By name: the interpreter's option, what is imported first, and what is timed."""


def write(folder: Path, mib: int) -> tuple[Path, Path]:
    """The same weights in both formats."""
    width = 1024 if mib < 256 else 4096
    latents = mib * 2**20 // (2 * 4 * width)
    torch.manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(latents, width), dim=1)
    zeros, bias = torch.zeros(latents), torch.zeros(width)
    sl, dl = folder / "saelens", folder / "dictionary_learning"
    sl.mkdir(), dl.mkdir()
    encoder = atoms.T.contiguous()
    save_file(
        {"W_enc": encoder, "W_dec": atoms, "b_enc": zeros, "b_dec": bias}, sl / "sae_weights.safetensors"
    )
    config = {
        "architecture": "standard",
        "d_in": width,
        "d_sae": latents,
        "dtype": "float32",
        "device": "cpu",
    }
    metadata = {"sae_lens_version": "6.54.12"}
    (sl / "cfg.json").write_text(json.dumps({**config, "apply_b_dec_to_input": True, "metadata": metadata}))
    named = {"encoder.weight": atoms, "encoder.bias": zeros, "decoder.weight": encoder, "bias": bias}
    torch.save(named, dl / "ae.pt")
    trainer = {"dict_class": "AutoEncoder", "activation_dim": width, "dict_size": latents}
    (dl / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
    return sl, dl


def _read(path: Path) -> None:
    """Read a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def measured(python: str, imports: str, work: str) -> dict[str, float]:
    """Seconds and bytes of one process."""
    code = _FRAME.format(imports=imports, work=work)
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env={**os.environ}, check=False
    )
    if done.returncode:
        raise SystemExit(f"{python} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--saelens", default="")
    parser.add_argument("--dictionary-learning", default="")
    given = parser.parse_args()
    pythons = {"": sys.executable, "saelens": given.saelens, "dictionary_learning": given.dictionary_learning}
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        sl, dl = write(Path(folder), given.mib)
        size = (sl / "sae_weights.safetensors").stat().st_size
        for _ in range(given.rounds):
            for name, (python, imports, work) in _VARIANTS.items():
                if pythons[python]:
                    for path in (sl, dl):  # a variant before may have pushed the files out of the page cache
                        for file in path.iterdir():
                            _read(file)
                    made = measured(pythons[python], imports, work.format(sl=str(sl), dl=str(dl)))
                    found.setdefault(name, []).append(made)
    alone = [one["seconds"] for one in found["safetensors alone"]]
    print(f"{given.mib} MiB, {given.rounds} rounds\n")
    print("| variant | seconds | x safetensors alone (range) | peak memory, x the file |")
    print("|---|---|---|---|")
    for name, rounds in found.items():
        ratios = [one["seconds"] / base for one, base in zip(rounds, alone, strict=True)]
        seconds = statistics.median(one["seconds"] for one in rounds)
        peak = max(one["bytes"] for one in rounds) / size
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {seconds:.2f} | {spread} | {peak:.2f} |")


if __name__ == "__main__":
    main()
