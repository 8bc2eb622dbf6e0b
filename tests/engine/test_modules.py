"""Layers that compute sparse and what stands between them, each against torch's own module."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import lpss
from lpss.engine.layout import step_of, to_layout
from lpss.engine.modules import SparseConv2d, SparseLinear, exchange, obstacle
from lpss.errors import UsageError
from lpss.layers import all_layers


@pytest.fixture
def sparse():
    """sparse(module) -> (the dense module with a masked weight, one that computes the same from its active weights)."""

    def accelerate(module, density=0.4, **limits):
        torch.manual_seed(0)
        net = nn.ModuleList([module])
        method = lpss.Static(net, torch.optim.SGD(net.parameters(), lr=0.1), sparsity=1 - density, total_steps=10)
        dense = copy.deepcopy(module)
        lpss.accelerate(net, method, **limits)
        return dense, module

    return accelerate


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def check(dense, module, x, tolerance=1e-5):
    """Outputs and gradients of an input are those of the dense module."""
    mine, right = (x.detach().clone().requires_grad_() for _ in range(2))
    y, wanted = module(mine), dense(right)
    close(y, wanted, tolerance)
    dy = torch.randn_like(wanted)
    y.backward(dy)
    wanted.backward(dy)
    close(mine.grad, right.grad, tolerance)
    parameters = zip(module.parameters(), dense.parameters(), strict=True)
    for parameter, other in parameters:
        gradient = other.grad if parameter.shape == other.shape else module.site.pattern.gather(other.grad)
        close(parameter.grad, gradient, tolerance)
        parameter.grad = other.grad = None


LINEAR_INPUTS = [(7,), (5, 7), (2, 3, 7), (2, 3, 4, 7), (0, 7), (2, 0, 7)]


@pytest.mark.parametrize("shape", LINEAR_INPUTS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_takes_whatever_torchs_takes(sparse, shape, bias):
    dense, module = sparse(nn.Linear(7, 5, bias=bias))
    assert type(module) is SparseLinear and module._parameters["weight"].shape == (14,)
    check(dense, module, torch.randn(shape))


CONVS = {
    "same": dict(kernel_size=(5, 3), padding="same"),
    "valid": dict(kernel_size=3, padding="valid"),
    "uneven": dict(kernel_size=(2, 3), stride=(3, 1), padding=(0, 2)),
    "1x1": dict(kernel_size=1, stride=2),
    "no bias": dict(kernel_size=3, padding=1, bias=False),
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", CONVS)
def test_a_conv_layer_takes_batches_and_single_images_in_any_memory_order(sparse, name, native, request):
    if not native:
        request.getfixturevalue("without_c_code")
    dense, module = sparse(nn.Conv2d(3, 4, **CONVS[name]))
    assert type(module) is SparseConv2d
    for shape in ((2, 3, 6, 5), (17, 3, 4, 7), (3, 6, 6), (1, 3, 5, 5)):
        x = torch.randn(shape)
        check(dense, module, x)
        if len(shape) == 4:
            check(dense, module, x.contiguous(memory_format=torch.channels_last))
            check(dense, module, to_layout(x))


@pytest.mark.parametrize("shape", [(0, 3, 6, 6), (2, 3, 1, 6), (2, 4, 6, 6), (2, 3, 6, 6, 1)])
def test_what_torch_refuses_is_refused_by_torch_itself(sparse, shape):
    dense, module = sparse(nn.Conv2d(3, 4, 3))
    if not shape[0]:  # which is none
        assert module(torch.ones(shape)).shape == dense(torch.ones(shape)).shape
        return
    with pytest.raises(RuntimeError) as wanted:
        dense(torch.ones(shape))
    with pytest.raises(RuntimeError) as found:
        module(torch.ones(shape))
    assert str(found.value) == str(wanted.value)
    _, linear = sparse(nn.Linear(7, 5))
    for wrong in (torch.ones(2, 6), torch.ones(2, 7, dtype=torch.float64), torch.ones(2, 7, dtype=torch.long)):
        with pytest.raises(RuntimeError, match="mat1|dtype"):
            linear(wrong)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_layer_follows_its_net_to_another_dtype(sparse, dtype):
    dense, module = sparse(nn.Linear(7, 5))
    tolerance = 1e-12 if dtype == torch.float64 else 0.1
    check(dense.to(dtype), module.to(dtype), torch.randn(6, 7).to(dtype), tolerance)


@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_products_are_in_float32(sparse, x_dtype):
    for made, shape in ((nn.Linear(7, 5), (20, 7)), (nn.Conv2d(3, 4, 3), (20, 3, 5, 5))):
        dense, module = sparse(made)
        x = torch.randn(shape).to(x_dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = module(x)
        assert y.dtype == torch.float32 and step_of(y)
        close(y, dense(x.float()))
        y.sum().backward()
        assert x.grad.dtype == x_dtype


# --- the weight, as others see it -----------------------------------------------------------------------------------


def test_the_weight_that_is_read_is_the_dense_one_with_its_gradient(sparse):
    for made in (nn.Linear(7, 5), nn.Conv2d(3, 4, 3)):
        dense, module = sparse(made)
        assert torch.equal(module.weight, dense.weight) and module.weight.shape == dense.weight.shape
        module.weight.square().sum().backward()
        dense.weight.square().sum().backward()
        assert torch.equal(module._parameters["weight"].grad, module.site.pattern.gather(dense.weight.grad))
        other = module.weight * 2
        assert type(other) is torch.Tensor and type(module.weight.detach()) is torch.Tensor
        with torch.no_grad():
            assert not module.weight.requires_grad and torch.equal(module.weight.abs(), dense.weight.abs())
        assert torch.equal(torch.zeros(dense.weight.shape).copy_(module.weight), dense.weight)
        file = io.BytesIO()
        torch.save(module.weight.detach().clone(), file)
        with torch.no_grad():
            torch.save(module.weight, file := io.BytesIO())
        file.seek(0)
        assert torch.equal(torch.load(file, weights_only=True), dense.weight)


WRITES = {
    "method": lambda w: w.mul_(2.0),
    "operator": lambda w: w.__imul__(2.0),
    "item": lambda w: w.__setitem__(0, 1.0),
    "copy": lambda w: w.copy_(torch.zeros(5, 7)),
    "data": lambda w: w.data.zero_(),
    "new data": lambda w: setattr(w, "data", torch.zeros(5, 7)),
    "gradient": lambda w: setattr(w, "grad", torch.zeros(5, 7)),
    "requires_grad": lambda w: w.requires_grad_(False),
    "init": lambda w: nn.init.kaiming_uniform_(w),
    "other init": lambda w: nn.init.orthogonal_(w),
    "out": lambda w: torch.add(torch.ones(5, 7), 1.0, out=w),
    "foreach": lambda w: torch._foreach_mul_([w], 2.0),
}


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("way", WRITES)
def test_writing_to_what_is_read_of_a_sparse_weight_is_an_error(sparse, way, grad):
    _, module = sparse(nn.Linear(7, 5))
    with (
        torch.set_grad_enabled(grad),
        pytest.raises(UsageError, match="write to the weight within `with method.dense_w"),
    ):
        WRITES[way](module.weight)


def test_a_weight_is_written_to_through_its_parameter_or_while_weights_are_dense(make):
    run = make("static")
    layer = run.net[0]
    with torch.no_grad():
        for parameter in run.net.parameters():
            parameter.mul_(0.5)
    assert run.sparse() == ["0", "3", "5"]
    before = layer.weight.detach().clone()
    with run.method.dense_weights(), torch.no_grad():
        layer.weight.mul_(0.5)
        layer.weight.data[0, 0] = 0.0
    assert run.sparse() == ["0", "3", "5"]
    expected = before * 0.5
    expected[0, 0] = 0.0
    assert torch.equal(layer.weight, expected)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_compute_the_same_train_by_themselves_and_take_dense_weights(sparse, way):
    dense, module = sparse(nn.Linear(7, 5))
    other, x = way(module), torch.randn(3, 7)
    assert torch.equal(other(x), module(x)) and other.site is not module.site and other.site.owner is None
    with torch.no_grad():
        next(other.parameters()).zero_()
    close(module(x), dense(x))
    close(other(x), dense.bias.expand(3, 5))
    state = {"weight": torch.randn(5, 7), "bias": torch.randn(5)}
    other.load_state_dict(state)
    assert other._parameters["weight"].shape == (5, 7)
    close(other(x), nn.functional.linear(x, state["weight"], state["bias"]))
    assert module.site.pattern is not None


def test_a_shallow_copy_leaves_the_layer_where_it_was(sparse):
    _, module = sparse(nn.Linear(7, 5))
    other = copy.copy(module)
    assert module.site.module is module and torch.equal(other(torch.ones(2, 7)), module(torch.ones(2, 7)))


def test_weights_that_functional_call_puts_in_the_place_are_used(sparse):
    dense, module = sparse(nn.Linear(7, 5))
    x = torch.randn(4, 7)
    others = {"weight": torch.randn(5, 7, requires_grad=True), "bias": torch.zeros(5)}
    y = torch.func.functional_call(module, others, x)
    close(y, x @ others["weight"].T)
    y.sum().backward()
    assert others["weight"].grad.all()
    own = {name: parameter * 2 for name, parameter in module.named_parameters()}
    close(torch.func.functional_call(module, own, x), 2 * dense(x))


def test_transforms_of_functions_are_refused_by_torch(sparse):
    _, module = sparse(nn.Linear(7, 5))
    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.vmap(module)(torch.randn(3, 7))


# --- pools ----------------------------------------------------------------------------------------------------------


def fast(module):
    other = copy.deepcopy(module)
    exchange(other)
    return other


@pytest.mark.parametrize(
    "module",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.MaxPool2d((2, 3), dilation=(1, 2), ceil_mode=True),
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
        nn.AvgPool2d((2, 3), ceil_mode=True, divisor_override=5),
    ],
    ids=str,
)
def test_pools_are_torchs_and_keep_the_layout(module):
    other = fast(module)
    for shape in ((32, 3, 6, 7), (20, 3, 6, 7), (2, 1, 7, 7), (1, 3, 6, 6), (3, 6, 7)):
        x = torch.randn(shape)
        x.flatten()[::7] = float("nan") if isinstance(module, nn.MaxPool2d) else 0.0
        mine, right = (x.clone().requires_grad_() for _ in range(2))
        y, wanted = other(to_layout(mine) + 0 * mine if x.dim() == 4 else mine), module(right)
        torch.testing.assert_close(y, wanted, equal_nan=True)
        if shape[0] == 32:
            assert step_of(other(to_layout(x))) == 32
    indices = nn.MaxPool2d(2, return_indices=True)
    x = torch.randn(32, 3, 4, 4)
    assert all(map(torch.equal, fast(indices)(to_layout(x)), indices(x)))


@pytest.mark.parametrize("module", [nn.MaxPool2d(2), nn.AvgPool2d(3, padding=1)], ids=str)
def test_gradients_pass_pools(module):
    x = torch.randn(32, 3, 6, 7)
    mine, right = to_layout(x).requires_grad_(), x.clone().requires_grad_()
    dy = torch.randn(module(x).shape)
    fast(module)(mine).backward(dy)
    module(right).backward(dy)
    close(mine.grad, right.grad)


# --- which layers can compute sparse --------------------------------------------------------------------------------


def layer_of(module):
    net = nn.ModuleList([module])
    return next(layer for layer in all_layers(net) if layer.module is module)


class OwnLinear(nn.Linear):
    """One that may do anything."""


@pytest.mark.parametrize(
    "module, why",
    [
        (nn.Linear(4, 4), None),
        (nn.Conv2d(4, 4, 3, padding="same", stride=1), None),
        (OwnLinear(4, 4), "a OwnLinear"),
        (nn.Conv1d(4, 4, 3), "a Conv1d"),
        (nn.ConvTranspose2d(4, 4, 3), "a ConvTranspose2d"),
        (nn.LSTM(4, 4), "a LSTM"),
        (nn.Conv2d(4, 4, 3, groups=2), "a convolution in groups"),
        (nn.Conv2d(4, 4, 3, dilation=2), "a dilated convolution"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "padded by reflect"),
        (nn.Conv2d(4, 4, 2, padding="same"), "padded unevenly"),
        (nn.Linear(4, 4, dtype=torch.bfloat16), "of bfloat16"),
        (nn.Linear(4, 4, device="meta"), "on meta, where dense products are faster"),
        (parametrizations.weight_norm(nn.Linear(4, 4)), "a ParametrizedLinear"),
        (prune.identity(nn.Linear(4, 4), "weight"), "its weight is parametrized"),
    ],
    ids=str,
)
def test_what_stands_in_the_way_of_computing_sparse_is_said(module, why):
    assert obstacle(layer_of(module)) == why


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_older_weight_norm_stands_in_the_way_too():
    assert obstacle(layer_of(torch.nn.utils.weight_norm(nn.Linear(4, 4)))) == "its weight is parametrized"
