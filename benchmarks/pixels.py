"""Drawing images pixel by pixel: ours against the loop that runs the whole net for every pixel, interleaved in one run.

Both draw from the same net with the same seeds. Ours computes the activations of one pixel a step; the loop computes
those of all pixels and keeps one.

    python -m benchmarks.pixels [--threads 1] [--repeats 3] [--images 16]
"""

import argparse
import statistics
import time

import torch

from narrows.core import seeded
from narrows.likelihoods.masked_pixels import Pixels

CASES = (("14 x 14, window 5", 14, 5), ("28 x 28, window 5", 28, 5), ("28 x 28, all earlier pixels", 28, 0))


@torch.no_grad()
def whole(p, z):
    """The loop over pixels with a pass of the whole net for each."""
    x = z.new_zeros(len(z), *p.shape)
    for i in range(p.shape[1]):
        for j in range(p.shape[2]):
            x[:, 0, i, j] = torch.bernoulli(torch.sigmoid(p.outputs(z, x)[:, 0, i, j]))
    return x


def timed(draw, z):
    start = time.process_time()
    with seeded(0):
        x = draw(z)
    return time.process_time() - start, x


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=16)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    print("| images | ours, CPU seconds | whole net for every pixel | ratio |\n|---|---|---|---|")
    for name, side, window in CASES:
        torch.manual_seed(0)
        p, z = Pixels((1, side, side), window=window), torch.randn(told.images, 32, side, side)
        ours, naive = [], []
        for _ in range(told.repeats):
            seconds, x = timed(p.sample, z)
            ours.append(seconds)
            seconds, other = timed(lambda z, p=p: whole(p, z), z)
            naive.append(seconds)
            agree = float((x == other).float().mean())
            assert agree > 0.99, agree  # but for rounding at a draw
        ratios = sorted(b / a for a, b in zip(ours, naive, strict=True))
        first, second = statistics.median(ours), statistics.median(naive)
        print(
            f"| {name} | {first:.3f} | {second:.2f} | {second / first:.0f} ({ratios[0]:.0f} to {ratios[-1]:.0f}) |"
        )


if __name__ == "__main__":
    main()
