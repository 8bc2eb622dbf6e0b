"""Products with active weights and their gradients, against torch's dense ones in float64."""

from itertools import cycle

import pytest
import torch
from torch.nn import functional as F

from lpss.engine import products
from lpss.engine.layout import step_of, to_layout
from lpss.engine.pattern import PIXEL, Geometry, Pattern
from lpss.native import loader

# What makes the numbers -> their dtype, and the error, relative to the largest number, that rounding may make.
PATHS = {
    "C code": (torch.float32, 2e-5),
    "tensor code": (torch.float32, 2e-5),
    "float64": (torch.float64, 1e-12),
}
LINEAR = [(5, 7), (40, 1), (1, 40), (33, 65), (20, 1030), (1030, 20), (4, 2100), (2100, 3)]  # two and three blocks
CONV = [  # neurons, channels, geometry
    (5, 4, Geometry(6, 7, (3, 3), (1, 1), (1, 1))),
    (3, 9, Geometry(5, 5, (1, 1), (1, 1), (0, 0))),
    (4, 3, Geometry(5, 6, (1, 1), (2, 3), (1, 2))),
    (2, 6, Geometry(9, 7, (5, 3), (2, 1), (2, 0))),
    (7, 2, Geometry(6, 8, (2, 3), (1, 3), (0, 2))),
    (3, 3, Geometry(2, 3, (5, 5), (1, 1), (2, 2))),
    (3, 4, Geometry(4, 1, (3, 3), (3, 2), (0, 1))),
    (4, 5, Geometry(1, 1, (1, 1), (1, 1), (0, 0))),
    (2, 3, Geometry(1, 1, (3, 3), (1, 1), (1, 1))),
    (60, 60, Geometry(3, 6, (3, 3), (1, 1), (1, 1))),  # written in strips, forward and back
]
BATCHES = (1, 2, 15, 16, 17, 33, 100, 128, 200)
DENSITIES = (0.3, 0.02, 1.0, 0.0)


def cases():
    """Every layer with some batches and densities, and every batch and density with some layers."""
    batches, densities = cycle(BATCHES), cycle(DENSITIES)
    layers = [(shape, PIXEL) for shape in LINEAR]
    layers += [((neurons, channels, *geometry.kernel), geometry) for neurons, channels, geometry in CONV]
    for shape, geometry in layers:
        for _ in range(3):
            yield shape, geometry, next(batches), next(densities)
        next(densities)


CASES = list(cases())


def draw(shape, geometry, batch, density, dtype=torch.float32, bias=True):
    """(pattern, weight, bias, x, dy), the weight zero off the pattern; its second neuron has no active weight."""
    random = torch.Generator().manual_seed(batch)
    mask = torch.rand(shape, generator=random) < density
    mask[1:2] = False
    weight = torch.randn(shape, generator=random) * mask
    sides = () if len(shape) == 2 else (geometry.height, geometry.width)
    written = () if len(shape) == 2 else geometry.output
    x = torch.randn(batch, shape[1], *sides, generator=random)
    dy = torch.randn(batch, shape[0], *written, generator=random)
    bias = torch.randn(shape[0], generator=random) if bias else None
    return Pattern(mask), *(None if t is None else t.to(dtype) for t in (weight, bias, x, dy))


def dense(weight, bias, x, dy, geometry):
    """(y, dx, dw, db) in float64."""
    leaves = [None if t is None else t.double().requires_grad_() for t in (weight, bias, x)]
    w, b, x = leaves
    y = F.linear(x, w, b) if x.dim() == 2 else F.conv2d(x, w, b, geometry.stride, geometry.padding)
    y.backward(dy.double())
    return y.detach(), x.grad, w.grad, None if b is None else b.grad


def sparse(pattern, weight, bias, x, dy, geometry):
    """(y, dx, dw of the active weights, db, the dense dw)."""
    x, dy, values = to_layout(x), to_layout(dy), pattern.gather(weight)
    return (
        products.product(pattern, geometry, x, values, bias),
        products.input_gradient(pattern, geometry, dy, values, x.shape),
        products.weight_gradient(pattern, geometry, x, dy),
        products.bias_gradient(dy),
        products.dense_weight_gradient(pattern, geometry, x, dy),
    )


