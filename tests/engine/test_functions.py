"""What autograd is told of products, expansions and batch normalisation."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from lpss.engine.functions import Expand, LeaveLayout, Normalize, SparseProduct
from lpss.engine.layout import empty, step_of, to_layout
from lpss.engine.pattern import PIXEL, Geometry, Pattern
from lpss.native import loader

IMAGES = Geometry(4, 3, (3, 2), (2, 1), (1, 0))
LAYERS = [((4, 5), PIXEL, (3, 5)), ((2, 2, 3, 2), IMAGES, (2, 2, 4, 3))]


@pytest.fixture
def needs_c_code():
    if loader.library() is None:
        pytest.skip("no C compiler here")


def pattern_of(shape):
    return Pattern(torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5)


def never():
    return False


@pytest.mark.parametrize("shape, geometry, input_shape", LAYERS)
def test_gradients_of_a_product_are_those_of_differences(shape, geometry, input_shape):
    pattern = pattern_of(shape)
    x, bias = torch.randn(input_shape, dtype=torch.float64), torch.randn(shape[0], dtype=torch.float64)
    leaves = [tensor.requires_grad_() for tensor in (x, torch.randn(len(pattern), dtype=torch.float64), bias)]
    assert torch.autograd.gradcheck(lambda *t: SparseProduct.apply(*t, pattern, geometry, never, None), leaves)
    x, values, _ = leaves
    assert torch.autograd.gradcheck(
        lambda *t: SparseProduct.apply(*t, None, pattern, geometry, never, None), [x, values]
    )


@pytest.mark.parametrize("shape, geometry, input_shape", LAYERS)
def test_only_the_gradients_that_are_needed_are_computed(shape, geometry, input_shape):
    pattern = pattern_of(shape)
    for needed in ((True, False, False), (False, True, False), (False, False, True)):
        leaves = [torch.randn(size) for size in (input_shape, len(pattern), shape[0])]
        for leaf, need in zip(leaves, needed, strict=True):
            leaf.requires_grad_(need)
        y = SparseProduct.apply(*leaves, pattern, geometry, never, None)
        y.sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == list(needed)


@pytest.mark.parametrize("shape, geometry, input_shape", LAYERS)
def test_the_dense_gradient_is_handed_over_where_it_is_wanted(shape, geometry, input_shape):
    pattern, taken = pattern_of(shape), []
    x, values = torch.randn(input_shape), torch.randn(len(pattern), requires_grad=True)
    SparseProduct.apply(x, values, None, pattern, geometry, lambda: True, taken.append).square().sum().backward()
    weight = pattern.expand(values).requires_grad_()
    y = F.linear(x, weight) if x.dim() == 2 else F.conv2d(x, weight, None, geometry.stride, geometry.padding)
    y.square().sum().backward()
    torch.testing.assert_close(taken[0], weight.grad)
    assert torch.equal(values.grad, pattern.gather(taken[0]))


def test_expansion_has_its_gradient_and_hands_over_the_dense_one():
    pattern, taken = pattern_of((4, 5)), []
    site = SimpleNamespace(pattern=pattern, want_dense=never, give_dense=taken.append)
    values = torch.randn(len(pattern), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: Expand.apply(values, site), values) and not taken
    site.want_dense = lambda: True
    gradient = torch.randn(4, 5, dtype=torch.float64)
    Expand.apply(values, site).backward(gradient)
    assert torch.equal(taken[0], gradient)


@pytest.mark.parametrize("which", ["product", "expansion", "norm"])
def test_a_gradient_of_a_gradient_is_a_clear_error(which, needs_c_code):
    pattern = pattern_of((4, 5))
    values, x = torch.randn(len(pattern), requires_grad=True), torch.randn(3, 5, requires_grad=True)
    y = {
        "product": lambda: SparseProduct.apply(x, values, None, pattern, PIXEL, never, None),
        "expansion": lambda: Expand.apply(values, SimpleNamespace(pattern=pattern, want_dense=never)),
        "norm": lambda: Normalize.apply(to_layout(x) + x, None, None, None, torch.empty(3, 5), False, True, 1e-5),
    }[which]()
    leaf = values if which == "expansion" else x
    (gradient,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        gradient.sum().backward()


def test_leaving_the_layout_changes_no_number_and_no_gradient():
    x = to_layout(torch.randn(17, 3, 4, 5)).requires_grad_()
    y = LeaveLayout.apply(x)
    gradient = torch.randn(y.shape)
    y.backward(gradient)
    assert torch.equal(y, x) and y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x.grad, gradient)


# --- batch normalisation --------------------------------------------------------------------------------------------

SHAPES = [(2, 5), (17, 40), (128, 3), (1, 3, 4, 5), (7, 70, 2, 3), (33, 4, 9, 9), (16, 2, 1, 2)]


def leaves(*tensors):
    return [None if tensor is None else tensor.detach().clone().requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_normalisation_and_its_gradients_are_torchs(needs_c_code, training, residual, relu):
    for shape in SHAPES:
        channels, random = shape[1], torch.Generator().manual_seed(len(shape))
        x, added, dy = (torch.randn(shape, generator=random) for _ in range(3))
        scale, bias, mean = (torch.randn(channels, generator=random) for _ in range(3))
        variance = torch.rand(channels, generator=random) + 0.5
        statistics = torch.stack((mean, (variance + 1e-5).rsqrt(), variance))
        mine = leaves(to_layout(x), scale, bias, to_layout(added) if residual else None)
        y = Normalize.apply(*mine, statistics, relu, training, 1e-5)
        right = leaves(*(t if t is None else t.double() for t in (x, scale, bias, added if residual else None)))
        wanted = F.batch_norm(right[0], mean.double(), variance.double(), right[1], right[2], training, 0.0, 1e-5)
        wanted = wanted + right[3] if residual else wanted
        edge = wanted.abs() < 1e-5  # where rounding decides whether ReLU passes the gradient
        wanted = wanted.relu() if relu else wanted
        torch.testing.assert_close(y.double(), wanted, rtol=1e-5, atol=1e-5)
        dy = dy.masked_fill(edge, 0.0)
        y.backward(to_layout(dy))
        wanted.backward(dy.double())
        for found, correct in zip(mine, right, strict=True):
            if found is not None:  # of two values a channel the gradient is what cancels
                tolerance = 1e-3 if y.numel() == 2 * channels else 2e-5
                assert (found.grad - correct.grad).abs().max() <= tolerance * (1 + correct.grad.abs().max()), shape
        if training:
            torch.testing.assert_close(statistics[0].double(), x.double().transpose(0, 1).flatten(1).mean(1))
            torch.testing.assert_close(statistics[2].double(), x.double().transpose(0, 1).flatten(1).var(1))


@pytest.mark.parametrize("count", [2, 3])
def test_normalisation_is_bitwise_the_same_whatever_the_number_of_threads(needs_c_code, threads, count):
    for shape in SHAPES:
        x, dy, statistics = torch.randn(shape), torch.randn(shape), torch.empty(3, shape[1])
        results = []
        for number in (1, count):
            threads(number)
            tensors = leaves(to_layout(x), torch.ones(shape[1]), torch.zeros(shape[1]), to_layout(dy))
            y = Normalize.apply(*tensors, statistics, True, True, 1e-5)
            y.backward(to_layout(dy))
            results.append([y.detach(), statistics.clone(), *(tensor.grad for tensor in tensors)])
        assert all(map(torch.equal, *results)), shape


@pytest.mark.parametrize("shape", [(200, 3), (20, 2, 5, 5), (5, 2, 4, 4)])
def test_a_mean_much_larger_than_the_deviation_costs_no_accuracy(needs_c_code, shape):
    x = torch.randn(shape, dtype=torch.float64).add(1e3).float()
    statistics = torch.empty(3, shape[1])
    y = Normalize.apply(to_layout(x), None, None, None, statistics, False, True, 1e-5)
    wanted = F.batch_norm(x.double(), None, None, training=True)
    torch.testing.assert_close(y.double(), wanted, rtol=0, atol=2e-4)  # x itself is known to 6e-5
    torch.testing.assert_close(statistics[2].double(), x.double().transpose(0, 1).flatten(1).var(1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", [(5, 3), (20, 3), (20, 3, 2, 2)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_passes_norm_and_relu_as_in_torch(needs_c_code, bad, shape):
    x = torch.randn(shape)
    x[3, 1] = bad
    statistics = torch.empty(3, 3)
    y = Normalize.apply(to_layout(x), None, None, None, statistics, True, True, 1e-5)
    wanted = F.batch_norm(x, None, None, training=True).relu()
    assert torch.equal(y.isnan(), wanted.isnan()) and y[:, 1].isnan().all()
    assert torch.isfinite(statistics).all(1).tolist() == [False] * 3 and statistics[2, 1].isnan()
    fixed = torch.tensor([[0.0] * 3, [1.0] * 3, [1.0] * 3])
    y = Normalize.apply(to_layout(x), None, None, None, fixed, True, False, 1e-5)
    assert torch.equal(y.nan_to_num(7.0, 8.0), x.relu().nan_to_num(7.0, 8.0))


@pytest.mark.parametrize("batch", [5, 20])
def test_the_gradient_through_relu_is_torchs_at_zero_too_and_not_zero_at_nan(needs_c_code, batch):
    x = torch.tensor([[0.0, -0.0, float("nan"), 2.0, -2.0]]).repeat(batch, 1)
    fixed = torch.stack((torch.zeros(5), torch.ones(5), torch.ones(5)))
    for residual in (None, torch.zeros(batch, 5)):
        mine = to_layout(x).requires_grad_()
        Normalize.apply(mine, None, None, residual, fixed, True, False, 0.0).backward(torch.ones(batch, 5))
        assert torch.equal(mine.grad.nan_to_num(1.0), torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0]).expand(batch, 5))


def test_an_output_keeps_the_layout(needs_c_code):
    x = empty((20, 3, 4, 4), torch.empty(0)).normal_()
    y = Normalize.apply(x, None, None, None, torch.empty(3, 3), False, True, 1e-5)
    assert step_of(y) == step_of(x) == 32
