"""The Triton kernels against the tensor code: interpreted on the CPU, compiled without a GPU, run where there is one.

As a script, `python test_triton_step.py FILE`, it writes what the interpreted kernels do to FILE: Triton decides on its
import whether it interprets, so that this needs a process of its own.
"""

import os
import subprocess
import sys
from itertools import cycle, product

import pytest
import torch

import lpss
from lpss.native import loader
from lpss.optim import triton_step

SHAPES = [(7, 1), (5, 3), (8, 16), (3, 36), (3, 1100)]
POWERS = [1.03, 1.07, 1.2, 1.25, 1.5, 2.0, 3.0]
SCALES = [1e-8, 1.0, 1e3]
OPTIMIZERS = {
    "lpsgd": (lpss.LpSGD, {}),
    "lpsgd_m": (lpss.LpSGDm, {}),
    "nesterov": (lpss.LpSGDm, {"momentum": 0.5, "nesterov": True}),
}
TURNS = 4


@pytest.fixture(autouse=True, scope="module")
def path():
    """In place of conftest's: these tests are about another kernel."""
    try:
        import triton  # noqa: F401
    except ImportError as error:
        pytest.skip(f"no Triton here, its kernels cannot be built: {error}")


def start(name: str, shape, p: float, device="cpu") -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    optimizer_class, options = OPTIMIZERS[name]
    weight = torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device))
    return weight, optimizer_class([weight], lr=0.07, p=p, **options)


def gradients(shape, scale: float, device="cpu"):
    """Ordinary ones, but for a dead neuron and, at one turn, a neuron with NaN and one with inf."""
    draw = torch.Generator().manual_seed(1)
    for turn in range(TURNS):
        grad = scale * torch.randn(shape, generator=draw)
        grad[0] = 0
        if turn == 2:
            grad[1, 0], grad[2, -1] = float("nan"), float("-inf")
        yield grad.to(device)


def by_tensors(monkeypatch, name: str, p: float, scale: float, shape, device="cpu") -> dict:
    monkeypatch.setattr(loader, "library", lambda: None)
    monkeypatch.setattr(triton_step, "kernel_available", lambda: False)
    weight, optimizer = start(name, shape, p, device)
    for weight.grad in gradients(shape, scale, device):
        optimizer.step()
    state = {key: value.cpu() for key, value in optimizer.state[weight].items()}
    return {"weight": weight.data.cpu(), "skipped": optimizer.nonfinite_neurons, **state}


def by_kernel(name: str, p: float, scale: float, shape, device="cpu", eta=0.07) -> dict:
    weight, optimizer = start(name, shape, p, device)
    skipped, state = torch.zeros(1, dtype=torch.int64, device=device), {}
    if name != "lpsgd":
        state = {"v": optimizer.latent(weight), "mu": torch.zeros_like(weight.data)}
    for grad in gradients(shape, scale, device):
        one_step(optimizer, weight.data, state, grad, skipped, eta)
    return {"weight": weight.data.cpu(), "skipped": int(skipped), **{key: value.cpu() for key, value in state.items()}}


def one_step(optimizer, weight, state, grad, skipped, eta) -> None:
    group = optimizer.param_groups[0]
    if state:
        options = {"gamma": group["momentum"], "nesterov": group["nesterov"]}
        triton_step.lpsgdm_step(weight, state["v"], state["mu"], grad, skipped, eta=eta, p=group["p"], **options)
    else:
        triton_step.lpsgd_step(weight, grad, skipped, eta=eta, p=group["p"])


def assert_same(result: dict, expected: dict, p: float, scale: float) -> None:
    assert result["skipped"] == expected["skipped"] == 2
    for key in expected.keys() - {"skipped"}:
        # float32 rounding, raised by w = v^[q-1] and, for p > 2, by the steepness near 0
        atol = {"weight": 3e-6 if p <= 2 else 2e-3, "v": 3e-6, "mu": 3e-6 * scale}[key]
        torch.testing.assert_close(result[key], expected[key], rtol=1e-4, atol=atol, msg=lambda m, k=key: f"{k}: {m}")


# --- interpreted ------------------------------------------------------------------------------------------------


