"""All priors over the same codes: bits, samples, and what a sample costs; and the speed of their steps.

For each tokenizer, every prior of the table `narrows.priors.PRIORS` that reads its codes is trained for equal steps,
with a width that makes its weights about equal to those of the others:

    python -m benchmarks.priors [--data fashion-mnist] [--tokenizers vq-vae,vae] [--steps 400] [--weights 150000]
    python -m benchmarks.priors --speed

`bits` are those of a held-out token, or number; `distance` is the Frechet distance of samples, on features of a small
classifier, and `passes` counts the calls of the largest network that a set of samples takes. Seconds are of the
processor, for 1,000 samples; all priors are timed in turn. With ``--speed``: a second-stage step with codes that are
encoded once against encoding at each step, and cached causal sampling against transformers' Llama of equal size.
"""

import argparse
import math
import statistics
import time
from collections import Counter
from copy import deepcopy

import torch

import narrows.data as nd
from narrows.audit.evidence.cost import flops
from narrows.audit.metrics.frechet import classifier_features, frechet
from narrows.core import Symbols, seeded
from narrows.core.check import NarrowsError
from narrows.methods.quantised.rq_vae import rq_vae
from narrows.methods.quantised.vq_vae import vq_vae
from narrows.methods.variational.vae import vae
from narrows.priors import PRIORS, make_prior
from narrows.priors.autoregressive import Autoregressive
from narrows.train import optimise

TOKENIZERS = {
    "vq-vae": lambda spec: vq_vae(spec, codes=128, width=16, net="conv:width=16", prior="none"),
    "rq-vae": lambda spec: rq_vae(spec, codes=64, depth=2, width=16, net="conv:width=16", prior="none"),
    "vae": lambda spec: vae(spec, latent=16, net="mlp:256"),
}
WIDTHS = range(8, 513, 8)
RATE = 2e-3


def tokenizer(name, data, steps):
    """A tokenizer that is trained for some steps."""
    with seeded(0):
        model = TOKENIZERS[name](data.spec)
    optimise(model, data.train, steps=steps, lr=RATE, seed=0)
    return model.eval()


def sized(name, symbols, classes, weights):
    """The prior whose number of weights is nearest to the given one."""
    known = PRIORS.parameters(name)

    def build(**options):
        with seeded(0):
            return make_prior(f"{name}:{','.join(f'{k}={v}' for k, v in options.items())}", symbols, classes)

    if "width" not in known:
        return build()
    found = {}
    for width in WIDTHS:
        try:
            prior = build(width=width)
        except NarrowsError:  # a width that heads do not divide
            continue
        found[abs(count(prior) - weights)] = prior
        if count(prior) > weights:
            break
    return found[min(found)] if found else build()  # which says what it does not read


def count(module):
    return sum(p.numel() for p in module.parameters())


def passes(prior, n):
    """How often the largest network of a prior runs for n samples."""
    calls, handles = Counter(), []
    for module in prior.modules():
        handles.append(module.register_forward_hook(lambda m, told, out: calls.update([m] * bool(told))))
    with torch.no_grad(), seeded(0):
        prior.sample(n)
    for handle in handles:
        handle.remove()
    return calls[max(calls, key=count)] if calls else 0


def timed(work):
    started = time.process_time()
    with torch.no_grad(), seeded(1):
        work()
    return time.process_time() - started


def fitted(base, name, data, options):
    """A copy of the tokenizer with a trained prior, and how long a step took."""
    model = deepcopy(base)
    few = data.train.batch(slice(0, 2), model.all_conditions)
    model.set_prior(sized(name, model.symbols_of(few), 0, options.weights))
    started = time.process_time()
    optimise(model, data.train, steps=options.steps, lr=RATE, seed=0, finished=("autoencoder",))
    return model.eval(), time.process_time() - started


