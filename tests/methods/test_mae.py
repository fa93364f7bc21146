"""MAE's loss against a loop; what is visible counts for nothing; pictures keep what was seen."""

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.core.evidence import Hidden
from narrows.methods.masked.mae import mae

SMALL = {"net": "vit:width=8,depth=1,heads=2", "decoder": "vit:width=8,depth=1,heads=2"}
CASES = [(1, 8, 8), (3, 7, 10)]


def model(shape=(1, 8, 8), **options):
    torch.manual_seed(0)
    return mae(Spec(shape, "unit"), **{"patch": 2, **SMALL, **options}).double()


def images(shape, n=4):
    return torch.rand(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def loss(net, batch, seed=3):
    torch.manual_seed(seed)
    return net.loss(batch)


def tiles(shape, side=2):
    """The pixels of every patch, row by row; those at the edge may be smaller."""
    _, h, w = shape
    return [
        (slice(i, min(i + side, h)), slice(j, min(j + side, w)))
        for i in range(0, h, side)
        for j in range(0, w, side)
    ]


@pytest.mark.parametrize("shape", CASES)
@pytest.mark.parametrize("normalise", [False, True])
def test_the_loss_is_a_loop_over_hidden_patches(shape, normalise):
    net, x = model(shape, normalise=normalise), images(shape)
    found = loss(net, Batch(x))
    hidden, predicted = found.passed.code[Hidden].mask, net.decode(found.passed.code.z)
    expected = 0.0
    for b in range(len(x)):
        for place, (rows, columns) in enumerate(tiles(shape)):
            if hidden[b, place]:
                target = x[b, :, rows, columns]
                if normalise:
                    target = (target - target.mean()) / (target.var(unbiased=True) + 1e-6).sqrt()
                expected += (predicted[b, :, rows, columns] - target).square().sum()
    torch.testing.assert_close(found.total, expected / len(x))


@pytest.mark.parametrize("shape", CASES)
def test_the_loss_is_the_papers_mean_times_the_count_of_hidden_pixels(shape):
    net, x = model(shape), images(shape)
    found = loss(net, Batch(x))
    hidden, predicted = found.passed.code[Hidden].mask, net.decode(found.passed.code.z)
    wrong = [
        (float(predicted[b, c, i, j]) - float(x[b, c, i, j])) ** 2
        for b in range(len(x))
        for place, (rows, columns) in enumerate(tiles(shape))
        if hidden[b, place]
        for c in range(shape[0])
        for i in range(rows.start, rows.stop)
        for j in range(columns.start, columns.stop)
    ]
    paper = sum(wrong) / len(wrong)
    assert float(found.total) == pytest.approx(paper * len(wrong) / len(x), rel=1e-9)
    if shape == (1, 8, 8):
        assert len(wrong) / len(x) == 48


@pytest.mark.parametrize("shape", CASES)
@pytest.mark.parametrize("normalise", [False, True])
def test_visible_patches_are_ignored_exactly(shape, normalise):
    net, x = model(shape, normalise=normalise), images(shape)
    first = loss(net, Batch(x, x.clone()))
    visible = 1 - first.passed.code.weight
    assert torch.equal(loss(net, Batch(x, x + 5 * visible * torch.rand_like(x))).total, first.total)
    assert not torch.equal(
        loss(net, Batch(x, x + 0.1 * (1 - visible) * torch.rand_like(x))).total, first.total
    )
    target = x.clone().requires_grad_()
    loss(net, Batch(x, target)).total.backward()
    assert (target.grad[visible.bool()] == 0).all()
    assert target.grad[~visible.bool()].any()


def test_hidden_pixels_do_not_reach_the_prediction():
    net, x = model(), images((1, 8, 8))
    first = loss(net, Batch(x))
    noisy = x + first.passed.code.weight * torch.rand_like(x)
    second = loss(net, Batch(noisy))
    assert torch.equal(net.decode(first.passed.code.z), net.decode(second.passed.code.z))


@pytest.mark.parametrize(
    ("ratio", "hidden"), [(0.75, 12), (0.9, 14), (0.25, 4), (0.5, 8), (0.01, 1), (0.99, 15)]
)
def test_every_example_hides_the_same_exact_count(ratio, hidden):
    code = loss(model(mask_ratio=ratio), Batch(images((1, 8, 8)))).passed.code
    assert (code[Hidden].mask.sum(1) == hidden).all()
    assert torch.equal(code.weight.sum((1, 2, 3)), torch.full((4,), 4.0 * hidden, dtype=torch.float64))


def test_a_ratio_of_zero_counts_every_patch():
    net, x = model(mask_ratio=0.0), images((1, 8, 8))
    found = net.loss(Batch(x))
    expected = (net.decode(found.passed.code.z) - x).square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(net.reconstruct(Batch(x)), net.decode(found.passed.code.z).clamp(0, 1))


@pytest.mark.parametrize("normalise", [False, True])
def test_a_picture_keeps_what_was_visible(normalise):
    net, x = model((3, 7, 10), normalise=normalise).eval(), images((3, 7, 10))
    picture, hidden = net.reconstruct(Batch(x)), net.encode(Batch(x)).weight.bool()
    assert torch.equal(picture[~hidden], x[~hidden])
    assert (picture[hidden] - x[hidden]).abs().max() > 1e-3
    assert 0 <= picture.min() <= picture.max() <= 1


def test_a_perfect_normalised_prediction_is_painted_as_the_true_image():
    net, x = model((3, 7, 10), normalise=True), images((3, 7, 10))
    perfect = torch.empty_like(x)
    for rows, columns in tiles((3, 7, 10)):
        patch = x[:, :, rows, columns].flatten(1)
        flat = (patch - patch.mean(1, keepdim=True)) / (patch.var(1, keepdim=True) + 1e-6).sqrt()
        perfect[:, :, rows, columns] = flat.view_as(x[:, :, rows, columns])
    painted = net.likelihood.paste(perfect, x, torch.ones(4, 20, dtype=torch.bool))
    torch.testing.assert_close(painted, x)
    assert net.likelihood.nll(perfect, x).abs().max() < 1e-12


def test_without_its_example_a_code_gets_the_typical_light_of_each_place():
    net, x = model(normalise=True), images((1, 8, 8), 500)
    net.likelihood.prepare(net, Batch(x))
    flat = net.likelihood.mean(torch.zeros(1, 1, 8, 8, dtype=torch.float64))
    for rows, columns in tiles((1, 8, 8)):
        torch.testing.assert_close(flat[0, 0, rows, columns].mean(), x[:, :, rows, columns].mean())


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_features_see_everything_and_no_mask(pool):
    net, x = model(pool=pool), images((1, 8, 8))
    torch.manual_seed(0)
    one = net.features(Batch(x))
    torch.manual_seed(1)
    assert torch.equal(one, net.features(Batch(x)))
    for rows, columns in tiles((1, 8, 8)):  # every patch matters
        changed = x.clone()
        changed[:, :, rows, columns] += 1
        assert not torch.equal(net.features(Batch(changed)), one)
    tokens = net.encoder.everything(x)
    assert tokens.shape[1] == 16 + (pool == "cls")
    torch.testing.assert_close(one, tokens[:, 0] if pool == "cls" else tokens.mean(1))


def test_the_encoder_runs_on_a_quarter_of_the_patches():
    net, seen = model(pool="cls"), []
    net.encoder.blocks.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    net.loss(Batch(images((1, 8, 8))))
    assert seen == [(4, 1 + 4, 8)]


@pytest.mark.parametrize("shape", [(12,), (9, 2), (2, 5, 3), (1, 1, 2)])
def test_other_shapes_train(shape):
    net = model(shape, patch=0)
    first = loss(net, Batch(images(shape)))
    first.total.backward()
    assert net.reconstruct(Batch(images(shape))).shape == (4, *shape)
    assert net.bottleneck.token.grad.any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patch": 8}, "Try `patch=1`"),
        ({"patch": 9}, "`patch`"),
        ({"mask_ratio": 1.0}, "`mask_ratio`"),
        ({"net": "vit:heads=3"}, "`heads`"),
        ({"net": "mlp"}, "a vision transformer"),
        ({"decoder": "vit:width=6,heads=2"}, "multiple of 4"),
        ({"pool": "max"}, "`pool`"),
    ],
)
def test_refusals(options, says):
    with pytest.raises(RequestError, match=says):
        model(**options)


def test_another_target_is_refused():
    with pytest.raises(RequestError, match="its own input"):
        mae(Spec((8,), target=(4,)))