def edges(device="cpu") -> dict:
    """What one step makes of numbers at float32's ends and of rows that must stay."""
    weight, v = torch.full((4, 3), 0.5), torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0.6, 0.8, 0], [0.6, 0.8, 0]])
    # in the first row v moves onto zero; in the last one gamma mu underflows, so that its direction is zero
    grad = torch.tensor([[2.0, 0, 0], [1e-42, -3e-41, 0], [3e38, 1e37, 0], [0, 0, 0]])
    mu, skipped = torch.tensor([[0.0], [0], [0], [1e-45]]).expand(4, 3), torch.zeros(1, dtype=torch.int32)
    weight, v, grad, mu, skipped = (x.to(device).contiguous() for x in (weight, v, grad, mu, skipped))
    plain, eta = weight.clone(), torch.tensor(0.5, device=device)
    triton_step.lpsgdm_step(weight, v, mu, grad, skipped, eta=0.5, gamma=0.25, nesterov=False, p=1.25)
    triton_step.lpsgd_step(plain, grad, skipped, eta=eta, p=1.25)
    result = {"moved": (weight != 0.5).any(1), "v": v, "mu": mu, "plain": plain, "grad": grad, "skipped": skipped}
    return {key: value.cpu() for key, value in result.items()}


def check_edges(result: dict) -> None:
    assert result["moved"].tolist() == [False, True, True, False] and result["skipped"].item() == 0
    assert torch.equal(result["v"][[0, 3]], torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0]]))
    assert torch.equal(result["mu"], result["grad"]) and torch.equal(result["plain"][3], torch.full((3,), 0.5))
    for key, exponent in (("v", 5.0), ("plain", 1.25)):
        norms = result[key].double().norm(exponent, dim=1)[1:3]
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-5, atol=0)


def cases() -> list[tuple]:
    """Each p at each scale, with the shapes in turn: the interpreter is slow."""
    return [(*case, shape) for case, shape in zip(product(OPTIMIZERS, POWERS, SCALES), cycle(SHAPES), strict=False)]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory) -> dict:
    file = tmp_path_factory.mktemp("interpreted") / "results.pt"
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, __file__, str(file)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return torch.load(file)


@pytest.mark.parametrize("name, p, scale, shape", cases())
def test_interpreted_it_takes_the_tensor_codes_steps(monkeypatch, interpreted, name, p, scale, shape):
    with pytest.warns(RuntimeWarning, match="NaN or inf"):
        expected = by_tensors(monkeypatch, name, p, scale, shape)
    assert_same(interpreted[name, p, scale, shape], expected, p, scale)


def test_interpreted_it_bears_the_ends_of_float32(interpreted):
    check_edges(interpreted["edges"])


# --- compiled without a GPU -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "which, constants, block",
    [
        (0, {"ETA_ON_DEVICE": True, "NESTEROV": True, "WHOLE": 0}, 2048),
        (0, {"ETA_ON_DEVICE": False, "NESTEROV": False, "WHOLE": 5}, 32),
        (1, {"ETA_ON_DEVICE": True, "WHOLE": 16, "WHOLE_P": 0}, 2048),
        (1, {"ETA_ON_DEVICE": False, "WHOLE": 1, "WHOLE_P": 1}, 32),
    ],
)
def test_it_compiles_to_single_precision(which, constants, block):
    try:
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource, compile
    except ImportError as error:
        pytest.skip(f"this Triton compiles for a GPU that is not there in another way: {error}")
    function, constants = triton_step._kernels()[which], constants | {"BLOCK": block}
    types = dict.fromkeys(("weight", "v", "mu", "grad"), "*fp32") | {"skipped": "*i64", "d": "i32"}
    types |= {"eta": "*fp32" if constants["ETA_ON_DEVICE"] else "fp32"} | dict.fromkeys(constants, "constexpr")
    source = ASTSource(function, {name: types.get(name, "fp32") for name in function.arg_names}, constants)
    compiled = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": max(block // 256, 1)})
    assert compiled.asm["cubin"]
    assert ".f32" in compiled.asm["ptx"] and ".f64" not in compiled.asm["ptx"]


# --- what it is used for ----------------------------------------------------------------------------------------


def test_tensors_on_the_cpu_are_not_its_business():
    assert not triton_step.usable(torch.zeros(4, 3), eta=0.1)


