"""Diffusion and flow matching over codes: a step of training, and 20 steps of sampling, interleaved in one run.

A step of `flow-matching` through the trainer is compared with a bare loop over the same net and loss. Draws of
`diffusion` by 20 steps of ddim are compared with the loop over diffusers' `DDIMScheduler` around the same net, which
gives the same codes.

    python -m benchmarks.latents [--peers PYTHON] [--rounds 7]

``--peers`` is an interpreter with torch and diffusers, in which the second comparison runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time

import torch

SIZE, STEPS, BATCH = 16, 20, 128
ROWS = (1, 64, 512)
"""Codes that are drawn at once."""


def ratios(ours, theirs, rounds):
    """Medians of CPU milliseconds of both, and of their ratio by round with its range."""
    took = {ours: [], theirs: []}
    for _ in range(rounds):
        for run in (ours, theirs):
            start = time.process_time()
            run()
            took[run].append(1e3 * (time.process_time() - start))
    by_round = [b / a for a, b in zip(took[ours], took[theirs], strict=True)]
    said = f"{statistics.median(by_round):.2f} ({min(by_round):.2f} to {max(by_round):.2f})"
    return statistics.median(took[ours]), statistics.median(took[theirs]), said


def sampling(rounds):
    """Ours against the scheduler's loop, with the same net and noise."""
    import diffusers

    from narrows.core import Symbols
    from narrows.priors.diffusion import Diffusion

    torch.manual_seed(0)
    prior = Diffusion(Symbols((SIZE,))).eval()
    torch.nn.init.normal_(prior.net.out.weight, std=0.02)
    scheduler = diffusers.DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        timestep_spacing="trailing",
        clip_sample=False,
        prediction_type="v_prediction",
    )

    @torch.no_grad()
    def usual(n):
        # its first state is N(0, I); ours has the variance of the chain's last step
        x = torch.randn(n, SIZE) * float((1 - scheduler.alphas_cumprod[-1]).sqrt())
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            # the velocity expected of N(0, I) is 0 on this path, and the net's is of unit scale
            v = prior.net(x, ((t + 1) / 1000).expand(n))
            x = scheduler.step(v, t, x).prev_sample
        return x

    print(f"diffusers {diffusers.__version__}, ddim, {STEPS} steps, codes of {SIZE} numbers")
    print(f"{'codes':>6} {'ours ms':>9} {'diffusers ms':>13}  ratio")
    for n in ROWS:
        seeds = []
        for run in (lambda n=n: prior.sample(n, steps=STEPS), lambda n=n: usual(n)):
            torch.manual_seed(1)
            seeds.append(run())
        assert torch.allclose(*seeds, atol=1e-3), "the two loops draw other codes"
        a, b, said = ratios(lambda n=n: prior.sample(n, steps=STEPS), lambda n=n: usual(n), rounds)
        print(f"{n:>6} {a:>9.1f} {b:>13.1f}  {said}")


def training(rounds, steps=400):
    """A step through the trainer, with metrics and averaged weights, against a bare loop with both."""
    from narrows.core import Batch, Symbols
    from narrows.data import open as open_data
    from narrows.methods.regularised.ae import ae
    from narrows.priors.flow_matching import FlowMatching
    from narrows.train import optimise

    source = open_data("digits")
    model = ae(source.spec, latent=SIZE)
    symbols = Symbols((SIZE,))

    def trained():
        torch.manual_seed(0)
        model.set_prior(FlowMatching(symbols))
        optimise(model, source.train, steps=steps, batch_size=BATCH, finished=("autoencoder",), device="cpu")

    def bare():
        torch.manual_seed(0)
        prior = FlowMatching(symbols).train()
        with torch.no_grad():
            codes = model.eval().as_symbols(source.train.all()).x
        prior.prepare(model, Batch(codes))
        weights = list(prior.parameters())
        average = [w.detach().clone() for w in weights]
        optimizer = torch.optim.Adam(weights, lr=1e-3, fused=True)
        for step in range(steps):
            loss = prior.loss(Batch(codes[torch.randint(len(codes), (BATCH,))])).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            share = 1 - min(0.999, (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [w.detach() for w in weights], share)

    a, b, said = ratios(bare, trained, rounds)
    print(
        f"{steps} steps of flow matching, batch {BATCH}: bare loop {a:.0f} ms, trainer {b:.0f} ms, x bare loop {said}"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", help="an interpreter with torch and diffusers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sampling", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.sampling:
        sampling(options.rounds)
        return
    print(f"torch {torch.__version__}, 1 thread, medians of CPU time, {options.rounds} rounds", flush=True)
    training(options.rounds)
    if options.peers:
        command = [options.peers, "-m", "benchmarks.latents", "--sampling", "--rounds", str(options.rounds)]
        subprocess.run(
            command, check=True, env={**os.environ, "PYTHONPATH": os.path.join(os.getcwd(), "src")}
        )


if __name__ == "__main__":
    main()
