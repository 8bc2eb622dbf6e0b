"""Products with active weights alone: by the C code, or by torch's CSR products, which give the same numbers.

All take and give activations in the kernels' layout (layout.py). Weights and biases are (active,) and (neurons,).
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lpss.engine.layout import LINE, copy_threads, empty, pixels_of, step_of, work_threads
from lpss.engine.pattern import Geometry, Pattern
from lpss.native import loader

AT_ONCE = 2**22  # numbers in memory at once, of the products of torch's code


def usable(*tensors: Tensor | None) -> bool:
    """Whether the C code takes these: float32 on the CPU, and there is C code."""
    for x in tensors:
        if x is not None and (x.dtype != torch.float32 or not x.is_cpu):
            return False
    return loader.library() is not None


def code_path() -> str:
    """The implementation that float32 layers use, as a run's record shows it."""
    return "C kernel" if loader.library() is not None else "tensor code"


def product(pattern: Pattern, geometry: Geometry, x: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """y = W x + bias, (batch, neurons) or (batch, neurons, height, width)."""
    shape = (x.shape[0], pattern.neurons, *(geometry.output if x.dim() == 4 else ()))
    y = empty(shape, x)
    if not y.numel():
        return y
    if usable(x, values, bias):
        if 1 < x.shape[0] < LINE:
            return _first(product(pattern, geometry, _filled(x), values, bias), x.shape[0])
        _multiply(pattern.plans(geometry)[0], x, values, bias, y)
        return y
    flat = _csr(pattern, values) @ _unfold(x, geometry)  # (neurons, pixels x batch)
    if bias is not None:
        flat = flat + bias.unsqueeze(1)
    return _from_rows(flat, y)


def input_gradient(pattern: Pattern, geometry: Geometry, dy: Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    """The gradient of x, of this shape, from that of y."""
    dx = empty(tuple(shape), dy)
    if not dx.numel():
        return dx
    if usable(dy, values):
        if 1 < dy.shape[0] < LINE:
            return _first(input_gradient(pattern, geometry, _filled(dy), values, (LINE, *shape[1:])), dy.shape[0])
        _multiply(pattern.plans(geometry)[1], dy, values, None, dx)
        return dx
    return _fold(_csr_transposed(pattern, values) @ _rows(dy), geometry, dx)


def weight_gradient(pattern: Pattern, geometry: Geometry, x: Tensor, dy: Tensor) -> Tensor:
    """The gradient of the active weights, (active,)."""
    if not dy.numel() or not x.numel() or not len(pattern):
        return torch.zeros(len(pattern), dtype=x.dtype, device=x.device)
    if usable(x, dy):
        if 1 < x.shape[0] < LINE:
            x, dy = _filled(x), _filled(dy)
        gradient, plan = torch.empty(len(pattern)), pattern.plans(geometry)[0]
        batch = x.shape[0]
        loader.library().sparse_gradient(
            plan.pointer,
            x.data_ptr(),
            dy.data_ptr(),
            gradient.data_ptr(),
            batch,
            step_of(x),
            step_of(dy),
            work_threads(plan.work * batch),
        )
        return gradient
    inputs, outputs = _unfold(x, geometry), _rows(dy)
    row, column = _row_and_column(pattern)
    step = max(1, AT_ONCE // inputs.shape[1])
    parts = [(outputs[row[at : at + step]] * inputs[column[at : at + step]]).sum(1) for at in range(0, len(row), step)]
    return torch.cat(parts)


def dense_weight_gradient(pattern: Pattern, geometry: Geometry, x: Tensor, dy: Tensor) -> Tensor:
    """The gradient of all weights, in the weight's shape: one dense product."""
    if x.dim() == 2:
        return (dy.t() @ x).view(pattern.shape)
    x, dy = (y.contiguous(memory_format=torch.channels_last) for y in (x, dy))
    weight = torch.empty(pattern.shape, dtype=x.dtype, device=x.device)
    return torch.ops.aten.convolution_backward(
        dy,
        x,
        weight,
        None,
        geometry.stride,
        geometry.padding,
        (1, 1),
        False,
        (0, 0),
        1,
        (False, True, False),
    )[1]


def bias_gradient(dy: Tensor) -> Tensor:
    """The gradient of the bias, (neurons,)."""
    if not usable(dy) or not dy.numel():
        return dy.sum([dim for dim in range(dy.dim()) if dim != 1])
    sums = torch.empty(dy.shape[1])
    loader.library().sum_channels(
        dy.data_ptr(),
        sums.data_ptr(),
        pixels_of(dy.shape),
        dy.shape[1],
        dy.shape[0],
        step_of(dy),
        copy_threads(dy.numel()),
    )
    return sums


def _filled(x: Tensor) -> Tensor:
    """A batch of less than a line, with zeros up to a line, which takes a third of the time."""
    whole = empty((LINE, *x.shape[1:]), x).zero_()
    whole[: x.shape[0]] = x
    return whole


def _first(y: Tensor, count: int) -> Tensor:
    """The first entries of the batch; to autograd no view."""
    return y[:count].data


def _multiply(plan, x: Tensor, values: Tensor, bias: Tensor | None, y: Tensor) -> None:
    batch = x.shape[0]
    loader.library().sparse_product(
        plan.pointer,
        x.data_ptr(),
        values.data_ptr(),
        None if bias is None else bias.data_ptr(),
        y.data_ptr(),
        batch,
        step_of(x),
        step_of(y),
        work_threads(plan.work * batch),
    )


# --- torch's code: W as a CSR matrix (neurons, channels x taps), images unfolded ------------------------------------


def _row_and_column(pattern: Pattern) -> tuple[Tensor, Tensor]:
    columns = pattern.channels * pattern.kernel[0] * pattern.kernel[1]
    flat = pattern.flat.long()
    return flat.div(columns, rounding_mode="floor"), flat % columns


def _csr(pattern: Pattern, values: Tensor) -> Tensor:
    order = torch.argsort(pattern.flat)
    column = _row_and_column(pattern)[1][order]
    shape = (pattern.neurons, pattern.channels * pattern.kernel[0] * pattern.kernel[1])
    return _matrix(pattern.rows.starts.long(), column, values[order], shape)


def _csr_transposed(pattern: Pattern, values: Tensor) -> Tensor:
    row, column = _row_and_column(pattern)
    size = pattern.channels * pattern.kernel[0] * pattern.kernel[1]
    order = torch.argsort(column * pattern.neurons + row)
    starts = torch.zeros(size + 1, dtype=torch.long)
    starts[1:] = torch.bincount(column, minlength=size).cumsum(0)
    shape = (size, pattern.neurons)
    return _matrix(starts, row[order], values[order], shape)


def _matrix(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*CSR.*beta")
        return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)


def _rows(y: Tensor) -> Tensor:
    """(batch, neurons, ...) -> (neurons, batch x pixels)."""
    return y.transpose(0, 1).flatten(1)


def _from_rows(flat: Tensor, y: Tensor) -> Tensor:
    batch, neurons, *sides = y.shape
    return y.copy_(flat.view(neurons, batch, *sides).transpose(0, 1))


def _unfold(x: Tensor, g: Geometry) -> Tensor:
    """(channels x taps, batch x pixels)."""
    if x.dim() == 2:
        return x.t()
    return F.unfold(x.contiguous(), g.kernel, padding=g.padding, stride=g.stride).transpose(0, 1).flatten(1)


def _fold(columns: Tensor, g: Geometry, dx: Tensor) -> Tensor:
    if dx.dim() == 2:
        return dx.copy_(columns.t())
    patches = columns.view(len(columns), dx.shape[0], -1).transpose(0, 1).contiguous()
    return dx.copy_(F.fold(patches, dx.shape[2:], g.kernel, padding=g.padding, stride=g.stride))
