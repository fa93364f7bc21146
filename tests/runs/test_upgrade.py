"""Recipes of 0.1 say of their parts what they said, under today's names."""

import inspect
import json

import numpy as np
import pytest

import narrows as nr
from narrows.core import Spec, files
from narrows.core.check import RequestError
from narrows.methods.index import METHODS, builder
from narrows.runs.upgrade import renamed, upgraded

SPECS = {
    "transcoder": Spec((6,), target=(4,)),
    "cvae": Spec((1, 20, 20), "unit", 3),
    "crosscoder": Spec((2, 6)),
}


def now(method, arguments, spec=None):
    defaults = {name: p.default for name, p in inspect.signature(builder(method)).parameters.items()}
    return upgraded(method, arguments, defaults, spec or SPECS.get(method, Spec((1, 20, 20), "unit")))


@pytest.mark.parametrize(
    ("method", "old", "new"),
    [
        ("vae", {"latent": 2, "hidden": (8, 4)}, {"latent": 2, "net": "conv:8,4"}),
        ("vae", {"net": "vit", "hidden": (16, 16, 16)}, {"net": "vit:width=16,depth=3"}),
        ("iwae", {"hidden": ()}, {}),
        ("wae", {"likelihood": "gaussian-fixed"}, {"likelihood": "gaussian:fixed"}),
        ("cvae", {"prior": "learned"}, {"learned_prior": True}),
        ("vq-vae", {"channels": 32}, {"net": "conv:width=32"}),
        ("fsq", {"prior": "autoregressive"}, {"prior": "autoregressive"}),
        ("fsq", {"prior": "none", "prior_width": 64}, {"prior": "none"}),
        ("vq-vae", {"prior_width": 64, "temperature": 0.5}, {"prior": "autoregressive:width=64"}),
        ("vq-vae", {"prior_width": 64, "prior_labels": False}, {"prior": "autoregressive:width=64"}),
        ("mae", {"width": 32, "heads": 2}, {"net": "vit:depth=4,width=32,heads=2"}),
        ("mae", {"depth": 2, "decoder_depth": 3}, {"net": "vit:depth=2", "decoder": "vit:width=32,depth=3"}),
        ("topk-sae", {"aux_k": 8, "dead_after": 100}, {"dead": "auxk:k=8,dead_after=100"}),
        ("topk-sae", {"aux_weight": 0}, {"dead": "none"}),
        ("topk-sae", {"dead": "ghost", "aux_k": 3, "aux_weight": 0.5}, {"dead": "ghost:weight=0.5"}),
        ("relu-sae", {"target_l0": 16.0, "norm": "free"}, {"price_target": "l0=16.0", "unit_norm": False}),
        ("gated-sae", {"target_fvu": 0.1, "dead_after": 0}, {"price_target": "fvu=0.1"}),
        ("transcoder", {"dead": "", "aux_k": 4}, {"dead": "auxk:k=4"}),
        ("crosscoder", {"activation": "relu", "aux_k": 4}, {"activation": "relu"}),
        ("mutual-choice-sae", {"zipf": 0.6, "underused": 0.3}, {"dead": "zipf:share=0.3,exponent=0.6"}),
    ],
)
def test_spread_options_become_the_text_of_their_part(method, old, new):
    spec = SPECS.get(method, Spec((1, 20, 20), "unit"))
    assert now(method, old, spec) == new
    assert now(method, new, spec) == new
    builder(method)(spec, **new)


def test_vectors_keep_the_net_that_auto_meant_for_them():
    assert now("vae", {"hidden": (8,)}, Spec((6,))) == {"net": "skip:8"}
    assert now("iwae", {"hidden": (8,)}, Spec((6,))) == {"net": "mlp:8"}
    assert now("fsq", {"channels": 8}, Spec((6,))) == {}


def test_a_folder_of_an_earlier_release_loads(tmp_path):
    run = nr.fit("digits", "vae", tmp_path / "run", steps=3, latent=2, net="mlp:8", progress=False)
    path = run.path / "recipe.json"
    recipe = {k: v for k, v in files.read_json(path).items() if k != "sha256"}
    recipe["arguments"] = {"latent": 2, "hidden": [8]}
    path.write_text(json.dumps(recipe))
    again = nr.load(run.path)
    assert again.recipe.arguments == {"latent": 2, "net": "mlp:8"}
    now, before = again.encode("digits"), run.encode("digits")
    assert all(np.array_equal(now[name], before[name]) for name in before)