def error(found, wanted):
    return ((found.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)).item() if wanted.numel() else 0


@pytest.mark.parametrize("path", PATHS)
def test_products_and_gradients_are_the_dense_ones(path, request):
    dtype, tolerance = PATHS[path]
    if path == "tensor code":
        request.getfixturevalue("without_c_code")
    elif path == "C code" and loader.library() is None:
        pytest.skip("no C compiler here")
    for number, (shape, geometry, batch, density) in enumerate(CASES):
        pattern, *tensors = draw(shape, geometry, batch, density, dtype, bias=number % 2 == 0)
        y, dx, dw, db, dense_dw = sparse(pattern, *tensors, geometry)
        wanted = dense(*tensors, geometry)
        pairs = {
            "y": (y, wanted[0]),
            "dx": (dx, wanted[1]),
            "dw": (dw, pattern.gather(wanted[2])),
            "dense dw": (dense_dw, wanted[2]),
            "db": (db, tensors[3].double().sum([dim for dim in range(y.dim()) if dim != 1])),
        }
        for name, (found, right) in pairs.items():
            assert found.shape == right.shape and found.dtype == dtype
            assert error(found, right) < tolerance, (name, shape, geometry, batch, density)
        assert step_of(y) is not None and step_of(dx) is not None  # the next layer finds them in place


@pytest.mark.parametrize("count", [2, 3])
def test_numbers_are_bitwise_the_same_whatever_the_number_of_threads(threads, count):
    for shape, geometry, batch, density in CASES:
        pattern, *tensors = draw(shape, geometry, batch, density)
        threads(1)
        alone = sparse(pattern, *tensors, geometry)[:4]
        threads(count)
        together = sparse(pattern, *tensors, geometry)[:4]
        assert all(map(torch.equal, alone, together)), (shape, geometry, batch, density)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_comes_out_where_it_is_read_and_nowhere_else(path, bad, request):
    if path == "tensor code":
        request.getfixturevalue("without_c_code")
    for shape, geometry, batch in (((6, 9), PIXEL, 17), ((4, 3, 3, 3), CONV[0][2], 20), ((6, 9), PIXEL, 2)):
        pattern, weight, bias, x, dy = draw(shape, geometry, batch, 0.5, PATHS[path][0])
        x[1, 0], dy[1, 1] = bad, bad
        y, dx, dw, db, _ = sparse(pattern, weight, bias, x, dy, geometry)
        reads = weight[:, 0].reshape(len(weight), -1).any(1)
        lost = ~torch.isfinite(y).flatten(2).all(2) if y.dim() == 4 else ~torch.isfinite(y)
        assert torch.equal(lost[1], reads) and not lost[0].any() and not lost[2:].any()
        assert torch.isfinite(dx).all()  # the second neuron has no weight through which it could come
        channel = torch.arange(weight.numel()).view(weight.shape)[:, 0].flatten()
        assert torch.equal(~torch.isfinite(dw), torch.isin(pattern.flat, channel))
        assert torch.isfinite(db).tolist() == [index != 1 for index in range(shape[0])]


@pytest.mark.parametrize("shape, geometry", [((4, 6), PIXEL), ((4, 3, 3, 3), CONV[0][2])])
def test_an_empty_batch_gives_empty_outputs_and_gradients_of_zero(shape, geometry):
    pattern, weight, bias, x, dy = draw(shape, geometry, 1, 0.5)
    y, dx, dw, db, _ = sparse(pattern, weight, bias, x[:0], dy[:0], geometry)
    assert y.shape == dy[:0].shape and dx.shape == x[:0].shape
    assert dw.shape == (len(pattern),) and not dw.any() and db.shape == (4,) and not db.any()


def test_the_code_path_is_said(monkeypatch):
    monkeypatch.setattr(loader, "library", lambda: None)
    assert products.code_path() == "tensor code" and not products.usable(torch.ones(1))
    monkeypatch.setattr(loader, "library", lambda: object())
    assert products.code_path() == "C kernel" and products.usable(torch.ones(1), None)
    assert not products.usable(torch.ones(1), torch.ones(1, dtype=torch.bfloat16))
