"""The properties, each a function that raises if a method lacks it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from narrows.core import Autoencoder, Batch, Pass, Player, Tree, Views, seeded, tree_map
from narrows.core.check import RequestError
from narrows.testing.case import BATCH, ROWS, Case, before_step, examples, leaves, losses, parts, some, view
from narrows.testing.missing import a_hole_equals_removal, missing_values_are_not_read
from narrows.train import optimise
from narrows.train.loop import Training

__all__ = ["PROPERTIES"]

_FEW, _STEPS, _TURNS = 12, 60, 4
_UNKNOWN = "no_such_option"
_OF_TORCH = frozenset(vars(nn.Module()))


def unknown_options(case: Case) -> None:
    """An option that the builder does not have is refused, not dropped."""
    try:
        with seeded(0):
            case.builder(case.spec, **{**case.options, _UNKNOWN: 1})
    except TypeError:
        return
    case.require(False, unknown_options, f"`{_UNKNOWN}=1` was accepted; a builder must not take **kwargs.")


def shapes(case: Case) -> None:
    """Codes, costs and reconstructions have the shapes of the contract."""
    model = case.model().eval()
    batch = case.batch(model)
    code = model.encode(batch)
    for name, cost in code.costs.items():
        fits = cost.shape[-1:] == (BATCH,)
        case.require(fits, shapes, f"cost `{name}` has shape {tuple(cost.shape)}, not (*samples, {BATCH}).")
    back = model.reconstruct(batch)
    plain = case.spec.kind not in ("graph", "tokens")  # edges and lengths are the model's own
    target = model.targeted(batch).target
    wanted, got = ([tuple(t.shape) for t in _values(tree)] for tree in (target, back))
    case.require(not plain or got == wanted, shapes, f"a reconstruction has shape {got}, not {wanted}.")
    features = model.features(batch)
    flat = features.ndim == 2 and len(features) == BATCH
    case.require(flat, shapes, f"features have shape {tuple(features.shape)}, not (B, F).")
    code = model.bottleneck.from_symbols(model.bottleneck.to_symbols(code))
    back = model.likelihood.mean(model.decode(code.z, batch.condition))
    again = [tuple(t.shape) for t in _values(back)]
    case.require(
        again == got, shapes, f"decoding what `to_symbols` and `from_symbols` give has shape {again}."
    )


def finite(case: Case) -> None:
    """Losses and reconstructions are finite, for constant data too."""
    model, batch = case.prepared()
    constant = [torch.ones_like] if case.spec.values == "counts" else [torch.zeros_like, torch.ones_like]
    for x in (batch.x, *(tree_map(fill, batch.x) for fill in constant)):
        for mode in (True, False):
            model.train(mode)
            tried = Batch(x, batch.target, batch.condition, batch.weight)
            for stage, player, loss in losses(model, tried):
                where = f"{stage.name}, player {player.name}, {'train' if mode else 'eval'}()"
                bad = [t for t, value in loss.terms.items() if not value.isfinite().all()]
                good = loss.total.ndim == 0 and bool(loss.total.isfinite()) and not bad
                case.require(good, finite, f"the loss is {loss.total} in {where}; terms at fault: {bad}.")
        good = all(bool(t.isfinite().all()) for t in leaves(model.reconstruct(tried)))
        case.require(good, finite, "a reconstruction is not finite.")


def registered(case: Case) -> None:
    """Modules and parameters in lists, tuples and dicts are registered."""
    model, batch = case.prepared()
    model.train()
    losses(model, batch)  # some are filled by then only
    known = {id(x) for x in (*model.modules(), *model.parameters(), *model.buffers())}
    hidden = [
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if name not in _OF_TORCH and any(id(x) not in known for x in _held(value))
    ]
    mend = "use attributes, an nn.ModuleList or an nn.ParameterList; a module of another part is `ModuleReference`"
    case.require(not hidden, registered, f"{some(hidden)} hides modules or parameters: {mend}.")


def gradients(case: Case) -> None:
    """Every parameter belongs to one player, and gets a gradient from its loss within a few steps."""
    model, batch = case.prepared()
    names = {id(p): name for name, p in model.named_parameters()}
    stages = [(stage.part, Training(stage.part, lr=1e-3), view(stage, batch)) for stage in model.stages()]
    owned = [id(p) for _, training, _ in stages for player in training.players for p in player.parameters]
    twice = [names.get(i, "?") for i in set(owned) if owned.count(i) > 1]
    case.require(not twice, gradients, f"two players own {some(twice)}.")
    lost = [name for i, name in names.items() if i not in owned and model.get_parameter(name).requires_grad]
    case.require(not lost, gradients, f"no player owns {some(lost)}; train it or set requires_grad=False.")
    reached: set[int] = set()
    for part, training, seen in stages:
        part.train()
        for step in range(_TURNS):
            before_step(part, step)
            passed: Pass | None = None
            for index, player in enumerate(training.players):
                passed = training.step_player(index, seen, passed).passed or passed
                grads = {id(p): p.grad for p in player.parameters}
                reached |= {i for i, g in grads.items() if g is not None and g.isfinite().all() and g.any()}
            training.step += 1
    dry = [names.get(i, "?") for i in owned if i not in reached]
    sentence = f"within {_TURNS} steps no (finite, non-zero) gradient reaches {some(dry)}."
    case.require(not dry, gradients, sentence)


def purity(case: Case) -> None:
    """Evaluating a loss changes no state: no parameter, buffer, counter, gradient or mode."""
    model, batch = case.prepared()
    for mode in (True, False):
        model.train(mode)
        for stage in model.stages():
            seen = view(stage, batch)
            passed: Pass | None = None
            for player in stage.part.players():
                # a first time, so that what is cached is cached
                passed = player.loss(seen, 0, passed).passed or passed
                before = _state(model)
                player.loss(seen, 1, passed)
                changed = [key for key, value in _state(model).items() if not _same(value, before.get(key))]
                sentence = f"evaluating the loss of {player.name} changed {some(changed)}; move it to a hook."
                case.require(not changed, purity, sentence)


def rivals(case: Case) -> None:
    """A player's step updates only its own weights."""
    model, batch = case.prepared()
    for stage in model.stages():
        training, seen = Training(stage.part, lr=1e-2), view(stage, batch)
        stage.part.train()
        before_step(stage.part, 0)
        for index, player in enumerate(training.players):
            mine = {id(p) for p in player.parameters}
            before = {n: p.detach().clone() for n, p in model.named_parameters() if id(p) not in mine}
            training.step_player(index, seen)
            moved = [n for n, p in model.named_parameters() if n in before and not torch.equal(p, before[n])]
            case.require(not moved, rivals, f"the step of player {player.name} moved {some(moved)}.")


