"""Norms that do the ReLU and the residual after them, and sequences in which they do, against torch's own."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lpss.engine.channels_last import WIDEST, NormalizeRows
from lpss.engine.functions import Normalize
from lpss.engine.layout import to_layout
from lpss.engine.modules import BETWEEN, FastSequential, exchange, exchange_between, plain
from lpss.native import loader


@pytest.fixture
def needs_c_code():
    if loader.library() is None:
        pytest.skip("no C compiler here")


@pytest.fixture(autouse=True)
def seeded():
    """The same numbers each time: of others rounding to bfloat16 may decide where ReLU is zero."""
    torch.manual_seed(0)


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def check(module, other, x, tolerance):
    """Outputs and gradients of two modules are the same, of this input."""
    mine, right = (x.detach().clone().requires_grad_() for _ in range(2))
    y, wanted = other(mine), module(right)
    close(y, wanted, tolerance)
    dy = torch.randn_like(wanted)
    y.backward(dy)
    wanted.backward(dy)
    close(mine.grad, right.grad, tolerance)
    for one, two in zip(other.parameters(), module.parameters(), strict=True):
        close(one.grad, two.grad, tolerance)
        one.grad = two.grad = None


def fast(module):
    """A copy that has been exchanged."""
    other = copy.deepcopy(module)
    exchange(other)
    return other


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


# --- in the kernels' layout -------------------------------------------------------------------------------------------

NORMS = [
    nn.BatchNorm2d(3),
    nn.BatchNorm2d(3, momentum=None),
    nn.BatchNorm2d(3, affine=False),
    nn.BatchNorm2d(3, track_running_stats=False),
    nn.BatchNorm2d(3, eps=0.1, momentum=0.7),
    nn.BatchNorm1d(3),
    nn.BatchNorm1d(3, momentum=None, affine=False, track_running_stats=False),
]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("module", NORMS, ids=str)
def test_norms_are_torchs_with_their_running_statistics(module, native, request):
    if not native:
        request.getfixturevalue("without_c_code")
    other = fast(module)
    for training in (True, True, True, False):
        module.train(training)
        other.train(training)
        for batch in (20, 17, 2):
            x = torch.randn(batch, 3, *(() if isinstance(module, nn.BatchNorm1d) else (4, 2))) * 3 + 1
            check(module, other, to_layout(x), 2e-4)
            for a, b in zip(other.state_dict().values(), module.state_dict().values(), strict=True):
                close(a, b)
    plain(other)
    assert type(other) is type(module) and vars(other).keys() == vars(module).keys()


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("form", [to_layout, channels_last, torch.clone])
def test_a_residual_and_relu_are_added_whatever_memory_order_they_come_in(relu, form):
    module, x, residual = nn.BatchNorm2d(3), torch.randn(20, 3, 4, 4), torch.randn(20, 3, 4, 4)
    other = fast(module)
    assert other.fuses_relu
    for a, b in ((x, residual), (x, residual[:1]), (x, residual.double()), (x, residual.bfloat16())):
        wanted = module(a) + b
        wanted = wanted.relu() if relu else wanted
        y = other(to_layout(a), form(b), relu=relu)
        assert y.dtype == wanted.dtype
        close(y, wanted, 1e-2 if b.dtype == torch.bfloat16 else 1e-5)


BOTH_NORMS = [nn.BatchNorm1d(3), nn.BatchNorm2d(3)]
REFUSED = [(module, shape) for module in BOTH_NORMS for shape in ((1, 3), (1, 3, 1, 1), (2, 4), (2, 4, 2, 2), (3,))]
REFUSED += [(BOTH_NORMS[0], (2, 3, 2, 2)), (BOTH_NORMS[1], (2, 3)), (BOTH_NORMS[1], (2, 3, 2, 2, 2))]


@pytest.mark.parametrize("module, shape", REFUSED)
def test_norms_refuse_what_torchs_refuse(module, shape):
    x = torch.ones(shape)
    with pytest.raises((ValueError, RuntimeError)) as wanted:
        module(x)
    with pytest.raises(type(wanted.value)) as found:
        fast(module)(to_layout(x) if x.dim() in (2, 4) else x)
    assert str(found.value) == str(wanted.value)


# --- with channels last -----------------------------------------------------------------------------------------------

SHAPES = [
    (128, 16, 6, 5),
    (3, 5, 7, 3),
    (5, 12, 1, 1),
    (7, 100, 3, 2),
    (6, 64, 3, 3),
    (2, 1, 3, 3),
    (1, 3, 4, 5),
    (33, 48, 1, 2),
]
TOLERANCE = {torch.float32: 3e-5, torch.bfloat16: 1.5e-2}


def leaf(x):
    return None if x is None else x.detach().clone().requires_grad_()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_images_with_channels_last_are_normalised_as_in_double_precision(needs_c_code, dtype, residual, relu, training):
    for shape in SHAPES:
        draw = torch.Generator().manual_seed(len(shape))
        x, added, dy = (channels_last(torch.randn(shape, generator=draw).to(dtype)) for _ in range(3))
        right = nn.BatchNorm2d(shape[1]).double().train(training)
        for tensor in (right.weight, right.bias, right.running_mean):
            tensor.data.copy_(torch.randn(shape[1], generator=draw))
        other = fast(copy.deepcopy(right).float())
        mine, my_added = leaf(x), leaf(added if residual else None)
        assert other._function(mine, my_added) in (NormalizeRows, Normalize)  # one image in float32 is in both layouts
        y = other(mine, my_added, relu=relu)
        his, his_added = leaf(x.double()), leaf(added.double() if residual else None)
        wanted = right(his) + his_added if residual else right(his)
        edge = wanted.abs() < TOLERANCE[dtype]  # where rounding decides whether ReLU passes the gradient
        wanted = wanted.relu() if relu else wanted
        dy = dy.masked_fill(edge, 0.0)
        y.backward(dy)
        wanted.backward(dy.double())
        assert y.dtype == dtype and y.shape == x.shape and y.is_contiguous(memory_format=torch.channels_last)
        pairs = [
            (y, wanted),
            (mine.grad, his.grad),
            *((a.grad, b.grad) for a, b in zip(other.parameters(), right.parameters(), strict=True)),
        ]
        pairs += [(my_added.grad, his_added.grad)] if residual else []
        pairs += list(zip(other.buffers(), right.buffers(), strict=True))
        for found, correct in pairs:
            assert (found - correct).abs().max() <= TOLERANCE[dtype] * (1 + correct.abs().max()), shape


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rounding_to_bfloat16_is_to_the_nearest_even(needs_c_code, dtype):
    module = fast(nn.BatchNorm2d(64, eps=0.0)).eval()
    x = channels_last(torch.randn(9, 64, 3, 5).to(dtype))
    added = channels_last((torch.randn(9, 64, 3, 5) * 3).to(dtype))
    assert torch.equal(module(x, added), (x.float() + added.float()).to(dtype))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_they_are_bitwise_the_same_whatever_the_number_of_threads(needs_c_code, threads, count, dtype):
    for shape in SHAPES:
        x, added, dy = (channels_last(torch.randn(shape).to(dtype)) for _ in range(3))
        results = []
        for number in (1, count):
            threads(number)
            module, mine, mine_added = fast(nn.BatchNorm2d(shape[1])), leaf(x), leaf(added)
            y = module(mine, mine_added, relu=True)
            y.backward(dy)
            results.append([y.detach(), mine.grad, mine_added.grad, module.weight.grad, *module.buffers()])
        assert all(map(torch.equal, *results)), shape


def test_a_mean_much_larger_than_the_deviation_costs_no_accuracy(needs_c_code):
    x = channels_last(torch.randn(20, 5, 5, 5, dtype=torch.float64).add(1e3).float())
    wanted = F.batch_norm(x.double(), None, None, training=True)
    torch.testing.assert_close(fast(nn.BatchNorm2d(5))(x).double(), wanted, rtol=0, atol=2e-4)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_passes_as_in_torch(needs_c_code, bad, dtype):
    module, x = nn.BatchNorm2d(3, eps=0.0), torch.randn(5, 3, 2, 2).to(dtype)
    x[3, 1, 0, 1] = bad
    y = fast(module)(channels_last(x), relu=True)
    assert y[:, 1].isnan().all() and torch.isfinite(y[:, ::2]).all()
    y = fast(module).eval()(channels_last(x), relu=True)
    assert torch.equal(y.nan_to_num(7.0, 8.0), x.relu().nan_to_num(7.0, 8.0))


def test_a_gradient_or_a_residual_in_another_memory_order_is_taken(needs_c_code):
    module, x, added, dy = nn.BatchNorm2d(6), *(torch.randn(20, 6, 3, 2) for _ in range(3))
    for form in (to_layout, torch.clone):
        other, mine, his = fast(module), leaf(channels_last(x)), leaf(x)
        other(mine, form(added), relu=True).backward(form(dy))
        (copy.deepcopy(module)(his) + added).relu().backward(dy)
        close(mine.grad, his.grad)


def test_what_does_not_fit_is_left_to_torch(needs_c_code):
    module, x = fast(nn.BatchNorm2d(6)), channels_last(torch.randn(20, 6, 3, 2))
    assert module._function(x, None) is NormalizeRows
    assert module._function(x.clone(memory_format=torch.contiguous_format), None) is None
    assert module._function(x, x.bfloat16()) is None and module._function(x, x[:1]) is None
    assert module._function(x.half(), None) is None
    odd = WIDEST // 64 + 1
    assert fast(nn.BatchNorm2d(odd))._function(channels_last(torch.randn(2, odd, 3, 3)), None) is None
    assert fast(nn.BatchNorm2d(6, affine=False))._function(x, None) is None
    assert fast(nn.BatchNorm2d(6).bfloat16())._function(x.bfloat16(), None) is None


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_without_c_code_torch_computes_the_same(dtype, request):
    module, x, sign = nn.BatchNorm2d(6), *(channels_last(torch.randn(20, 6, 3, 2).to(dtype)) for _ in range(2))
    added = 8 * sign.sign()  # rounding must not decide where ReLU is zero
    results = []
    for native in (True, False):
        if not native:
            request.getfixturevalue("without_c_code")
        other, mine = fast(module), leaf(x)
        y = other(mine, added, relu=True)
        y.backward(torch.ones_like(y))
        results.append((y.detach(), mine.grad, other.running_mean, other.running_var, other.num_batches_tracked))
    for one, two in zip(*results, strict=True):
        close(one, two, TOLERANCE[dtype])


def test_a_gradient_of_a_gradient_is_a_clear_error(needs_c_code):
    module, x = fast(nn.BatchNorm2d(3)), leaf(channels_last(torch.randn(2, 3, 2, 2)))
    (gradient,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        gradient.sum().backward()


def test_an_output_can_be_changed_in_place(needs_c_code):
    """As by nn.ReLU(inplace=True) after a norm that is watched by a hook."""
    module, x, his = nn.BatchNorm2d(3), leaf(channels_last(torch.randn(5, 3, 2, 2))), None
    other, his = fast(module), leaf(x)
    F.relu(other(x), inplace=True).sum().backward()
    F.relu(module(his)).sum().backward()
    close(x.grad, his.grad)


# --- a net's norms ----------------------------------------------------------------------------------------------------


def test_of_a_dense_net_norms_of_images_and_sequences_alone_are_exchanged():
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.BatchNorm1d(3)
    )
    before = [type(module) for module in net.modules()]
    changed = exchange_between(net, sparse=False)
    assert changed == [net, net[1]] and exchange_between(net, sparse=False) == []
    for module in changed:
        plain(module)
    assert [type(module) for module in net.modules()] == before


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.BatchNorm2d(3, device="meta"), nn.BatchNorm2d(3, affine=False)])
def test_a_net_without_norms_of_images_on_the_cpu_stays_what_it_is(norm):
    assert exchange_between(nn.Sequential(norm, nn.ReLU()), sparse=False) == []


# --- sequences --------------------------------------------------------------------------------------------------------


def sequence(relu=None):
    torch.manual_seed(0)
    relu = relu or nn.ReLU()
    return nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), relu, nn.Linear(5, 5), relu, nn.BatchNorm1d(5))


def fused(net):
    """The net with all that can be exchanged, of which the norms note how they are called."""
    other, calls = copy.deepcopy(net), []
    for module in other.modules():
        if type(module) in BETWEEN:
            exchange(module)
    for module in other.modules():
        if isinstance(module, nn.BatchNorm1d):
            original = module._normalize

            def note(function, x, residual, relu, original=original):
                calls.append(relu)
                return original(function, x, residual, relu)

            module._normalize = note
    return other, calls


@pytest.mark.parametrize("inplace", [False, True])
def test_in_a_sequence_a_norm_does_the_relu_that_comes_next_and_no_other(inplace, needs_c_code):
    net = sequence(nn.ReLU(inplace))
    other, calls = fused(net)
    assert type(other) is FastSequential
    x = torch.randn(20, 7)
    layout = nn.Linear.forward
    other[0].forward = lambda x: to_layout(layout(other[0], x))
    other[3].forward = lambda x: to_layout(layout(other[3], x))
    close(other(x), net(x))
    assert calls == [True, False]
    calls.clear()
    close(other[:2](x), net[:2](x))  # a part of it that ends with the norm
    close(other[1](other[0](x)), net[1](net[0](x)))
    assert calls == [False, False]


def test_an_empty_sequence_gives_back_its_input():
    x = torch.ones(2, 3)
    assert fast(nn.Sequential())(x) is x


@pytest.mark.parametrize("index", [1, 2])
@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
def test_hooks_see_what_they_would_see_in_torchs_own_net(hook, index):
    net = sequence()
    other, _ = fused(net)
    seen = {net: [], other: []}
    for owner, notes in seen.items():
        getattr(owner[index], hook)(lambda module, *tensors, notes=notes: notes.append(tensors))
    x = torch.randn(20, 7)
    net(x).sum().backward()
    other(x).sum().backward()
    for a, b in zip(
        torch.utils._pytree.tree_leaves(seen[net]), torch.utils._pytree.tree_leaves(seen[other]), strict=True
    ):
        close(a, b)
    assert seen[net]
