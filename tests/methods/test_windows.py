"""Methods for arrays on windows of series with missing values and times."""

import csv
import math

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.index import METHODS, builder

SPEC = Spec((4, 2), kind="series", conditions={"observed": (4, 2), "times": (4,)})
X = torch.arange(16.0).reshape(2, 4, 2) / 8 - 1
SEEN = torch.ones(2, 4, 2, dtype=torch.bool)
SEEN[0, 1, 0] = SEEN[1, 2] = SEEN[1, 3] = False
MASK = torch.tensor([[True] * 4, [True, True, True, False]])
TIMES = torch.tensor([[0.0, 1, 3, 4], [0, 2, 6, 0]])
BATCH = Batch(X, None, {"observed": SEEN, "mask": MASK, "times": TIMES}, SEEN.float())


def test_the_loss_of_a_vae_is_the_bound_of_the_observed_values():
    torch.manual_seed(0)
    model = builder("vae")(SPEC, latent=2)
    torch.manual_seed(1)
    loss = model.loss(BATCH)
    gaps = torch.tensor([[0.0, 1, 2, 1], [0, 2, 4, 0]])  # the mean gap is 1 before `prepare`
    read = torch.cat([torch.where(SEEN, X, 0), SEEN.float(), (1 + gaps).log()[..., None]], -1)
    mean, _ = model.encoder.net(read).chunk(2, -1)
    q = loss.passed.code.q
    assert torch.allclose(q.mean, mean)
    decoded = model.decoder(loss.passed.code.z, {})
    log_variance = float(model.likelihood.log_variance)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, q.variance.sqrt()), torch.distributions.Normal(0.0, 1.0)
    ).sum(-1)
    bounds = []
    for i in range(2):
        terms = [
            0.5
            * (
                (X[i, t, c] - decoded[i, t, c]) ** 2 / math.exp(log_variance)
                + log_variance
                + math.log(2 * math.pi)
            )
            for t in range(4)
            for c in range(2)
            if SEEN[i, t, c]
        ]
        bounds.append(sum(terms) + kl[i])
    assert torch.allclose(loss.total, torch.stack(bounds).mean(), rtol=1e-4)


def test_arrays_give_the_model_of_the_method():
    models = []
    for make in (builder("vae"), builder("vae").__wrapped__.__wrapped__):
        torch.manual_seed(0)
        models.append(make((6, 2), latent=2).state_dict())
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_the_other_nets_of_sequences_read_windows():
    model = builder("vae")(SPEC, latent=2, net="conv:4,4")
    assert model.sample(3).shape == (3, 4, 2)
    assert torch.isfinite(model.loss(BATCH).total)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Two noisy sines of 60 steps with irregular times, a missing stretch and single missing cells."""
    path = tmp_path_factory.mktemp("steps") / "steps.csv"
    draw = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("pump,time,flow,heat\n")
        for pump in ("a", "b"):
            times = np.cumsum(draw.integers(1, 4, 60))
            for i, t in enumerate(times):
                flow, heat = np.sin(t / 5) + 0.1 * draw.normal(), np.cos(t / 5)
                cells = ["", ""] if 20 <= i < 25 else [f"{flow:.4f}", "" if i % 11 == 3 else f"{heat:.4f}"]
                file.write(",".join([pump, str(t), *cells]) + "\n")
    return path


def test_tokens_of_a_quantised_method_are_stretches_in_order():
    model = builder("vq-vae")(
        Spec((16, 2), kind="series", conditions={"times": (16,)}), width=4, codes=8
    ).eval()
    times = torch.rand(5, 16, generator=torch.Generator().manual_seed(0)).cumsum(1)
    told = {"times": times, "mask": torch.ones(5, 16, dtype=torch.bool)}
    x = torch.randn(5, 16, 2, generator=torch.Generator().manual_seed(1))
    found = model.encoder(x, told)
    assert found.shape[1] == 4
    assert model(Batch(x, None, told)).output.shape == x.shape
    later = x.clone()
    later[:, 14:] += 1  # the last steps do not reach the first token
    changed = (model.encoder(later, told) - found).abs().sum((0, 2)) > 1e-6
    assert changed.tolist()[::3] == [False, True]


@pytest.mark.parametrize("method", ["vae", "ae", "wae", "vq-vae"])
def test_a_file_of_steps_is_fitted_scored_imputed_and_sampled(steps, method, tmp_path):
    run = nr.fit(
        steps,
        method,
        data_options={"series": "pump", "window": 12, "split": "time"},
        steps=3,
        out=tmp_path / "r",
    )
    assert (run.recipe.spec.kind, run.recipe.spec.shape) == ("series", (12, 2))
    assert np.isfinite(run.score(steps)).all()
    filled = nr.load(tmp_path / "r").impute(steps, samples=4)
    given = list(csv.DictReader(steps.read_text().splitlines()))
    for name in ("flow", "heat"):
        kept = [(str(f), row[name]) for f, row in zip(filled[name], given, strict=True) if row[name]]
        assert all(float(f) == float(g) for f, g in kept)
        assert np.isfinite(np.asarray(filled[name], float)).all()
    ahead = run.impute(steps, horizon=5, samples=4)
    assert len(ahead["time"]) == len(given) + 10
    if method == "vae":
        assert run.sample(3).shape == (3, 12, 2)
    with pytest.raises(RequestError, match="below 12, the steps of a window"):
        run.impute(steps, horizon=12)


def test_a_conditional_mean_is_nearer_than_the_mean(tmp_path):
    phase = np.random.default_rng(1).uniform(0, 6, (400, 1))
    x = np.sin(np.arange(10) / 2 + phase)[..., None]
    holed = x.copy()
    holed[::2, 4:7] = np.nan
    run = nr.fit(holed, "vae", steps=400, out=tmp_path / "r", latent=3, seed=0)
    error = run.impute(holed, samples=50)[::2, 4:7] - x[::2, 4:7]
    assert float((error**2).mean()) < 0.2 * float(x.var())


def test_series_longer_than_a_window_are_refused(steps, tmp_path):
    run = nr.fit(steps, "vae", data_options={"series": "pump", "window": 12}, steps=1, out=tmp_path / "r")
    with pytest.raises(RequestError, match=r"windows of 12 steps, and there are series of 60.*window=12"):
        run.score(nr.data.like(run.recipe.data, steps, window=None))


def test_a_method_without_series_says_which_read_them(steps):
    with pytest.raises(RequestError, match=r"this method reads no series.*`vae`, `wae` or `vrnn`"):
        nr.data.open(steps, kinds=METHODS["topk-sae"].reads, series="pump", window=12)
    assert {"series"} <= {*METHODS["vae"].reads} & {*METHODS["wae"].reads} & {*METHODS["vrnn"].reads}


def test_series_that_are_shorter_than_a_window_are_left_out_and_said(tmp_path, capsys):
    lines = [f"{s},{t},{(t % 5) / 5}" for s, n in (("a", 40), ("b", 30), ("c", 6)) for t in range(n)]
    (tmp_path / "s.csv").write_text("unit,t,x\n" + "\n".join(lines))
    run = nr.fit(
        tmp_path / "s.csv", "vae", steps=1, data_options={"window": 10, "stride": 5}, out=tmp_path / "r"
    )
    assert "Left out: 1 series, shorter than the window." in capsys.readouterr().err
    assert len(run.data.train) + len(run.data.test) == 7 + 5
