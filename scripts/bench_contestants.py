"""Who takes part in bench_sparse.py: layers and whole training steps, dense and sparse, as functions to time.

    dense        float32; images in channels_last, and `dense NCHW`
    bfloat16     dense, forward pass and loss under autocast
    masked       dense products, gradients masked: train.backend=dense
    csr          torch's own sparse matrices (Linear only)
    sparselab    SparseLab (Linear only), where it is installed: pip install '.[bench]'
    ours         lpss.accelerate, all layers sparse
    auto         train.backend=auto

Sparse ones are followed by their sparsity: "ours 0.9". Masks are random and static.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

import lpss
from lpss.config import TrainConfig
from lpss.engine import products
from lpss.engine.layout import to_layout
from lpss.engine.pattern import PIXEL, Pattern
from lpss.engine.rule import Job, Times, jobs_of, limits_from, measure
from lpss.models import build_model
from lpss.sparse.masks import Masks
from lpss.train.backend import Backend
from lpss.train.compute import EAGER

try:
    import sparselab
except ImportError:
    sparselab = None

LR = 1e-3  # small: what is trained on one batch again and again shall not become extreme
P = 1.2
LINEAR_ONLY = ("csr", "sparselab") if sparselab else ("csr",)
Run = Callable[[], object]


class CsrProduct(torch.autograd.Function):
    """W x of activations (features, batch): W is a CSR matrix that shares its values with the parameter, `turned` its
    transpose, whose values are W's in this `order`."""

    @staticmethod
    def forward(ctx, values: Tensor, x: Tensor, matrix: Tensor, turned: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(values, x)
        ctx.matrix, ctx.turned, ctx.order = matrix, turned, order
        return matrix @ x

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        values, x = ctx.saved_tensors
        dvalues = dx = None
        if ctx.needs_input_grad[0]:
            dvalues = torch.sparse.sampled_addmm(ctx.matrix, dy, x.t(), beta=0.0).values()
        if ctx.needs_input_grad[1]:
            torch.index_select(values, 0, ctx.order, out=ctx.turned.values())
            dx = ctx.turned @ dy
        return dvalues, dx, None, None, None


class CsrLinear(nn.Module):
    """nn.Linear from torch's CSR products; it hands on a transposed view, so that the next one needs no copy."""

    def __init__(self, layer: nn.Linear, sparsity: float):
        super().__init__()
        mask = torch.rand(layer.weight.shape) >= sparsity
        place = torch.zeros(mask.shape, dtype=torch.long)
        place[mask] = torch.arange(1, int(mask.sum()) + 1)
        matrix, turned = place.to_sparse_csr(), place.t().to_sparse_csr()
        self.order = turned.values() - 1
        self.matrix, self.turned = (
            torch.sparse_csr_tensor(
                each.crow_indices().int(),
                each.col_indices().int(),
                torch.empty(len(self.order)),
                each.shape,
                check_invariants=False,
            )
            for each in (matrix, turned)
        )
        self.values = nn.Parameter(self.matrix.values())
        self.values.data.copy_(layer.weight.detach()[mask])
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        y = CsrProduct.apply(self.values, x.t(), self.matrix, self.turned, self.order).t()
        return y if self.bias is None else y + self.bias


def _sparselab(layer: nn.Linear, sparsity: float) -> nn.Module:
    return sparselab.SparseLinear(layer.in_features, layer.out_features, layer.bias is not None, sparsity)


def forget_others() -> None:
    """SparseLab takes transposes from a cache by `id` of a matrix, which a later one may have, too."""
    if sparselab:
        sparselab.ops._clear_transpose_cache()


REPLACED = {"csr": CsrLinear, "sparselab": _sparselab}


def replaced(net: nn.Module, make: Callable[[nn.Linear, float], nn.Module], sparsity: float) -> nn.Module:
    """The net with another module for each Linear one."""
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, make(child, sparsity))
    return net