def test_weights_of_an_earlier_release_have_todays_names():
    model = builder("topk-sae")((6,), latents=12, k=2, dead="auxk:k=2,dead_after=5")
    weights = {
        name.replace("objective.dead.", "objective.revival."): w for name, w in model.state_dict().items()
    }
    assert "objective.revival.variance" in weights
    model.load_state_dict(renamed(weights))
    quantised = builder("vq-vae")((1, 8, 8), codes=8, width=4, prior="none")
    weights = {
        name.replace("bottleneck.book.", "bottleneck."): w for name, w in quantised.state_dict().items()
    }
    assert "bottleneck.codebook" in weights
    quantised.load_state_dict(renamed(weights))


@pytest.mark.parametrize("name", [m.name for m in METHODS.values() if m.family == "quantised"])
def test_weights_of_today_keep_their_names(name):
    spec = next(s for s in (Spec((1, 16, 16), "unit", 3), Spec((12,), classes=3)) if _reads(name, s))
    weights = builder(name)(spec).state_dict()
    assert list(renamed(weights)) == list(weights)


def _reads(name, spec):
    try:
        return builder(name)(spec) is not None
    except RequestError:
        return False


OLD = {
    "autoregressive": {
        "prior.net.": "prior.",
    },
    "rq-transformer": {
        "prior.net.embed.weight": "prior.embed",
        "prior.net.blocks.": "prior.body.",
        "prior.net.": "prior.",
        "prior.head.blocks.": "prior.head.",
        "prior.head.": "prior.",
    },
}


@pytest.mark.parametrize("name", OLD)
def test_weights_of_priors_whose_parts_moved_load(name):
    model = builder("rq-vae")((1, 8, 8), codes=4, depth=2, width=4, prior=f"{name}:width=8,depth=1,labels=no")
    weights = model.state_dict()

    def old(now):
        found = next((part for part in OLD[name] if now.startswith(part)), None)
        return now if found is None else OLD[name][found] + now.removeprefix(found)

    before = {old(now): value for now, value in weights.items()}
    assert len(before) == len(weights)
    assert {"prior.start", "prior.place"} < set(before)
    assert list(renamed(before)) == list(weights)
    assert list(renamed(weights)) == list(weights)


def test_a_recipe_with_the_alias_of_a_prior_loads(tmp_path):
    run = nr.fit(
        "digits", "vq-vae", tmp_path / "run", steps=2, codes=4, width=4, prior="ar:width=8", progress=False
    )
    assert run.recipe.arguments["prior"] == "ar:width=8,labels=yes"  # digits have labels
    again = nr.load(run.path)
    assert type(again.model.prior).__name__ == "Autoregressive"
    assert again.sample(2, temperature=0.5).shape == (2, 1, 8, 8)


def test_tables_of_before_keep_their_gaussian_columns_and_their_weights():
    parts = {
        "a": Spec(()),
        "b": Spec((), "categories", 3, vocabulary=("x", "y", "z")),
        "c": Spec((), "binary"),
        "d": Spec((), "categories", 2, vocabulary=("u", "v")),
        "e": Spec((), "categories", 2, vocabulary=("u", "v")),
    }
    spec = Spec((5,), kind="table", parts=parts)
    arguments = now("missing-iwae", {}, spec)
    assert arguments == {"numbers": "gaussian"}
    assert now("missing-iwae", {"numbers": "student-t"}, spec) == {"numbers": "student-t"}
    model = builder("missing-iwae")(spec, **arguments)
    names = set(model.state_dict())
    old = [name for name in names if not name.startswith("likelihood.")]
    found = renamed(dict.fromkeys((*old, "likelihood.offset", "likelihood.tenth_log_variance"), 0))
    assert set(found) == names
    likelihood = model.likelihood  # the parameters lie as before: a, c, b (3), d (2), e (2)
    assert likelihood.parameter_shape == (9,)
    assert likelihood.order == (0, 2, 1, 3, 4)
    assert likelihood.heads[2].groups == [(3, 1), (2, 1), (2, 1)]