def eval_is_deterministic(case: Case) -> None:
    """In `eval()` the same batch gives the same code and reconstruction, whatever the random state."""
    model, batch = case.prepared()
    model.eval()
    seen = []
    for seed in (1, 2):
        with seeded(seed):
            seen.append((model.features(batch), model.reconstruct(batch)))
    for what, first, second in zip(("features", "reconstruction"), *seen):
        case.require(_equal(first, second), eval_is_deterministic, f"the {what} of eval() is random.")


def save_and_load(case: Case) -> None:
    """A state dict that went through safetensors gives identical outputs in a new model."""
    model, other = case.model(), case.model(seed=1)
    _train(case, model, 2)
    batch = case.batch(model)
    stored = to_bytes({name: t.detach().clone().contiguous() for name, t in model.state_dict().items()})
    other.load_state_dict(from_bytes(stored))
    for name, value in _outputs(model, batch).items():
        found = _outputs(other, batch)[name]
        sentence = f"{name} differs after loading; is something not in the state dict?"
        case.require(_equal(value, found), save_and_load, sentence)


def batch_sizes(case: Case) -> None:
    """One example, and odd numbers of them, train; in `eval()` an example's code does not depend on the others."""
    model, _ = case.prepared()
    batch = case.batch(model, 7)
    for n in (1, 3, 7):
        model.train()
        for _, player, loss in losses(model, batch[:n]):
            sentence = f"the loss of {player.name} is {loss.total} on a batch of {n}."
            case.require(bool(loss.total.isfinite()), batch_sizes, sentence)
        model.eval()
        alone, together = (leaves(model.reconstruct(b)) for b in (batch[:n], batch))
        close = all(
            torch.allclose(a, b[:n], rtol=1e-3, atol=1e-4) for a, b in zip(alone, together, strict=True)
        )
        case.require(close, batch_sizes, f"in eval(), {n} examples alone differ from the same among 7.")


def exact_gradients(case: Case) -> None:
    """In float64, gradients equal finite differences, unless a module declares them estimates."""
    model, batch = case.prepared()
    if not all(part.smooth for part in parts(model)):
        return
    model.double().train()
    batch = batch.map(lambda t: t.double() if t.is_floating_point() else t)
    with torch.no_grad(), seeded(3):
        for p in model.parameters():  # away from the kinks of a fresh initialisation
            p.add_(0.01 * torch.randn_like(p))
    for stage in model.stages():
        seen = view(stage, batch[:3])
        for player in (p for p in stage.part.players() if p.parameters):  # others learn without gradients
            _compare(case, player, seen, {id(p): n for n, p in model.named_parameters()})


