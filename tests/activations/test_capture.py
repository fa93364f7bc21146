"""What is captured is what the model computes, to the last bit, and no more than that is computed."""

import pytest
import torch
from torch import nn

from narrows.activations.capture import capture, capture_with_gradients, probe
from narrows.activations.hook_points import HookPoint, resolve
from narrows.activations.models import load
from narrows.core.check import RequestError, WorkError


def hidden_states(model, ids):
    with torch.no_grad():
        return model(ids, output_hidden_states=True).hidden_states


def test_captured_equals_the_hidden_states_of_minilm_to_the_last_bit():
    captured_equals_the_hidden_states(load("minilm", "cpu").module)


def test_captured_equals_the_hidden_states_of_the_story_model_to_the_last_bit(story_folder):
    captured_equals_the_hidden_states(load("stories260k", "cpu").module, normed="norm")


def captured_equals_the_hidden_states(model, normed=""):
    """The last state is given by transformers after the final norm, where there is one."""
    ids = torch.randint(5, 500, (3, 33), generator=torch.Generator().manual_seed(0))
    states = hidden_states(model, ids)
    seen = capture(model, ids, resolve(model, "embed,resid.*"))
    last = len(states) - 2
    assert torch.equal(seen["embed"], states[0])
    for i in range(last):
        assert torch.equal(seen[f"resid.{i}"], states[i + 1]), i
    final = seen[f"resid.{last}"]
    if normed:
        with torch.no_grad():
            final = getattr(model.model, normed)(final)
    assert torch.equal(final, states[-1])


@pytest.mark.parametrize("kind", ["llama", "neox", "gpt2", "bert"])
def test_every_architecture(tiny, ids, kind):
    states = hidden_states(tiny(kind), ids)
    seen = capture(tiny(kind), {"input_ids": ids}, resolve(tiny(kind), "resid.0,resid.1"))
    assert torch.equal(seen["resid.0"], states[1])
    assert torch.equal(seen["resid.1"], states[2])
    assert not seen["resid.0"].requires_grad


def test_the_forward_pass_stops_at_the_last_place(tiny, ids):
    ran = []
    model = tiny("llama")
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    handles = [layer.register_forward_hook(lambda m, a, o: ran.append(m)) for layer in model.model.layers]
    capture(model, ids, resolve(model, "resid.1,embed"))
    assert ran == [model.model.layers[0], model.model.layers[1]]
    ran.clear()
    capture(model, ids, resolve(model, "embed"))
    assert ran == []
    for handle in handles:
        handle.remove()
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_no_hook_stays_when_the_model_fails():
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(5, 1))
    with pytest.raises(RuntimeError):
        capture(net, torch.ones(1, 3), [HookPoint("a", "1")])
    assert not net[1]._forward_hooks


def test_a_tensor_that_is_written_into_later_is_noted_as_it_was():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 1))
    x = torch.randn(5, 3)
    seen = capture(net, x, [HookPoint("a", "0"), HookPoint("b", "2")])
    assert torch.equal(seen["a"], net[0](x))
    assert (seen["a"] < 0).any()


def test_tuples_mappings_and_keywords():
    class Odd(nn.Module):
        def forward(self, *, hidden):
            return {"ids": torch.zeros(1, dtype=torch.long), "states": hidden + 1}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.odd, self.rnn = Odd(), nn.GRU(2, 2)

        def forward(self, x):
            return self.rnn(self.odd(hidden=x)["states"])

    x = torch.randn(4, 3, 2)
    seen = capture(
        Net(), x, [HookPoint("in", "odd", "input"), HookPoint("out", "odd"), HookPoint("rnn", "rnn")]
    )
    assert torch.equal(seen["in"], x)
    assert torch.equal(seen["out"], x + 1)
    assert seen["rnn"].shape == (4, 3, 2)


def test_a_place_that_is_never_passed():
    net = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    net.forward = lambda x: net["a"](x)
    with pytest.raises(WorkError, match="never through `b`"):
        capture(net, torch.ones(1, 2), [HookPoint("b", "b")])


def test_shapes_of_rows(tiny, ids):
    found = probe(tiny("llama"), ids, resolve(tiny("llama"), "resid.1,attn_heads.1"))
    assert [place.shape for place in found] == [(16,), (4, 4)]
    images = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1))
    assert probe(images, torch.ones(2, 3, 4, 5), [HookPoint("0", "0")])[0].shape == (6,)


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_equal_finite_differences(fresh, ids, frozen):
    model = fresh("gpt2").double().requires_grad_(not frozen)
    places = resolve(model, "resid.1,mlp.0")
    acts, slopes = capture_with_gradients(model, ids, places)
    assert torch.equal(acts["resid.1"], capture(model, ids, places)["resid.1"])

    def loss(add, place):
        handle = model.get_submodule(place.path).register_forward_hook(lambda m, a, out: out + add)
        with torch.no_grad():
            logits = model(ids).logits.log_softmax(-1)[:, :-1]
        handle.remove()
        return -logits.gather(-1, ids[:, 1:, None]).sum()

    for place in places:
        direction = torch.randn(
            acts[place.name].shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
        )
        difference = (loss(1e-5 * direction, place) - loss(-1e-5 * direction, place)) / 2e-5
        torch.testing.assert_close((slopes[place.name] * direction).sum(), difference, rtol=1e-5, atol=1e-7)
    assert all(p.grad is None for p in model.parameters())


def test_a_contexts_gradient_does_not_depend_on_the_others_or_on_padding(tiny, ids):
    model, places = tiny("llama"), resolve(tiny("llama"), "resid.0")
    alone = capture_with_gradients(model, ids[:1, :5], places)[1]["resid.0"]
    padded = ids.clone()
    padded[0, 5:] = 0
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    together = capture_with_gradients(model, padded, places, mask)[1]["resid.0"]
    torch.testing.assert_close(together[0, :5], alone[0], rtol=1e-4, atol=1e-6)


def test_gradients_need_a_loss(tiny, ids):
    with pytest.raises(RequestError, match="next-token loss"):
        capture_with_gradients(tiny("bert"), ids, resolve(tiny("bert"), "resid.0"))
