"""What was said of a training holds; what is usual for a method holds where nothing was said."""

from dataclasses import fields

import pytest

from narrows.train import Plan, too_short
from narrows.train.plan import _OF_A_STAGE as OF_A_STAGE

USUAL = {
    "steps": 200,
    "batch_size": 3,
    "lr": 0.01,
    "optimizer": "sgd",
    "weight_decay": 0.1,
    "clip": 2.0,
    "ema": 0.9,
    "log_every": 7,
    "measure_every": 9,
}
DEFAULTS = {f.name: f.default for f in fields(Plan)}
SAID = {"steps": 200, "epochs": 2.0, "batch_size": 128, "clip": 1.0, "ema": 0.5}


@pytest.mark.parametrize("name", [name for name in OF_A_STAGE if name != "patience"])
def test_what_is_said_wins_also_where_it_is_the_default(name):
    value = SAID[name] if DEFAULTS[name] is None else DEFAULTS[name]
    plan = Plan.of(1, USUAL, {name: value})
    assert getattr(plan, name) == value
    for other in set(USUAL) - {name}:
        assert getattr(plan, other) == (None if (other, name) == ("steps", "epochs") else USUAL[other])


def test_patience_needs_rows_to_look_at():
    """Of one example none can be kept apart: the method's own budget holds."""
    assert (Plan.of(1, USUAL, {"patience": 4}).steps, Plan.of(30, USUAL, {"patience": 4}).steps) == (
        200,
        None,
    )
    assert Plan.of(30, USUAL, {"patience": 4}).patience == 4


def test_none_is_not_said():
    assert Plan.of(1, USUAL, dict.fromkeys(OF_A_STAGE)) == Plan.of(1, USUAL, {})
    assert {name: getattr(Plan.of(1, USUAL, {}), name) for name in USUAL} == USUAL


@pytest.mark.parametrize(("rows", "said"), [(1, {}), (500, {"validation": 0})])
def test_what_is_usual_holds_where_no_rows_are_kept_apart(rows, said):
    assert Plan.of(rows, USUAL, said).steps == 200
    assert Plan.of(500, USUAL, {}) == Plan().settled(500)


def test_a_published_budget_that_was_made_whole_is_not_short():
    falling = [{"stage": "autoencoder", "step": s, "autoencoder/loss": 9.0 - s / 100} for s in range(1, 201)]
    assert (
        "with neither, training ends by early stopping, at the latest after 5,000 steps or 10 epochs"
        in too_short(falling)
    )
    assert too_short(falling, published=200) == ""
    assert "with neither, training makes 300 steps" in too_short(falling, published=300)