def table(base, data, look, options):
    """Print a row for each prior that reads the tokenizer's codes."""
    test = data.test.all(options.examples)
    symbols = base.symbols_of(test[:2])
    print(f"\n{symbols}\n")
    print(
        "| prior | weights | bits | distance | passes | G operations | seconds |\n|---|---|---|---|---|---|---|"
    )
    models = {}
    for name in PRIORS.parts:
        if symbols.kind not in PRIORS.constructor(name).reads or name in options.skip:
            continue
        try:
            models[name] = fitted(base, name, data, options)[0]
        except NarrowsError as error:
            print(f"| `{name}` | not fitted: {error} | | | | | |", flush=True)
    seconds = {name: [] for name in models}
    for _ in range(3):
        for name, model in models.items():
            seconds[name].append(5 * timed(lambda p=model.prior: p.sample(200)))
    rows, real = {}, look(test.x)
    for name, model in models.items():
        coded = model.as_symbols(test)
        bits = "none"
        if model.prior.has_nll:
            with seeded(0):
                nll = float(model.prior.nll(coded.x, coded.condition).detach().mean())
            bound = "" if model.prior.exact else "≤ "
            bits = f"{bound}{nll / math.log(2) / coded.x[0].numel():.3f}"
        with torch.no_grad(), seeded(2):
            made = torch.cat([model.sample(250) for _ in range(len(test) // 250)])
        cost = flops(lambda p=model.prior: p.sample(1)) / 1e9
        rows[name] = (frechet(look(made), real), statistics.median(seconds[name]))
        print(
            f"| `{name}` | {count(model.prior):,} | {bits} | {rows[name][0]:.2f} | {passes(model.prior, 2)} | "
            f"{cost:.3f} | {rows[name][1]:.2f} |",
            flush=True,
        )
    with torch.no_grad():
        back = frechet(look(base.reconstruct(test).flip(0)), real)
    floor = frechet(look(test.x[::2]), look(test.x[1::2]))
    print(f"\nReconstructions {back:.2f}, two halves of the examples {floor:.2f}.")
    if {"maskgit", "autoregressive"} <= set(rows):
        (near, fast), (causal, slow) = rows["maskgit"], rows["autoregressive"]
        print(
            f"maskgit against autoregressive: {slow / fast:.2f} x as fast at {near / causal:.2f} of the distance."
        )


def second_stage(data, repeats=15, batch_size=64):
    """A step of a prior on codes that were encoded once, against encoding at each step."""
    base = vq_vae(data.spec, prior="none").eval()
    prior = Autoregressive(base.bottleneck.symbols, width=64, depth=3)
    optimizer = torch.optim.Adam(prior.parameters())
    batch = data.train.batch(slice(0, batch_size))
    kept = base.as_symbols(batch)

    def step(coded):
        optimizer.zero_grad()
        prior.loss(coded).total.backward()
        optimizer.step()

    def clock(work):
        started = time.process_time()
        work()
        return time.process_time() - started

    works = {"cached": lambda: step(kept), "encoded": lambda: step(base.as_symbols(batch))}
    found = {name: [] for name in works}
    for turn in range(repeats + 2):
        for name, work in works.items():
            spent = clock(work)
            if turn > 1:
                found[name].append(spent)
    a, b = (statistics.median(found[name]) for name in works)
    print(
        f"| second-stage step, 64 x 49 codes | {1e3 * a:.1f} ms | encoding again {1e3 * b:.1f} ms | {b / a:.2f} |"
    )


def llama(repeats=5, n=16, tokens=256, codes=512, width=128, depth=4):
    """Cached causal sampling against transformers' Llama of equal size."""
    from transformers import LlamaConfig, LlamaForCausalLM

    ours = Autoregressive(Symbols((tokens,), codes=codes), width=width, depth=depth, heads=4).eval()
    config = LlamaConfig(
        vocab_size=codes,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=depth,
        num_attention_heads=4,
        max_position_embeddings=tokens + 1,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    theirs = LlamaForCausalLM(config).eval()
    start = torch.zeros(n, 1, dtype=torch.long)
    how = {"do_sample": True, "max_new_tokens": tokens, "min_new_tokens": tokens, "use_cache": True}
    works = {
        "ours": lambda: ours.sample(n),
        "theirs": lambda: theirs.generate(start, attention_mask=torch.ones_like(start), top_k=0, **how),
    }
    found = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            spent = timed(work)
            if turn:
                found[name].append(spent)
    a, b = (n * tokens / statistics.median(found[name]) for name in works)
    ratios = sorted(y / x for x, y in zip(found["ours"], found["theirs"], strict=True))
    print(
        f"| cached causal sampling, {depth} blocks, {tokens} tokens, {count(ours):,} weights | {a:,.0f} tokens/s | "
        f"Llama, {count(theirs):,} weights: {b:,.0f} tokens/s | {a / b:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
    )


def main():
    """Parse the options and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--tokenizers", default="vq-vae,vae", help=", ".join(TOKENIZERS))
    parser.add_argument("--steps", type=int, default=400, help="of the tokenizer and of each prior")
    parser.add_argument("--weights", type=int, default=150_000)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--skip", default="riemannian", help="priors, separated by commas; that one is slow")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.skip = options.skip.split(",")
    torch.set_num_threads(options.threads)
    data = nd.open(options.data)
    print(f"torch {torch.__version__}, {options.threads} thread(s), processor time")
    if options.speed:
        print("\n| what | ours | against | ratio |\n|---|---|---|---|")
        second_stage(data)
        llama()
        return
    train = data.train.all(10_000)
    look = classifier_features(train.x, data.train.labels[: len(train.x)])
    for name in options.tokenizers.split(","):
        print(f"\n## {name}, {options.steps} steps")
        table(tokenizer(name, data, options.steps), data, look, options)


if __name__ == "__main__":
    main()
