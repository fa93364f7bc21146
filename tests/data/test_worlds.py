import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

import narrows.data as nd
from narrows.core.check import RequestError
from narrows.data.synthetic.sprites import render


@pytest.mark.parametrize("name", ["linear", "dictionary", "hierarchy", "sines", "sprites", "textures"])
def test_seeds_decide_everything(name):
    options = {"n": 20, "tests": 10}
    one, same, other = (nd.open(name, seed=s, **options) for s in (0, 0, 1))
    assert torch.equal(one.train.x, same.train.x)
    assert torch.equal(one.test.x, same.test.x)
    assert not torch.equal(one.train.x, other.train.x)
    assert (len(one.train), len(one.test)) == (20, 10)
    with pytest.raises(TypeError, match=r"no option `sead`. Did you mean .*`seed`"):
        nd.open(name, sead=1)


def test_linear_likelihood_and_posterior_are_exact():
    source = nd.open("linear", n=30_000, d=4, latent=2, noise=0.3)
    truth, x = source.truth, source.train.x.numpy()
    want = multivariate_normal(truth.bias, truth.weight @ truth.weight.T + 0.09 * np.eye(4)).logpdf(x[:50])
    np.testing.assert_allclose(truth.log_likelihood(x[:50]), want, rtol=1e-9)
    np.testing.assert_allclose(np.cov(x.T), truth.covariance, atol=0.05)
    # Bayes: log p(x) = log p(z) + log p(x | z) - log p(z | x), for any z
    mean, covariance = truth.posterior(x[:1])
    z = np.array([0.3, -0.7])
    conditional = multivariate_normal(truth.weight @ z + truth.bias, 0.09 * np.eye(4)).logpdf(x[0])
    prior, posterior = (
        multivariate_normal(np.zeros(2)).logpdf(z),
        multivariate_normal(mean[0], covariance).logpdf(z),
    )
    np.testing.assert_allclose(prior + conditional - posterior, truth.log_likelihood(x[:1])[0], rtol=1e-9)


def test_dictionary_is_what_it_says():
    source = nd.open("dictionary", n=20_000, d=16, atoms=32, l0=3, correlation=0.6)
    truth, x = source.truth, source.train.x.numpy()
    np.testing.assert_allclose(np.linalg.norm(truth.atoms, axis=1), 1)
    np.testing.assert_allclose(truth.codes @ truth.atoms, x, atol=1e-5)
    on = truth.codes > 0
    assert abs(on.sum(1).mean() - 3) < 0.1
    np.testing.assert_allclose(on.mean(0), 3 / 32, atol=0.015)
    together = np.corrcoef(on.T)
    assert together[0, 1:8].mean() > 0.2
    assert abs(together[0, 8:].mean()) < 0.02
    assert truth.codes[on].min() >= 0.5
    assert truth.codes.max() <= 1.5
    assert truth.recovered(truth.atoms[:16])[:16].min() > 1 - 1e-9
    assert truth.recovered(np.zeros((1, 16))).max() == 0


def test_dictionary_noise_has_the_asked_size():
    source = nd.open("dictionary", n=5000, d=16, noise=0.2)
    rest = source.train.x.numpy() - source.truth.codes @ source.truth.atoms
    assert abs(rest.std() - 0.2) < 0.005


def test_sines_follow_the_formula():
    source = nd.open("sines", n=5, length=9, d=2, waves=3)
    t, truth = np.arange(9), source.truth
    for i in range(5):
        for j in range(2):
            wave = sum(np.sin(truth.frequency[i, w, j] * t + truth.phase[i, w, j]) for w in range(3)) / 3
            np.testing.assert_allclose(source.train.x[i, :, j], 0.5 * (wave + 1), atol=1e-6)


class TestSprites:
    counts = (3, 6, 40, 32, 32, 6)

    def draw(self, size=64, colour=False, **factors):
        names = ("shape", "scale", "rotation", "x", "y", "colour")
        row = np.array([[factors.get(n, 16 if n in "xy" else 0) for n in names]])
        return render(row, self.counts, size, colour)[0].astype(float)

    @pytest.mark.parametrize("size", [32, 64])
    @pytest.mark.parametrize("shape", [0, 1, 2])
    def test_area_does_not_depend_on_place_or_rotation(self, shape, size):
        base = self.draw(size, shape=shape, scale=5).sum()
        for change in ({"x": 0}, {"y": 31}, {"rotation": 7}, {"x": 3, "y": 30, "rotation": 23}):
            assert abs(self.draw(size, shape=shape, scale=5, **change).sum() / base - 1) < 0.02

    def test_areas_are_those_of_geometry(self):
        radius = 0.2 * 64
        assert abs(self.draw(shape=0, scale=5).sum() / 255 / (1.5 * radius) ** 2 - 1) < 0.02
        assert abs(self.draw(shape=1, scale=5).sum() / 255 / (np.pi * 0.55 * radius**2) - 1) < 0.02
        ratio = self.draw(shape=1, scale=5).sum() / self.draw(shape=1, scale=0).sum()
        assert abs(ratio - 4) < 0.15

    def test_centre_moves_as_the_factors_say(self):
        def centre(**f):
            image = self.draw(**f)[0]
            grid = np.arange(64) + 0.5
            return (image.sum(0) @ grid) / image.sum(), (image.sum(1) @ grid) / image.sum()

        left, right = centre(x=0, scale=3), centre(x=31, scale=3)
        np.testing.assert_allclose((left[0], right[0]), (16, 48), atol=0.1)
        np.testing.assert_allclose(left[1], right[1], atol=0.1)
        np.testing.assert_allclose(centre(y=31, scale=3)[1], 48, atol=0.1)

    def test_a_quarter_turn_turns_the_picture(self):
        symmetric = np.array([[2, 5, r, 16, 16, 0] for r in (0, 10)])
        counts = (3, 6, 40, 33, 33, 1)  # place 16 of 33 is the middle of the image
        first, turned = render(symmetric, counts, 64, False)[:, 0].astype(float)
        assert np.abs(np.rot90(first, -1) - turned).max() <= 1

    def test_colour_tints_the_same_shape(self):
        rows = np.array([[0, 5, 3, 10, 20, c] for c in range(6)])
        white, red = render(rows, self.counts, 32, True)[:2].astype(float)
        grey = render(rows[:1], self.counts, 32, False)[0].astype(float)
        assert np.array_equal(white, np.repeat(grey, 3, 0))
        np.testing.assert_allclose(red, grey * np.array([230, 60, 50])[:, None, None] / 255, atol=0.51)

    def test_factors_come_with_the_data(self):
        source = nd.open("sprites", n=30, tests=5, size=32, colours=6)
        assert source.spec.shape == (3, 32, 32)
        assert source.spec.values == "unit"
        again = source.truth.render(source.train.factors.numpy())
        assert np.array_equal(again, source.train.x.numpy())
        assert (
            source.test.factor_names
            == source.train.factor_names
            == nd.open("sprites", n=2).train.factor_names
        )

    def test_refusals(self):
        with pytest.raises(RequestError, match=r"`size` must be one of `32`, `64`, but got 48"):
            nd.open("sprites", size=48)
        with pytest.raises(RequestError, match=r"`factors` must be"):
            render(np.array([[9, 0, 0, 0, 0, 0]]), self.counts, 32, False)


