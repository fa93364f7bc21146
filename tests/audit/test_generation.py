"""Samples against held-out examples: of the true distribution, of copies, of a narrow part, and of other judges."""

from dataclasses import replace

import pytest
import torch
from audit_models import Identity, Plain, UnitGaussian

from narrows import data as nd
from narrows.audit import audit
from narrows.audit.evaluations.generation import Generation
from narrows.audit.report.compared import Measured, compared
from narrows.core import Autoencoder, Objective, Prior
from narrows.core.check import RequestError


class Drawn(Prior):
    """Draws by a function of the number of samples and of the condition."""

    reads = ("vector",)

    def __init__(self, draw, conditions=()):
        super().__init__()
        self.draw, self.conditions = draw, conditions

    def sample(self, n, condition=(), *, guidance: float = 1.0):
        return self.draw(n, condition)


def two_clouds(n, labels=None):
    labels = torch.randint(2, (n,)) if labels is None else labels
    return torch.randn(n, 3) + 4.0 * labels[:, None] * torch.tensor([1.0, 0.0, 0.0]), labels


def source(n=600):
    torch.manual_seed(0)
    (x, y), (test, classes) = two_clouds(n), two_clouds(400)
    data = {"x_train": x.numpy(), "y_train": y.numpy(), "x_test": test.numpy(), "y_test": classes.numpy()}
    return nd.open(data, scale="none")


def report(world, draw, conditions=(), evaluations="generation:examples=300"):
    model = Autoencoder(Identity(), Plain(), Identity(), UnitGaussian((3,)), Objective())
    model.set_prior(Drawn(draw, conditions))
    return audit(model.eval(), world.test, train=world.train, evaluations=evaluations)


def by_name(found):
    return {c.name.removeprefix("generation/"): c for c in found.checks if c.name.startswith("generation/")}


def test_the_true_distribution_is_at_the_floor():
    world = source()
    checks = by_name(report(world, lambda n, told: two_clouds(n, told["labels"].argmax(1))[0], ("labels",)))
    floor = checks["frechet-floor"]
    assert checks["frechet"].chance == floor.value
    assert checks["frechet"].value < floor.value + 4 * floor.spread
    assert checks["frechet-reconstructions"].value == pytest.approx(floor.value, rel=1e-6)  # an identity
    assert abs(checks["kid"].value) < 4 * checks["kid"].spread + abs(checks["kid"].chance)
    for name in ("precision", "recall", "coverage"):
        assert checks[name].value == pytest.approx(checks[name].chance, abs=0.1)
    assert checks["agreement"].value > 0.9
    assert checks["copies"].verdict == checks["copies-pixels"].verdict == "ok"
    assert checks["frechet"].n == 150
    assert "judge classifier-" in checks["frechet"].unit


def test_copies_of_the_training_data_are_found():
    world = source()
    x = world.train.all().x
    checks = by_name(report(world, lambda n, told: x[torch.randint(len(x), (n,))] + 1e-4))
    assert checks["copies-pixels"].value > 0.95
    assert checks["copies-pixels"].verdict == "warn"
    assert checks["agreement"].value is None
    assert checks["frechet"].value < 10 * checks["frechet-floor"].value  # which a distance does not see


def test_one_cloud_of_two_has_precision_without_recall():
    checks = by_name(report(source(), lambda n, told: two_clouds(n, torch.zeros(n))[0]))
    assert checks["precision"].value > 0.8
    assert checks["recall"].value < checks["recall"].chance - 0.03
    assert checks["coverage"].value < 0.7
    assert checks["frechet"].value > 10 * checks["frechet-floor"].value


def test_labels_that_are_not_followed_agree_by_chance():
    checks = by_name(report(source(), lambda n, told: two_clouds(n)[0], ("labels",)))
    assert checks["agreement"].value == pytest.approx(0.5, abs=0.1)
    assert checks["agreement"].chance == pytest.approx(0.5, abs=0.1)


def test_pictures_by_class_and_guidance():
    found = report(source(), lambda n, told: two_clouds(n, told["labels"].argmax(1))[0], ("labels",))
    figures = {figure.name: figure for figure in found.figures}
    assert [label for label, _ in figures["generation-guidance"].rows] == [
        f"guidance {g}" for g in (0, 1, 2, 4)
    ]
    assert len(figures["generation-nearest"].rows) == 2


def test_distances_of_other_judges_or_numbers_are_not_ranked():
    def measured(world, evaluations):
        found = report(world, lambda n, told: two_clouds(n)[0], (), evaluations)
        return Measured({"run": str(id(found))}, [], found)

    world = source()
    same, fewer = "generation:examples=300", "generation:examples=200"

    def row(one, other):
        return next(r for r in compared([[one], [other]]).rows if r.name == "generation/frechet")

    first = measured(world, same)
    assert "not ranked" not in row(first, measured(world, same)).told
    assert "not ranked" in row(first, measured(world, fewer)).told
    assert "not ranked" in row(first, measured(replace(world, train=world.train.take(500)), same)).told
    assert not any(cell.best for cell in row(first, measured(world, fewer)).cells)


def test_what_cannot_be_sampled_is_said():
    world = source()
    model = Autoencoder(Identity(), Plain(), Identity(), UnitGaussian((3,)), Objective())
    found = audit(model.eval(), world.test, train=world.train, evaluations="generation")
    (check,) = [c for c in found.checks if c.name == "generation"]
    assert "cannot be sampled" in check.says
    with pytest.raises(RequestError, match="k"):
        Generation(examples=8, k=5)
