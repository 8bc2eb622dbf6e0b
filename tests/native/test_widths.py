"""The C code for narrower vectors than this machine's: AVX2 and SSE, on a processor that has them."""

import platform
import subprocess

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lpss.engine import products
from lpss.engine.channels_last import NormalizeRows
from lpss.engine.layout import to_layout
from lpss.engine.norms import FastBatchNorm2d
from lpss.engine.pattern import Geometry, Pattern
from lpss.native import loader

WIDTHS = {"avx2": ["-mavx2", "-mfma"], "sse": ["-march=x86-64"]}
FLAGS = {"avx2": "avx2", "sse": "sse2"}


def processor_has(flag: str) -> bool:
    try:
        with open("/proc/cpuinfo") as file:
            return f" {flag} " in file.read()
    except OSError:
        return False


@pytest.fixture(scope="module", params=WIDTHS)
def library(request, tmp_path_factory):
    if platform.machine() not in ("x86_64", "AMD64") or not processor_has(FLAGS[request.param]):
        pytest.skip(f"no processor with {request.param}")
    if (compiler := loader.compiler()) is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp(request.param)
    objects = []
    for name in loader.SOURCES:
        objects.append(str(folder / f"{name}.o"))
        options = ["-c", "-fPIC", "-O1", "-ffast-math", *WIDTHS[request.param]]
        subprocess.run([compiler, *options, str(loader.FOLDER / name), "-o", objects[-1]], check=True, timeout=300)
    file = folder / "native.so"
    # Without -ffast-math here, which would make this process flush denormal numbers to zero.
    subprocess.run([compiler, "-shared", *objects, "-o", str(file), "-lm"], check=True, timeout=300)
    return loader._load(file)


@pytest.mark.parametrize("batch", [1, 3, 8, 17, 64, 100, 130])
@pytest.mark.parametrize(
    ("shape", "geometry"),
    [((30, 1500), Geometry()), ((9, 7, 3, 3), Geometry(6, 5, (3, 3), (1, 1), (1, 1))),
     ((5, 4, 3, 2), Geometry(9, 8, (3, 2), (2, 1), (0, 1)))],
)  # fmt: skip
def test_products_and_norms(library, monkeypatch, batch, shape, geometry):
    monkeypatch.setattr(loader, "library", lambda: library)
    draw = torch.Generator().manual_seed(0)
    mask = torch.rand(shape, generator=draw) < 0.2
    weight = (torch.randn(shape, generator=draw) * mask).double().requires_grad_()
    sides = () if len(shape) == 2 else (geometry.height, geometry.width)
    x = torch.randn(batch, shape[1], *sides, generator=draw).double().requires_grad_()
    bias = torch.randn(shape[0], generator=draw).double()
    y = F.conv2d(x, weight, bias, geometry.stride, geometry.padding) if sides else F.linear(x, weight, bias)
    dy = torch.randn(y.shape, generator=draw).double()
    y.backward(dy)

    pattern = Pattern(mask)
    ours, given = to_layout(x.float()), to_layout(dy.float())
    values = pattern.gather(weight.float())
    found = (
        products.product(pattern, geometry, ours, values, bias.float()),
        products.input_gradient(pattern, geometry, given, values, x.shape),
        products.weight_gradient(pattern, geometry, ours, given),
        products.bias_gradient(given),
    )
    wanted = (y, x.grad, pattern.gather(weight.grad), dy.sum([dim for dim in range(dy.dim()) if dim != 1]))
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()

    if sides and batch > 1:
        norm, fast = nn.BatchNorm2d(shape[1]), FastBatchNorm2d(shape[1])
        before = x.detach().float().requires_grad_()
        again = to_layout(x.float()).requires_grad_()
        F.relu(norm(before) + before).square().sum().backward()
        fast(again, again, relu=True).square().sum().backward()
        torch.testing.assert_close(again.grad, before.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(9, 5, 4, 3), (16, 24, 3, 3), (2, 64, 1, 2)])
def test_norms_of_images_with_channels_last(library, monkeypatch, shape, dtype):
    monkeypatch.setattr(loader, "library", lambda: library)
    x, added = (torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last) for _ in range(2))
    norm, fast = nn.BatchNorm2d(shape[1]), FastBatchNorm2d(shape[1])
    assert fast._function(x, added) is NormalizeRows
    before, mine = (x.detach().clone().to(kind).requires_grad_() for kind in (torch.float32, dtype))
    wanted, y = F.relu(norm(before) + added), fast(mine, added, relu=True)
    dy = torch.randn(shape).to(dtype) * (wanted > 0.02)
    wanted.backward(dy.float())
    y.backward(dy)
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    for one, other in ((y, wanted), (mine.grad, before.grad), (fast.running_var, norm.running_var)):
        torch.testing.assert_close(one.float(), other.float(), rtol=tolerance, atol=tolerance)


def test_loading_it_leaves_the_processes_denormal_numbers_alone(library):
    assert (torch.tensor([1e-40]) * 1.0).item() > 0