def sgd(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), LR, momentum=0.9, nesterov=True, fused=True)


def lpsgd_m(net: nn.Module) -> torch.optim.Optimizer:
    return lpss.LpSGDm(lpss.param_groups(net, p=P), lr=LR, p=P)


def static(net: nn.Module, optimizer: torch.optim.Optimizer, sparsity: float) -> lpss.Static:
    """A mask for all layers."""
    return lpss.Static(net, optimizer, sparsity=sparsity, total_steps=1)


def precision(bfloat16: bool):
    return torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext()


# --- layers ---------------------------------------------------------------------------------------------------------


def linear(inputs: int, outputs: int, batch: int, sparsities: Sequence[float]) -> dict[str, Run]:
    """Forward pass and both gradients of a Linear layer without bias. `bare`: the three products alone, without
    autograd. Activations and their gradients come as a layer before and after would leave them."""
    x, dy = torch.randn(batch, inputs), torch.randn(batch, outputs)

    def layer() -> nn.Linear:
        return nn.Linear(inputs, outputs, bias=False)

    weight = layer().weight.detach()
    forget_others()
    runs = _dense_layers(layer, x, dy)
    runs["dense bare"] = _bare_dense(weight, x, dy)
    for sparsity in sparsities:
        for kind in LINEAR_ONLY:
            module = REPLACED[kind](layer(), sparsity)
            values = next(module.parameters())
            layout = to_layout if kind == "csr" else torch.Tensor.contiguous
            runs[f"{kind} {sparsity}"] = _passes(module, values, layout(x), layout(dy))
        runs[f"ours {sparsity}"] = _accelerated(layer, sparsity, x, dy)
        runs[f"ours bare {sparsity}"] = _bare(weight, sparsity, to_layout(x), to_layout(dy))
    return runs


def conv(channels: int, side: int, batch: int, sparsities: Sequence[float]) -> dict[str, Run]:
    """Forward pass and both gradients of a 3x3 convolution without bias."""
    x, dy = torch.randn(2, batch, channels, side, side)

    def layer() -> nn.Conv2d:
        return nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    runs = {"dense NCHW": _passes(plain := layer(), plain.weight, x, dy)}
    last = {"memory_format": torch.channels_last}
    runs |= _dense_layers(lambda: layer().to(**last), x.contiguous(**last), dy.contiguous(**last))
    return runs | {f"ours {sparsity}": _accelerated(layer, sparsity, x, dy) for sparsity in sparsities}


def _dense_layers(layer: Callable[[], nn.Module], x: Tensor, dy: Tensor) -> dict[str, Run]:
    dense, masked = layer(), layer()
    masks = static(masked, sgd(masked), 0.9).masks
    return {
        "dense": _passes(dense, dense.weight, x, dy),
        "bfloat16": _passes(dense, dense.weight, x, dy.bfloat16(), bfloat16=True),
        "masked": _passes(masked, masked.weight, x, dy, masks.apply_to_gradients),
    }


def _accelerated(layer: Callable[[], nn.Module], sparsity: float, x: Tensor, dy: Tensor) -> Run:
    net = layer()
    lpss.accelerate(net, static(net, sgd(net), sparsity))
    return _passes(net, next(net.parameters()), to_layout(x), to_layout(dy))


def _passes(module: nn.Module, weight: Tensor, x: Tensor, dy: Tensor, then: Run | None = None, bfloat16=False) -> Run:
    x = x.detach().requires_grad_()

    def run() -> None:
        x.grad = weight.grad = None
        with precision(bfloat16):
            y = module(x)
        y.backward(dy)
        if then is not None:
            then()

    return run


def _bare_dense(weight: Tensor, x: Tensor, dy: Tensor, which: int = 3) -> Run:
    """The first of: the product, the gradient of the weight, that of x."""

    def run() -> None:
        torch.mm(x, weight.t())
        if which > 1:
            torch.mm(dy.t(), x)
        if which > 2:
            torch.mm(dy, weight)

    return run