def training_lowers_the_loss(case: Case) -> None:
    """A few training steps lower the loss; with several players, the distortion."""
    for steps in (_FEW, _STEPS):
        model = case.model()
        before = _measure(case, model)
        _train(case, model, steps)
        after = _measure(case, model)
        if all(value < before[name] for name, value in after.items()):
            return
    for name, value in after.items():
        sentence = f"{_STEPS} steps took the {name} from {before[name]:.5g} to {value:.5g}."
        case.require(value < before[name], training_lowers_the_loss, sentence)


PROPERTIES: tuple[Callable[[Case], None], ...] = (
    unknown_options,
    shapes,
    finite,
    registered,
    gradients,
    purity,
    rivals,
    eval_is_deterministic,
    save_and_load,
    batch_sizes,
    exact_gradients,
    missing_values_are_not_read,
    a_hole_equals_removal,
    training_lowers_the_loss,
)


def _held(value: Any) -> Iterator[nn.Module | nn.Parameter]:
    """The modules and parameters in plain containers, however deep."""
    if isinstance(value, (nn.Module, nn.Parameter)):
        yield value
    elif isinstance(value, (list, tuple, set, frozenset, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _held(each)


def _train(case: Case, model: Autoencoder, steps: int) -> None:
    with seeded(0):
        optimise(model, examples(case.spec), steps=steps, batch_size=ROWS // 2, lr=2e-3)


@torch.no_grad()
def _measure(case: Case, model: Autoencoder) -> dict[str, float]:
    """The values that training must lower: the loss of each stage's first player, or its distortion."""
    model.train()
    batch = case.batch(model, ROWS)
    found: dict[str, float] = {}
    for stage, _, loss in losses(model, batch, _STEPS):
        game = len(stage.part.players()) > 1
        value = loss.terms["distortion"] if game and "distortion" in loss.terms else loss.total
        found.setdefault(f"{'distortion' if game else 'loss'} of the {stage.name}", float(value))
    return found


@torch.no_grad()
def _outputs(model: Autoencoder, batch: Batch) -> dict[str, Tree]:
    model.eval()
    out: dict[str, Tree] = {"features": model.features(batch), "reconstruction": model.reconstruct(batch)}
    with seeded(7), contextlib.suppress(RequestError):  # it has no prior, and says so
        out["samples"] = model.sample(len(batch), batch.condition)
    model.train()
    out.update({f"loss of {player.name}": loss.total for _, player, loss in losses(model, batch)})
    return out


def _compare(case: Case, player: Player, batch: Batch, names: dict[int, str]) -> None:
    """Directional derivatives, one random direction a parameter tensor, against central differences."""

    def value() -> Tensor:
        with seeded(11):
            return player.loss(batch, 0, None).total

    grads = torch.autograd.grad(value(), player.parameters, allow_unused=True)
    with torch.no_grad():
        for p, grad in zip(player.parameters, grads, strict=True):
            direction = torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(0))
            direction /= direction.norm()
            start, ends = p.clone(), []
            for sign in (1, -1):
                p.copy_(start + sign * 1e-5 * direction)
                ends.append(value())
            p.copy_(start)
            numeric = float(ends[0] - ends[1]) / 2e-5
            exact = 0.0 if grad is None else float((grad * direction).sum())
            noise = 1e-9 * (1 + abs(float(ends[0])))  # of float64, divided by the step
            close = abs(numeric - exact) <= 1e-3 * max(abs(numeric), abs(exact)) + noise
            sentence = (
                f"along {names.get(id(p), '?')} the loss of {player.name} changes by {numeric:.6g} and its gradient "
                f"says {exact:.6g}. A part with an estimated gradient must declare smooth = False."
            )
            case.require(close, exact_gradients, sentence)


def _values(tree: Tree) -> list[Tensor]:
    """The tensors of a tree, without the presence mask of several modalities."""
    return leaves(tree.values if isinstance(tree, Views) else tree)


def _equal(a: Tree, b: Tree) -> bool:
    return all(torch.equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


def _state(model: nn.Module) -> dict[str, Any]:
    """The whole state of a module: tensors, gradients, and plain attributes such as counters."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, (bool, int, float, str, tuple, Tensor)):
                found[f"{path}.{name}"] = value.detach().clone() if isinstance(value, Tensor) else value
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[name] = tensor.detach().clone()
        found[f"{name}.grad"] = None if tensor.grad is None else tensor.grad.clone()
    return found


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
    return a is b or (type(a) is type(b) and not isinstance(a, Tensor) and bool(a == b))
