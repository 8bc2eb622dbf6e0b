"""What autograd is told: products with active weights, their expansion to a dense weight, and batch normalisation."""

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lpss.engine import products
from lpss.engine.layout import copy_threads, empty, from_layout, pixels_of, pointer, step_of, to_layout
from lpss.engine.pattern import Geometry, Pattern
from lpss.engine.site import Site
from lpss.native import loader


class SparseProduct(torch.autograd.Function):
    """y = W x + bias of the active weights `values` (active,).

    `want_dense()` says in backward whether the weight's dense gradient is needed, `give_dense` takes it then.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        pattern: Pattern,
        geometry: Geometry,
        want_dense: Callable[[], bool],
        give_dense: Callable[[Tensor], None],
    ) -> Tensor:
        shape = x.shape
        x = to_layout(x)
        ctx.save_for_backward(x if values.requires_grad else None, values)
        ctx.pattern, ctx.geometry, ctx.shape = pattern, geometry, shape
        ctx.want_dense, ctx.give_dense = want_dense, give_dense
        return products.product(pattern, geometry, x, values.detach(), None if bias is None else bias.detach())

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, values = ctx.saved_tensors
        dy = to_layout(dy)
        for_x, for_values, for_bias = ctx.needs_input_grad[:3]
        dx = dvalues = dbias = None
        if for_x:
            dx = products.input_gradient(ctx.pattern, ctx.geometry, dy, values.detach(), ctx.shape)
        if for_values and ctx.want_dense():
            dense = products.dense_weight_gradient(ctx.pattern, ctx.geometry, x, dy)
            dvalues = ctx.pattern.gather(dense)
            ctx.give_dense(dense)
        elif for_values:
            dvalues = products.weight_gradient(ctx.pattern, ctx.geometry, x, dy)
        if for_bias:
            dbias = products.bias_gradient(dy)
        return dx, dvalues, dbias, None, None, None, None


class LeaveLayout(torch.autograd.Function):
    """Images in the kernels' layout -> channels last, which torch's dense convolutions take without a copy."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return from_layout(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient


class Expand(torch.autograd.Function):
    """The active weights that a site holds (active,) -> the dense weight."""

    @staticmethod
    def forward(ctx, values: Tensor, site: Site) -> Tensor:
        ctx.site, ctx.pattern = site, site.pattern
        return site.pattern.expand(values)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        if ctx.site.want_dense():
            ctx.site.give_dense(gradient)
        return ctx.pattern.gather(gradient), None


class _Norm(ctypes.Structure):
    _fields_ = (
        [(name, ctypes.c_int64) for name in ("pixels", "channels", "batch", "x_step", "y_step", "residual_step")]
        + [(name, ctypes.c_void_p) for name in ("x", "y", "residual", "scale", "bias", "mean", "inverse")]
        + [(name, ctypes.c_int) for name in ("relu", "training", "added")]
    )

    @classmethod
    def of(cls, x: Tensor, y: Tensor | None, relu: bool, training: bool, **tensors: Tensor | None) -> "_Norm":
        residual = tensors.get("residual")
        return cls(
            pixels_of(x.shape),
            x.shape[1],
            x.shape[0],
            step_of(x),
            0 if y is None else step_of(y),
            0 if residual is None else step_of(residual),
            x.data_ptr(),
            pointer(y),
            relu=relu,
            training=training,
            added=residual is not None or y is not None,
            **{name: pointer(tensor) for name, tensor in tensors.items()},
        )


class _Gradients(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("dx", "dresidual", "dscale", "dbias")] + [("step", ctypes.c_int64)]


class Normalize(torch.autograd.Function):
    """relu(norm(x) + residual) of float32 activations in the layout; residual and ReLU may be left out.

    In training `statistics` (3, channels) is written: the batch's mean, 1 / deviation, and unbiased variance; else it
    is read. Takes a batch of more than one value a channel.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        statistics: Tensor,
        relu: bool,
        training: bool,
        epsilon: float,
    ) -> Tensor:
        x = x.detach()
        added = None if residual is None else to_layout(residual, aligned=False)
        y = empty(tuple(x.shape), x)
        mean, inverse, variance = statistics
        norm = _Norm.of(x, y, relu, training, residual=added, scale=scale, bias=bias, mean=mean, inverse=inverse)
        threads = copy_threads(x.numel())
        loader.library().norm_forward(ctypes.byref(norm), epsilon, variance.data_ptr(), y.data_ptr(), threads)
        # Without a residual x tells where ReLU was zero, which saves a pass over y.
        ctx.save_for_backward(x, y if relu and residual is not None else None, scale, bias, statistics)
        ctx.relu, ctx.training = relu, training
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, y, scale, bias, statistics = ctx.saved_tensors
        dy = to_layout(dy, aligned=False)
        for_x, for_scale, for_bias, for_residual = ctx.needs_input_grad[:4]
        dx = empty(tuple(x.shape), x) if for_x else None
        dresidual = empty(tuple(x.shape), x) if for_residual and ctx.relu else None
        dscale = torch.empty(x.shape[1]) if for_scale else None
        dbias = torch.empty(x.shape[1]) if for_bias else None
        norm = _Norm.of(x, y, ctx.relu, ctx.training, scale=scale, bias=bias, mean=statistics[0], inverse=statistics[1])
        written = next((step_of(z) for z in (dx, dresidual) if z is not None), 0)
        to = _Gradients(*map(pointer, (dx, dresidual, dscale, dbias)), written)
        threads = copy_threads(x.numel())
        loader.library().norm_backward(ctypes.byref(norm), dy.data_ptr(), step_of(dy), ctypes.byref(to), threads)
        if for_residual and not ctx.relu:
            dresidual = dy
        return dx, dscale, dbias, dresidual, None, None, None, None