def _bare(weight: Tensor, sparsity: float, x: Tensor, dy: Tensor, which: int = 3) -> Run:
    mask = torch.rand(weight.shape) >= sparsity
    pattern, values = Pattern(mask), weight[mask]

    def run() -> None:
        products.product(pattern, PIXEL, x, values, None)
        if which > 1:
            products.weight_gradient(pattern, PIXEL, x, dy)
        if which > 2:
            products.input_gradient(pattern, PIXEL, dy, values, x.shape)

    return run


# --- whole steps ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Net:
    """A model and the batch it is trained on."""

    model: dict
    input_shape: tuple[int, ...]
    classes: int
    batch: int

    @property
    def images(self) -> bool:
        return self.model["name"] != "mlp"

    def build(self, form=torch.channels_last) -> nn.Module:
        torch.manual_seed(0)
        net = build_model(self.model, self.input_shape, self.classes)
        return net.to(memory_format=form) if self.images else net

    def data(self, form=torch.channels_last) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.batch, *self.input_shape, generator=generator)
        y = torch.randint(self.classes, (self.batch,), generator=generator)
        return x.contiguous(memory_format=form) if self.images else x, y


class Step:
    """A training step: call it. `method` is None for dense training."""

    def __init__(self, net, data, optimizer, method=None, bfloat16: bool = False):
        self.net, (self.x, self.y), self.optimizer, self.method = net, data, optimizer, method
        self.bfloat16 = bfloat16

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        with precision(self.bfloat16):
            loss = F.cross_entropy(self.net(self.x), self.y)
        loss.backward()
        (self.method or self.optimizer).step()

    def held_bytes(self) -> dict[str, int]:
        """What lies in memory between two steps, by what it is, after one has been taken."""
        params, states = list(self.net.parameters()), self.optimizer.state.values()
        sites = self.method.engine.sites.values() if self.method and self.method.engine else ()
        return {
            "weights": _bytes([*params, *self.net.buffers()]),
            "gradients": _bytes([param.grad for param in params]),
            "optimizer": _bytes([dict(state) for state in states]),
            "masks": _bytes(self.method.masks if self.method else {}),
            "index": _bytes([site.pattern for site in sites]),
        }


def _bytes(held) -> int:
    """Of all tensors and arrays that something holds, each counted once."""
    sizes: dict[int, int] = {}

    def visit(x) -> None:
        if isinstance(x, Tensor):
            sizes[x.data_ptr()] = x.numel() * x.element_size()
        elif isinstance(x, np.ndarray):
            sizes[x.ctypes.data] = x.nbytes
        elif isinstance(x, dict):
            visit(list(x.values()))
        elif isinstance(x, (list, tuple)):
            for each in x:
                visit(each)
        elif isinstance(x, Masks):
            visit(x._masks)  # asked by name, it makes those that a sparse layer does not need
        elif type(x).__module__.startswith("lpss."):
            visit(vars(x))

    visit(held)
    return sum(sizes.values())


def bare_products(net: Net, sparsities: Iterable[float], forward: bool = False) -> dict[str, Run]:
    """An MLP's products alone, without autograd and all else, of a step or a forward pass."""
    layers = [module for module in net.build().modules() if isinstance(module, nn.Linear)]
    runs: dict[str, list[Run]] = {}
    for place, layer in enumerate(layers):
        weight, which = layer.weight.detach(), 1 if forward else 2 if place == 0 else 3
        x, dy = torch.randn(net.batch, layer.in_features), torch.randn(net.batch, layer.out_features)
        runs.setdefault("dense bare", []).append(_bare_dense(weight, x, dy, which))
        for sparsity in sparsities:
            run = _bare(weight, sparsity, to_layout(x), to_layout(dy), which)
            runs.setdefault(f"ours bare {sparsity}", []).append(run)
    return {name: lambda several=several: [run() for run in several] for name, several in runs.items()}


