"""Our VQ step against the usual one with one-hot vectors, interleaved in one run.

Both do the same maths: nearest codes, straight-through gradient, commitment, one EMA update. The usual step builds
the N x K distances, finds the codes with argmin, and counts and sums with an N x K one-hot matrix.

    python -m benchmarks.quantised [--threads 1] [--repeats 7]
"""

import argparse
import statistics
import time

import torch

from narrows.bottlenecks.discrete.vq import VectorQuantizer
from narrows.core import Pass

CASES = ((8192, 64, 512), (8192, 64, 1024), (4096, 64, 8192))
"""Tokens N, width d, codes K."""


class OneHot:
    """The step as it is usually written."""

    def __init__(self, codebook, decay=0.99, eps=1e-5):
        self.codebook, self.decay, self.eps = codebook.clone(), decay, eps
        self.counts, self.sums = torch.ones(len(codebook)), codebook.clone()

    def forward(self, x):
        """Quantise tokens (N, d): the straight-through codes, and the commitment."""
        e = self.codebook
        distance = x.detach().square().sum(1, keepdim=True) - 2 * x.detach() @ e.T + e.square().sum(1)
        self.hot = torch.nn.functional.one_hot(distance.argmin(1), len(e)).to(x.dtype)
        q = self.hot @ e
        return x + (q - x).detach(), (x - q.detach()).square().sum()

    @torch.no_grad()
    def update(self, x):
        """Move the codebook one step."""
        self.counts.lerp_(self.hot.sum(0), 1 - self.decay)
        self.sums.lerp_(self.hot.T @ x, 1 - self.decay)
        total = self.counts.sum()
        smooth = total * (self.counts + self.eps) / (total + len(self.counts) * self.eps)
        self.codebook = self.sums / smooth[:, None]


def ours(vq, x):
    code = vq(x[None])
    (code.z.sum() + 0.25 * code.costs["commitment"].sum()).backward()
    with torch.no_grad():
        vq.after_step(Pass(None, code))


def usual(vq, x):
    z, commitment = vq.forward(x)
    (z.sum() + 0.25 * commitment).backward()
    vq.update(x)


def timed(step, vq, x):
    x = x.clone().requires_grad_()
    start = time.process_time()
    step(vq, x)
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), medians of CPU time, {options.repeats} repeats"
    )
    print(f"{'N':>6} {'d':>4} {'K':>6} {'ours ms':>9} {'one-hot ms':>11} {'ratio':>7}")
    for tokens, width, codes in CASES:
        torch.manual_seed(0)
        x = torch.randn(tokens, width)
        mine = VectorQuantizer(width, codes=codes, tokens=tokens, restart=0.0).train()
        mine.book.codebook.copy_(
            x[torch.randperm(tokens)[:codes]] if codes <= tokens else torch.randn(codes, width)
        )
        mine.book.sums.copy_(mine.book.codebook)
        theirs = OneHot(mine.book.codebook)
        times = {ours: [], usual: []}
        for step, vq in ((ours, mine), (usual, theirs)):
            timed(step, vq, x)
        assert torch.allclose(mine.book.codebook, theirs.codebook, atol=1e-4), "the two steps disagree"
        for _ in range(options.repeats):
            for step, vq in ((ours, mine), (usual, theirs)):
                times[step].append(1e3 * timed(step, vq, x))
        a, b = statistics.median(times[ours]), statistics.median(times[usual])
        ratio = statistics.median(p / q for p, q in zip(times[ours], times[usual], strict=True))
        print(f"{tokens:>6} {width:>4} {codes:>6} {a:>9.1f} {b:>11.1f} {ratio:>7.2f}")


if __name__ == "__main__":
    main()
