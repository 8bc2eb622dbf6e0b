"""The C kernel against the tensor code."""

from contextlib import nullcontext

import pytest
import torch

import lpss
from lpss.native import loader
from lpss.optim import c_step

SHAPES = [(7, 1), (5, 3), (8, 16), (3, 4, 3, 3), (3, 1100), (33, 250)]


@pytest.fixture(autouse=True)
def path():
    """In place of conftest's: these tests are about the kernel."""
    if loader.library() is None:
        pytest.skip("no C compiler here: the kernel cannot be built")


def trajectory(optimizer_class, shape, p, scale, **options) -> tuple[torch.Tensor, dict, int]:
    draw = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(shape, generator=draw))
    optimizer = optimizer_class([weight], lr=0.07, p=p, **options)
    for turn in range(6):
        weight.grad = scale * torch.randn(shape, generator=draw)
        weight.grad[0] = 0  # a dead neuron
        if turn == 3:
            weight.grad[1].view(-1)[0] = float("nan")
            weight.grad[2].view(-1)[0] = float("inf")
        with pytest.warns(RuntimeWarning) if turn == 3 else nullcontext():
            optimizer.step()
    return weight.data, optimizer.state[weight], optimizer.nonfinite_neurons


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [1.03, 1.07, 1.1, 1.15, 1.2, 1.25, 4 / 3, 1.5, 2.0, 3.0, 10.0])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e3])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.5, "nesterov": True}], ids=["plain", "nesterov"])
@pytest.mark.parametrize("optimizer_class", [lpss.LpSGD, lpss.LpSGDm])
def test_both_paths_take_the_same_steps(monkeypatch, optimizer_class, shape, p, scale, options):
    weight, state, skipped = trajectory(optimizer_class, shape, p, scale, **options)
    monkeypatch.setattr(loader, "library", lambda: None)
    weight_2, state_2, skipped_2 = trajectory(optimizer_class, shape, p, scale, **options)
    # float32 rounding, raised by w = v^[q-1] and, for p > 2, by the steepness near 0
    tolerance = {"rtol": 1e-4, "atol": 3e-6 if p <= 2 else 2e-3}
    torch.testing.assert_close(weight, weight_2, **tolerance)
    for key in state_2:
        torch.testing.assert_close(state[key], state_2[key], rtol=1e-4, atol=3e-6 * (scale if key == "mu" else 1))
    assert skipped == skipped_2 == 2


def test_what_the_kernel_cannot_move_takes_the_tensor_path():
    plain, images = torch.zeros(4, 3), torch.zeros(2, 4, 3, 3)
    last = images.to(memory_format=torch.channels_last)
    assert c_step.usable(plain, plain) and c_step.usable(images, images) and c_step.usable(last, last)
    assert not c_step.usable(plain.double())
    assert not c_step.usable(plain.t())
    assert not c_step.usable(plain.bfloat16())
    assert not c_step.usable(images, last)  # the neurons' entries would not meet


def test_a_learning_rate_in_a_tensor_takes_the_tensor_path(monkeypatch):
    monkeypatch.setattr(c_step, "step", None)
    weight = torch.nn.Parameter(torch.randn(4, 3))
    optimizer = lpss.LpSGDm([weight], lr=torch.tensor(0.1), p=1.2)
    weight.grad = torch.randn(4, 3)
    optimizer.step()


@pytest.mark.parametrize("optimizer_class", [lpss.LpSGD, lpss.LpSGDm])
def test_memory_order_makes_no_difference(optimizer_class):
    moved = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        draw = torch.Generator().manual_seed(0)
        weight = torch.randn(6, 5, 3, 3, generator=draw).to(memory_format=memory_format)
        weight = torch.nn.Parameter(weight)
        optimizer = optimizer_class([weight], lr=0.1, p=1.2)
        for _ in range(4):
            weight.grad = torch.randn(6, 5, 3, 3, generator=draw).to(memory_format=memory_format)
            optimizer.step()
        moved.append(weight.detach())
    torch.testing.assert_close(*moved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer_class", [lpss.LpSGD, lpss.LpSGDm])
def test_threads_share_a_net_without_changing_a_bit(monkeypatch, optimizer_class):
    """Neurons are never split, so the number of threads changes no bit; here threads share a weight."""
    monkeypatch.setattr(c_step, "SHARE", 1)
    moved, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            draw = torch.Generator().manual_seed(0)
            weights = [torch.nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]
            optimizer = optimizer_class(weights, lr=0.1, p=1.07)
            for _ in range(3):
                for weight in weights:
                    weight.grad = torch.randn(weight.shape, generator=draw)
                optimizer.step()
            moved.append(weights)
    finally:
        torch.set_num_threads(threads)
    for others in moved[1:]:
        assert all(torch.equal(a, b) for a, b in zip(moved[0], others, strict=True))


def test_a_step_is_seen_by_autograds_version_check():
    weight = torch.nn.Parameter(torch.randn(4, 3))
    optimizer = lpss.LpSGDm([weight], lr=0.1, p=1.5)
    loss = (weight * weight).sum()
    weight.grad = torch.randn(4, 3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