def steps(net: Net, sparsities: Sequence[float]) -> dict[str, Callable[[], Step]]:
    """Name -> what makes the step."""

    def dense(optimizer=sgd, form=torch.channels_last, bfloat16: bool = False) -> Step:
        module = net.build(form)
        return Step(module, net.data(form), optimizer(module), bfloat16=bfloat16)

    def masked() -> Step:
        module = net.build()
        optimizer = sgd(module)
        return Step(module, net.data(), optimizer, static(module, optimizer, 0.9))

    def other(kind: str, sparsity: float) -> Step:
        module = replaced(net.build(), REPLACED[kind], sparsity)
        return Step(module, net.data(), sgd(module))

    def ours(sparsity: float, optimizer=sgd) -> Step:
        module = net.build()
        moved = optimizer(module)
        method = static(module, moved, sparsity)
        lpss.accelerate(module, method)
        return Step(module, net.data(), moved, method)

    forget_others()
    made: dict[str, Callable[[], Step]] = {"dense": dense}
    if net.images:
        made["dense NCHW"] = lambda: dense(form=torch.contiguous_format)
    made |= {"bfloat16": lambda: dense(bfloat16=True), "masked": masked, "dense lpsgd_m": lambda: dense(lpsgd_m)}
    for sparsity in sparsities:
        for kind in () if net.images else LINEAR_ONLY:
            made[f"{kind} {sparsity}"] = lambda kind=kind, sparsity=sparsity: other(kind, sparsity)
        made[f"ours {sparsity}"] = lambda sparsity=sparsity: ours(sparsity)
        made[f"ours lpsgd_m {sparsity}"] = lambda sparsity=sparsity: ours(sparsity, lpsgd_m)
    return made


@cache
def times(job: Job, threads: int) -> Times:
    """As lpss-train measures them, but now: what it keeps may be of an hour in which the machine was busy."""
    return measure(job, "float32")


def backends(net: Net, sparsities: Sequence[float]) -> tuple[dict[str, Run], dict[str, str]]:
    """Steps: dense, and under train.backend=dense and auto. Name of one under auto -> "sparse / masked" layers."""
    every, sparse = steps(net, ()), {}
    runs = {name: every[name]() for name in ("dense", "masked")}
    for sparsity in sparsities:
        module, data = net.build(), net.data()
        optimizer = sgd(module)
        method = static(module, optimizer, sparsity)
        jobs = jobs_of(module, method.masks.layers.values(), data[0][:1], net.batch)
        found = limits_from({name: times(job, torch.get_num_threads()) for name, job in jobs.items()})
        train = TrainConfig(backend="auto", batch_size=net.batch, limits=found)
        backend = Backend(train, module, method, data[0][:1], EAGER, torch.device("cpu"))
        runs[f"auto {sparsity}"] = Step(module, data, optimizer, method)
        sparse[f"auto {sparsity}"] = f"{len(backend.acceleration.sparse_now())}/{len(method.masks)}"
    return runs, sparse


# --- inference ------------------------------------------------------------------------------------------------------


def inference(net: Net, sparsities: Iterable[float]) -> dict[str, Run]:
    """The forward pass of a trained net."""
    x, _ = net.data()

    def predict(module: nn.Module, bfloat16: bool = False) -> Run:
        module.eval()

        def run() -> None:
            with torch.no_grad(), precision(bfloat16):
                module(x)

        return run

    sparsities = list(sparsities)
    runs = {"dense": predict(net.build()), "bfloat16": predict(net.build(), bfloat16=True)}
    runs |= bare_products(net, sparsities, forward=True)
    for sparsity in sparsities:
        for kind in LINEAR_ONLY:
            runs[f"{kind} {sparsity}"] = predict(replaced(net.build(), REPLACED[kind], sparsity))
        module = net.build()
        lpss.accelerate(module, static(module, sgd(module), sparsity))
        runs[f"ours {sparsity}"] = predict(module)
    return runs