@pytest.fixture
def afresh():
    triton_step.kernel_available.cache_clear()
    triton_step._kernels.cache_clear()
    yield
    triton_step.kernel_available.cache_clear()
    triton_step._kernels.cache_clear()


def test_without_triton_or_when_switched_off(afresh, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setenv("LPSS_NATIVE", "0")
    assert not triton_step.kernel_available() and not caplog.records
    monkeypatch.delenv("LPSS_NATIVE")
    monkeypatch.setitem(sys.modules, "triton", None)
    triton_step.kernel_available.cache_clear()
    assert not triton_step.kernel_available() and not triton_step.kernel_available()
    (record,) = caplog.records
    assert record.levelname == "INFO" and "Triton cannot be used" in record.getMessage()


def test_a_triton_that_cannot_compile_is_done_without(monkeypatch, caplog):
    def broken(*args, **options):
        raise RuntimeError("no C compiler")

    caplog.set_level("INFO")
    monkeypatch.setattr(triton_step, "lpsgd_step", broken)
    assert not triton_step._works.__wrapped__(torch.device("cpu"))
    assert "Triton cannot compile for cpu (no C compiler)" in caplog.text


def test_importing_the_package_does_not_import_triton():
    code = "import sys, lpss, lpss.optim.triton_step; sys.exit('triton' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- on a GPU ---------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [*SHAPES, (40, 576), (4, 16384)])
@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_on_a_gpu_it_takes_the_tensor_codes_steps(monkeypatch, name, shape, p):
    for scale in SCALES:
        result = by_kernel(name, p, scale, shape, "cuda", eta=torch.tensor(0.07, device="cuda"))
        assert_same(result, by_kernel(name, p, scale, shape, "cuda"), p, scale)
        with monkeypatch.context() as patch:
            assert_same(result, by_tensors(patch, name, p, scale, shape, "cuda"), p, scale)


@pytest.mark.gpu
def test_on_a_gpu_it_bears_the_ends_of_float32():
    check_edges(edges("cuda"))


@pytest.mark.gpu
def test_on_a_gpu_what_it_can_move():
    plain, eta = torch.zeros(4, 3, device="cuda"), torch.tensor(0.1, device="cuda")
    assert triton_step.usable(plain, plain, eta=0.1) and triton_step.usable(plain, eta=eta)
    for other in (plain.double(), plain.t(), plain.bfloat16(), plain.cpu(), plain.new_zeros(2, 4, 3, 3).mT):
        assert not triton_step.usable(plain, other, eta=0.1)
    assert not triton_step.usable(plain, eta=eta.cpu()) and not triton_step.usable(plain, eta=eta.double())
    assert not triton_step.usable(plain.new_zeros(2, triton_step.MAX_FAN_IN + 1), eta=0.1)
    assert not triton_step.usable(plain[:0], eta=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_on_a_gpu_a_replayed_graph_sees_a_changed_eta(name):
    def fresh():
        weight, optimizer = start(name, (8, 36), 1.2, "cuda")
        state = {} if name == "lpsgd" else {"v": optimizer.latent(weight), "mu": torch.zeros_like(weight.data)}
        return optimizer, weight.data, state

    grads, skipped = list(gradients((8, 36), 1.0, "cuda")), torch.zeros(1, dtype=torch.int64, device="cuda")
    eta, grad = torch.tensor(0.07, device="cuda"), grads[0].clone()
    one_step(*fresh(), grad, skipped, eta)  # compiles
    skipped.zero_()
    optimizer, weight, state = fresh()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        one_step(optimizer, weight, state, grad, skipped, eta)
    eager_optimizer, eager, eager_state = fresh()
    eager_skipped = torch.zeros_like(skipped)
    for new_eta, new in zip((0.07, 0.3, 0.0, 0.01), grads, strict=True):
        eta.fill_(new_eta)
        grad.copy_(new)
        graph.replay()
        one_step(eager_optimizer, eager, eager_state, new, eager_skipped, new_eta)
        torch.testing.assert_close(weight, eager, rtol=1e-5, atol=1e-6)
    for key in state:
        torch.testing.assert_close(state[key], eager_state[key], rtol=1e-5, atol=1e-6)
    assert skipped.item() == eager_skipped.item() == 2


if __name__ == "__main__":
    torch.save({"edges": edges()} | {case: by_kernel(*case) for case in cases()}, sys.argv[1])
