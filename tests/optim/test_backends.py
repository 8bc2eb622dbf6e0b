"""Which code moves a weight, and that the choice is recorded."""

import copy
import warnings

import pytest
import torch

from lpss import LpSGD, LpSGDm
from lpss.active import ATTRIBUTE
from lpss.engine.pattern import Pattern
from lpss.optim import backends, c_step, triton_step
from lpss.optim.backends import expected_code_path, memory_rows

BOTH = pytest.mark.parametrize("optimizer_class", [LpSGD, LpSGDm])


def one_step(optimizer_class, *weights, lr=0.1):
    params = [torch.nn.Parameter(weight) for weight in weights]
    optimizer = optimizer_class(params, lr=lr, p=1.2)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    return optimizer


@BOTH
def test_the_code_path_of_float32_weights_on_the_cpu_is_the_expected_one(optimizer_class, path):
    name = {"kernel": "C kernel", "tensors": "tensor code"}[path]
    assert expected_code_path("cpu") == expected_code_path(torch.device("cpu")) == name
    assert one_step(optimizer_class, torch.rand(4, 3), torch.rand(2, 3, 3, 3)).code_paths == {name}


@BOTH
def test_all_code_paths_of_a_mixed_net_are_recorded(optimizer_class, path):
    optimizer = one_step(optimizer_class, torch.rand(4, 3), torch.rand(4, 3, dtype=torch.float64))
    assert optimizer.code_paths == {expected_code_path("cpu"), "tensor code"}
    assert copy.deepcopy(optimizer).code_paths == set()


@BOTH
@pytest.mark.parametrize("weight", [torch.rand(4, 3).double(), torch.rand(4, 3).bfloat16(), torch.rand(3, 4).t()])
def test_other_weights_take_the_tensor_code(optimizer_class, weight):
    assert one_step(optimizer_class, weight).code_paths == {"tensor code"}


@BOTH
def test_a_learning_rate_in_a_tensor_takes_the_tensor_code_on_the_cpu(optimizer_class):
    assert one_step(optimizer_class, torch.rand(4, 3), lr=torch.tensor(0.1)).code_paths == {"tensor code"}


@BOTH
def test_weights_off_the_sphere_and_weights_without_gradient_have_no_code_path(optimizer_class):
    params = [torch.nn.Parameter(torch.rand(4, 3)), torch.nn.Parameter(torch.rand(4))]
    optimizer = optimizer_class([{"params": params[:1]}, {"params": params[1:], "p": None}], lr=0.1, p=1.2)
    params[1].grad = torch.ones(4)
    optimizer.step()
    assert optimizer.code_paths == set()


def test_the_kernel_moves_all_weights_of_a_group_in_one_call(monkeypatch, path):
    if path == "tensors":
        pytest.skip("about the kernel")
    calls, step = [], c_step.step
    monkeypatch.setattr(
        c_step, "step", lambda pieces, *rows, **options: calls.append(len(pieces)) or step(pieces, *rows, **options)
    )
    one_step(LpSGDm, torch.rand(4, 3), torch.rand(2, 3, 3, 3), torch.rand(5, 2))
    assert calls == [3]


def test_the_expected_code_path_of_a_gpu(monkeypatch):
    monkeypatch.setattr(triton_step, "kernel_available", lambda: True)
    assert expected_code_path("cuda:1") == backends.TRITON == "Triton"
    monkeypatch.setattr(triton_step, "kernel_available", lambda: False)
    assert expected_code_path("cuda") == expected_code_path("meta") == backends.TENSOR_CODE


@pytest.mark.gpu
@BOTH
def test_on_a_gpu_the_code_path_is_the_expected_one(optimizer_class):
    for lr in (0.1, torch.tensor(0.1, device="cuda")):
        weight = torch.rand(4, 3, device="cuda")
        assert one_step(optimizer_class, weight, lr=lr).code_paths == {expected_code_path("cuda")}


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_channels_last_tensors_are_rows_in_one_order_of_memory(kernel_size):
    # cuDNN's gradient of a 1x1 conv has other strides than its weight, though both are contiguous.
    weight = torch.randn(8, 4, kernel_size, kernel_size).to(memory_format=torch.channels_last)
    grad = weight.clone(memory_format=torch.channels_last)
    if kernel_size == 1:
        weight = weight.contiguous().as_strided((8, 4, 1, 1), (4, 1, 1, 1))
        grad = grad.as_strided((8, 4, 1, 1), (4, 1, 4, 4))
        assert weight.stride() != grad.stride()
    a, b = memory_rows((weight, grad))
    assert a.shape == b.shape == (8, 4 * kernel_size**2) and a.is_contiguous() and b.is_contiguous()
    assert torch.equal(a, b) and a.data_ptr() == weight.data_ptr()
    mixed = (weight, torch.randn(8, 4, 3, 3))
    if kernel_size == 3:
        assert memory_rows(mixed) is mixed, "rows in two orders of memory would pair wrong weights"


@BOTH
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 2, 2), (5, 1), (2, 300)])
def test_active_entries_alone_move_as_the_weight_that_is_zero_elsewhere(optimizer_class, shape, density):
    """With a neuron that has none, one whose gradient is zero, and one whose gradient is not finite."""
    draw = torch.Generator().manual_seed(0)
    mask = torch.rand(shape, generator=draw) < density
    mask[1] = False
    pattern = Pattern(mask)
    whole = torch.nn.Parameter(torch.randn(shape, generator=draw) * mask)
    optimizers = [optimizer_class([whole], lr=0.1, p=1.3)]
    optimizers.append(copy.deepcopy(optimizers[0]))
    (active,) = optimizers[1].param_groups[0]["params"]
    active.data = pattern.gather(active)
    setattr(active, ATTRIBUTE, pattern)
    for step in range(4):
        whole.grad = torch.randn(shape, generator=draw) * mask
        whole.grad[0] *= step % 2
        if step == 2:
            whole.grad[-1][mask[-1]] = float("nan")
        active.grad = pattern.gather(whole.grad)
        for optimizer in optimizers:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                optimizer.step()
            assert len(caught) == bool(step == 2 and mask[-1].any())
    assert optimizers[0].nonfinite_neurons == optimizers[1].nonfinite_neurons == bool(mask[-1].any())
    torch.testing.assert_close(pattern.expand(active), whole.detach(), rtol=1e-4, atol=1e-6)
    for key, value in optimizers[1].state[active].items():
        torch.testing.assert_close(pattern.expand(value), optimizers[0].state[whole][key], rtol=1e-4, atol=1e-6)
