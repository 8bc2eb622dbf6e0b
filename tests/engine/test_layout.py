"""Activations with the batch innermost: what is in the layout, what is copied into it, and out of it."""

import pytest
import torch

from lpss.engine import layout
from lpss.engine.layout import empty, from_layout, pixels_of, step_of, to_layout

SHAPES = [
    (1, 5),
    (2, 3),
    (16, 1),
    (17, 40),
    (33, 7),
    (1, 3, 4, 5),
    (2, 1, 3, 3),
    (20, 3, 1, 1),
    (17, 5, 6, 4),
    (64, 2, 1, 7),
]


def random(shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_batch_is_innermost_then_channels_and_a_batch_of_a_line_begins_at_one(shape):
    x = empty(shape, torch.empty(0, dtype=torch.float64))
    assert x.shape == shape and x.dtype == torch.float64
    step = step_of(x)
    assert step == shape[0] if shape[0] < 16 else step % 16 == 0 and shape[0] <= step < shape[0] + 16
    pixels = x.unsqueeze(0) if len(shape) == 2 else x.permute(2, 3, 0, 1).flatten(0, 1)
    for number, pixel in enumerate(pixels):
        for channel in range(shape[1]):
            start = pixel[0, channel].data_ptr() - x.data_ptr()
            assert start == 8 * step * (number * shape[1] + channel)
    if shape[0] > 1:
        assert x.stride(0) == 1
    assert pixels_of(shape) == len(pixels)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_copy_in_the_layout_and_back_is_bitwise_the_same(shape, dtype, native, request):
    if not native:
        request.getfixturevalue("without_c_code")
    x = random(shape, dtype)
    forms = [x, torch.cat((x, x))[: len(x)], torch.cat((x, x), 1)[:, : shape[1]], x.flip(0).flip(0)]
    forms += [x.transpose(0, 1).contiguous().transpose(0, 1)]
    if x.dim() == 4:
        forms += [x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)]
    for form in forms:
        there = to_layout(form)
        assert torch.equal(there, x) and step_of(there) is not None and not there.requires_grad
        assert to_layout(there) is not form and to_layout(there).data_ptr() == there.data_ptr()  # not copied again
        if x.dim() == 4:
            back = from_layout(there)
            assert torch.equal(back, x) and back.is_contiguous(memory_format=torch.channels_last)


def test_what_torch_makes_of_a_tensor_in_the_layout_by_elements_is_in_the_layout():
    for shape in SHAPES:
        x = to_layout(random(shape))
        for y in (torch.relu(x), x + 1, x * x, torch.nn.functional.silu(x), x.clone()):
            assert step_of(y) is not None


def test_tensors_that_only_look_like_it_are_copied():
    for expanded in (torch.ones(()).expand(20, 6), torch.ones(()).expand(20, 3, 2, 2), torch.ones(1, 6).expand(20, 6)):
        assert step_of(expanded) is None  # as gradients of sums are
        assert torch.equal(to_layout(expanded), expanded)
    overlapping = torch.arange(30.0).as_strided((20, 6), (1, 2))
    assert step_of(overlapping) is None and torch.equal(to_layout(overlapping), overlapping)
    assert step_of(torch.ones(3)) is None and step_of(torch.ones(2, 3, 4)) is None


def test_batches_that_do_not_begin_at_a_line_are_copied_where_that_is_asked_for():
    ragged = random((6, 20)).t()  # (20, 6), 20 numbers from one channel to the next
    assert step_of(ragged) == 20
    assert to_layout(ragged, aligned=False).data_ptr() == ragged.data_ptr()
    assert step_of(to_layout(ragged)) == 32 and torch.equal(to_layout(ragged), ragged)
    small = random((6, 7)).t()
    assert to_layout(small).data_ptr() == small.data_ptr()


@pytest.mark.parametrize("count", [2, 3])
def test_copies_are_the_same_however_many_threads_share_them(threads, count):
    x = random((33, 5, 4, 6))
    threads(count)
    assert layout.copy_threads(10) == count
    assert torch.equal(to_layout(x), x) and torch.equal(from_layout(to_layout(x)), x)


@pytest.mark.parametrize("work, count", [(2**15 - 1, 1), (2**16, 2), (2**30, 3)])
def test_little_work_is_not_shared(work, count):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert layout.copy_threads(work) == count and layout.work_threads(4 * work) == count
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(0, 5), (0, 3, 4, 4), (2, 3, 0, 4)])
def test_tensors_without_a_number_pass(shape):
    assert to_layout(torch.ones(shape)).shape == shape


@pytest.mark.parametrize("channels", [3, 5])
def test_torchs_batch_norm_computes_the_gradient_of_a_single_image_in_the_layout(channels):
    """It errs on strides that are unusual though they mean nothing, as that of a batch of one."""
    x, dy = random((1, channels, 4, 5), torch.float64), random((1, channels, 4, 5), torch.float64)
    bias = torch.zeros(channels, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.batch_norm(to_layout(x).requires_grad_(), None, None, torch.ones_like(bias), bias, True)
    y.backward(dy)
    torch.testing.assert_close(bias.grad, dy.sum((0, 2, 3)))
