"""A layer's weight, gradient and optimizer state: whole, or their active entries alone."""

import pytest
import torch
from torch import nn

import lpss
from lpss.active import active_entries
from lpss.engine.pattern import Pattern
from lpss.engine.site import Site


def make_site(module, density=0.4):
    """(site, optimizer's state, mask) of a layer with a gradient and two tensors of state, zero off the mask."""
    mask = torch.rand(module.weight.shape, generator=torch.Generator().manual_seed(0)) < density
    with torch.no_grad():
        module.weight.mul_(mask)
    module.weight.grad = torch.randn_like(module.weight) * mask
    state = {name: torch.randn_like(module.weight) * mask for name in ("v", "mu")}
    state |= {"step": torch.tensor(3.0), "row": torch.randn(len(mask)), "none": None}
    site = Site(module, "layer")
    site.state = lambda: state
    return site, state, mask


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("layer", [nn.Linear(7, 5), nn.Conv2d(3, 4, (2, 3))], ids=str)
def test_closing_and_opening_gives_back_every_bit_in_the_same_memory_order(layer, channels_last):
    if channels_last:
        layer = layer.to(memory_format=torch.channels_last)
    site, state, mask = make_site(layer)
    parameter = layer._parameters["weight"]
    whole = [parameter.detach().clone(), parameter.grad.clone(), state["v"].clone(), state["mu"].clone()]
    version = parameter._version
    site.close(pattern := Pattern(mask))
    closed = [parameter.data, parameter.grad, state["v"], state["mu"]]
    assert all(torch.equal(x, pattern.gather(y)) for x, y in zip(closed, whole, strict=True))
    assert active_entries(parameter) is pattern and site.pattern is pattern
    assert state["step"] == 3.0 and state["row"].shape == mask.shape[:1] and state["none"] is None
    site.open()
    opened = [parameter.data, parameter.grad, state["v"], state["mu"]]
    for x, y in zip(opened, whole, strict=True):
        assert torch.equal(x, y) and x.stride() == y.stride()
    assert active_entries(parameter) is None and site.pattern is None and layer._parameters["weight"] is parameter
    assert parameter._version == version  # nothing was written to, as far as masks are concerned
    site.open()
    assert torch.equal(parameter, whole[0])


def test_a_weight_can_be_closed_while_the_graph_of_the_step_before_is_still_there():
    layer = nn.Linear(7, 5)
    site, state, mask = make_site(layer)
    kept = layer(torch.ones(2, 7)).sum()
    kept.backward(retain_graph=True)
    layer.weight.grad = None
    parameter = layer.weight
    for _ in range(3):
        site.close(pattern := Pattern(mask))
        (parameter * torch.ones(len(pattern))).sum().backward()
        assert parameter.grad.shape == (len(pattern),)
        parameter.grad = None
        site.open()
        parameter.sum().backward()
        assert parameter.grad.shape == (5, 7)
        parameter.grad = None
    assert kept.requires_grad


def test_what_is_done_in_inference_mode_can_be_trained_afterwards(make):
    run = make("rigl", "lpsgd_m").train(2)
    saved = run.saved()
    run.load(saved)
    with torch.inference_mode():
        run.net(torch.ones(2, 12))  # closes what has been loaded
        run.method.repair()
    assert run.sparse() == ["0", "3", "5"]
    run.train(5)
    with torch.inference_mode():
        run.acceleration.undo()
    run.train(5)


@pytest.mark.parametrize("uses", ["twice", "by hand", "in parts", "twice, in a checkpoint"])
def test_a_method_is_given_the_whole_dense_gradient_however_the_weight_is_used(uses):
    torch.manual_seed(0)
    net = nn.Linear(6, 6).double()
    method = lpss.RigL(net, torch.optim.SGD(net.parameters(), lr=0.1), sparsity=0.5, total_steps=10, update_every=1)
    x = torch.randn(8, 6, dtype=torch.float64)
    ways = {
        "twice": lambda: net(net(x)),
        "by hand": lambda: x @ net.weight.T + net(x),
        "in parts": lambda: net(x),
        "twice, in a checkpoint": lambda: torch.utils.checkpoint.checkpoint(
            lambda x: net(net(x)), x, use_reentrant=False
        ),
    }

    def gradient():
        net.zero_grad()
        for _ in range(2 if uses == "in parts" else 1):  # gradients are accumulated
            ways[uses]().square().sum().backward()
        return method.gradient("")

    method.steps = 1
    assert method.update_is_due
    wanted = gradient().clone()
    lpss.accelerate(net, method)
    for _ in range(2):  # the second time gradients begin anew
        torch.testing.assert_close(gradient(), wanted)
    assert wanted[method.masks[""] == 0].all()
    method.steps = 0  # no update is due
    net.zero_grad()
    method.gradients.forget()
    ways[uses]().square().sum().backward()
    assert not method.gradients