def test_refusals():
    with pytest.raises(RequestError, match=r"`l0` must be above 0 and below the number of atoms"):
        nd.open("dictionary", l0=64)
    with pytest.raises(RequestError, match=r"`correlation` must be at least 0 and below 1"):
        nd.open("dictionary", correlation=1)
    with pytest.raises(RequestError, match=r"`noise` must be a finite number of at least"):
        nd.open("linear", noise=0)


def test_dictionary_atoms_follow_zipf_and_examples_differ_in_richness():
    truth = nd.open("dictionary", n=40_000, atoms=32, l0=3.0, zipf=0.7, vary=0.9, signed=True, tests=1).truth
    law = np.arange(1, 33) ** -0.7
    assert truth.probability == pytest.approx(3 * law / law.sum())
    assert (truth.codes != 0).mean(0) == pytest.approx(truth.probability, abs=0.012)
    assert (truth.codes < 0).sum() / (truth.codes != 0).sum() == pytest.approx(0.5, abs=0.01)
    counts = (truth.codes != 0).sum(1)
    # The variance of a mixture: that within, and that of the richness, 9 times 0.9^2 / 3.
    within = (truth.probability - (1 + 0.27) * truth.probability**2).sum()
    assert counts.var() == pytest.approx(within + 9 * 0.27, rel=0.05)


def test_dictionary_refuses_an_atom_that_is_always_on():
    with pytest.raises(RequestError, match="zipf"):
        nd.open("dictionary", n=10, atoms=8, l0=6.0, zipf=2.0)


def family(**options):
    """Codes of a hierarchy as (parents (B, P), children (B, P, C))."""
    told = {"n": 30_000, "tests": 10, "d": 24, "parents": 3, "children": 5, "rate": 0.3, "alone": 0.25}
    source = nd.open("hierarchy", **{**told, **options})
    on = source.truth.codes > 0
    return source, on[:, :3], on[:, 3:].reshape(len(on), 3, 5)


def test_children_come_only_with_their_parent():
    source, parents, children = family()
    truth, one = source.truth, children.sum(2)
    np.testing.assert_allclose(truth.codes @ truth.atoms, source.train.x.numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(truth.atoms, axis=1), 1)
    assert truth.parents == 3
    assert not (one[~parents]).any()
    assert one.max() == 1
    np.testing.assert_allclose(one[parents].mean(), 0.75, atol=0.01)
    np.testing.assert_allclose(np.r_[parents.mean(0), children.mean(0).ravel()], truth.probability, atol=0.01)
    assert truth.probability[3] == pytest.approx(0.3 * 0.75 / 5)
    assert abs(np.corrcoef(parents.T)[0, 1:]).max() < 0.02


def test_independent_children_fire_as_often_and_ignore_their_parent():
    _, parents, children = family()
    source, alone, ignoring = family(independent=True)
    assert source.truth.independent
    np.testing.assert_allclose(ignoring.mean(0), children.mean(0), atol=0.006)
    np.testing.assert_allclose(alone.mean(0), parents.mean(0), atol=0.01)
    assert ignoring.sum(2).max() == 1
    for p in range(3):
        with_parent, without = (ignoring[alone[:, p] == state, p].any(1).mean() for state in (True, False))
        assert abs(with_parent - without) < 0.02


def test_a_hierarchy_may_have_orthonormal_atoms_and_equal_coefficients():
    source, _, _ = family(orthogonal=True, spread=0)
    np.testing.assert_allclose(source.truth.atoms @ source.truth.atoms.T, np.eye(18), atol=1e-12)
    assert set(np.unique(source.truth.codes)) == {0, 1}
    with pytest.raises(RequestError, match=r"`d` must be at least the number of atoms, 18"):
        family(orthogonal=True, d=17)
    for wrong in ({"rate": 0}, {"alone": 1.5}, {"spread": -1}, {"children": 0}):
        with pytest.raises(RequestError, match=f"`{next(iter(wrong))}` must be"):
            family(**wrong)
