import math

import pytest
import torch

from lpss import sphere

PS = (1.03, 1.07, 1.1, 1.2, 1.5, 2.0, 3.0, 10.0)


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def direct_norm(x, p):
    """||x_j||_p by its definition, in float64, where nothing overflows for numbers near 1."""
    return x.double().flatten(1).abs().pow(p).sum(1, keepdim=True).pow(1 / p)


# --- powers -----------------------------------------------------------------------------------------------------


def test_signed_power_by_hand():
    x = torch.tensor([[-2.0, 0.0, 3.0, -0.5]])
    assert sphere.signed_power(x, 2).tolist() == [[-4.0, 0.0, 9.0, -0.25]]
    assert sphere.signed_power(x, 3).tolist() == [[-8.0, 0.0, 27.0, -0.125]]
    assert sphere.signed_power(torch.tensor([[-4.0, 9.0, 0.0]]), 0.5)[0].tolist() == pytest.approx([-2.0, 3.0, 0.0])
    assert x.tolist() == [[-2.0, 0.0, 3.0, -0.5]]  # the argument is not written to


@pytest.mark.parametrize("n", [*range(1, 17), 31, 64])
def test_whole_powers_are_exact_products(n):
    x = torch.tensor([[2.0, -1.0, 0.5, 0.0]])
    assert sphere.abs_power(x, float(n)).tolist() == [[2.0**n, 1.0, 0.5**n, 0.0]]
    # 3^n is a product here, while exp2(n log2 3) is not exact in float64 either
    if n <= 31:
        assert sphere.abs_power(torch.tensor([[3.0]], dtype=torch.float64), n + 1e-12).item() == 3.0**n


@pytest.mark.parametrize("a", [0.07, 0.5, 2.5, 14.2857, 100.0])
def test_other_powers_against_pow(a):
    x = randn(4, 9)
    torch.testing.assert_close(sphere.abs_power(x, a), x.abs().pow(a), rtol=1e-12, atol=0)
    assert sphere.abs_power(torch.zeros(1, 2), a).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("q", range(2, 17))
def test_fast_path_for_whole_q_equals_the_general_path(q):
    x, p = randn(5, 30, seed=q), q / (q - 1)
    fast = sphere.dual_pair(x, p)
    general = sphere.dual_pair(x, p * (1 + 1e-5))  # q is no whole number here, and the map is smooth in p
    exact_u = x / direct_norm(x, q)
    exact_d = exact_u.sign() * exact_u.abs().pow(q - 1)
    torch.testing.assert_close(fast[0], exact_u, rtol=1e-13, atol=0)
    torch.testing.assert_close(fast[1], exact_d, rtol=1e-12, atol=0)
    for a, b in zip(fast, general, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-2 * (q * 1e-5 * q) + 1e-4)


@pytest.mark.parametrize(
    "a, options, whole",
    [
        (5.0, {}, 5),
        (1.2 / 0.2 - 1, {}, 5),
        (1.0, {}, 1),
        (16.0, {}, 16),
        (17.0, {}, 0),
        (17.0, {"maximum": 64}, 17),
        (0.0, {}, 0),
        (0.3, {}, 0),
        (2.5, {}, 0),
        (5 + 9e-7, {}, 5),
        (5 + 2e-6, {}, 0),
        (5 + 9e-7, {"tolerance": 1e-11}, 0),
    ],
)
def test_whole_exponents(a, options, whole):
    assert sphere.whole_exponent(a, **{"maximum": 16} | options) == whole


# --- norms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", PS)
@pytest.mark.parametrize("shape", [(3, 7), (4, 3, 5), (6, 2, 3, 3)])
def test_row_norm_against_the_definition(p, shape):
    x = randn(*shape)
    for exponent in (p, sphere.dual_exponent(p)):
        torch.testing.assert_close(sphere.row_norm(x, exponent), direct_norm(x, exponent), rtol=1e-12, atol=0)
        got = sphere.row_norm(x.float(), exponent)
        torch.testing.assert_close(got.double(), direct_norm(x.float(), exponent), rtol=2e-6, atol=0)
        unit = sphere.normalize(x, exponent)
        expected = (x.flatten(1) / direct_norm(x, exponent)).view(shape)
        torch.testing.assert_close(unit, expected, rtol=1e-12, atol=0)


def test_norms_run_over_every_dim_but_the_first():
    x = torch.tensor([[[3.0, 0.0], [0.0, -4.0]], [[1.0, 1.0], [1.0, 1.0]]])  # two filters of a conv
    assert sphere.row_norm(x, 2).tolist() == [[5.0], [2.0]]
    assert sphere.normalize(x, 2).tolist() == [
        [[pytest.approx(0.6), 0.0], [0.0, pytest.approx(-0.8)]],
        [[0.5, 0.5], [0.5, 0.5]],
    ]


def test_neurons_are_independent_and_memory_layout_does_not_matter():
    x = randn(4, 3, 5, 5)
    moved = x.to(memory_format=torch.channels_last)
    for a, b in zip(sphere.dual_pair(x, 1.3), sphere.dual_pair(moved, 1.3), strict=True):
        assert torch.equal(a, b)
    alone = sphere.dual_pair(x[2:3], 1.3)[1]
    torch.testing.assert_close(alone[0], sphere.dual_pair(x, 1.3)[1][2], rtol=1e-14, atol=0)


# --- the dual pair ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", PS)
@pytest.mark.parametrize("shape", [(3, 7), (5, 4, 3, 3)])
def test_dual_pair_identities(p, shape):
    x, q = randn(*shape), sphere.dual_exponent(p)
    u, d = sphere.dual_pair(x, p)
    assert u.shape == d.shape == x.shape
    ones = torch.ones(shape[0], 1, dtype=torch.float64)
    torch.testing.assert_close(direct_norm(u, q), ones, rtol=1e-13, atol=0)
    torch.testing.assert_close(direct_norm(d, p), ones, rtol=1e-13, atol=0)
    torch.testing.assert_close(d, u.sign() * u.abs().pow(q - 1), rtol=1e-11, atol=0)
    torch.testing.assert_close(sphere.signed_power(d, p - 1), u, rtol=1e-11, atol=0)
    # d is the point of the unit L_p sphere furthest along x: <x, d> = ||x||_q
    torch.testing.assert_close((x * d).flatten(1).sum(1, keepdim=True), direct_norm(x, q), rtol=1e-12, atol=0)


@pytest.mark.parametrize("p", [1.01, 1.03, 1.07, 1.1, 1.2, 1.5, 2.0, 10.0])
@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e-3, 1e3, 1e8, 1e30])
@pytest.mark.parametrize("fan_in", [2, 27, 3136])
def test_float32_holds_at_every_scale(p, scale, fan_in):
    x = randn(2, fan_in, seed=fan_in, dtype=torch.float32)
    q = sphere.dual_exponent(p)
    u, d = sphere.dual_pair(x * scale, p)
    assert u.dtype == d.dtype == torch.float32
    assert (direct_norm(u, q) - 1).abs().max() < 1e-6
    exact_u, exact_d = sphere.dual_pair((x * scale).double(), p)
    torch.testing.assert_close(u.double(), exact_u, rtol=2e-6, atol=0)
    torch.testing.assert_close(d.double(), exact_d, rtol=0, atol=1e-4 if p < 1.05 else 2e-5)
    # the norm itself needs no detour, too
    torch.testing.assert_close((sphere.row_norm(x * scale, q) / scale).double(), direct_norm(x, q), rtol=3e-6, atol=0)


def test_neurons_of_zeros_stay_zero():
    x = torch.tensor([[0.0, 0.0], [1.0, -1.0], [0.0, 2.0]])
    u, d = sphere.dual_pair(x, 1.5)
    assert u[0].tolist() == d[0].tolist() == sphere.normalize(x, 1.5)[0].tolist() == [0.0, 0.0]
    assert sphere.row_norm(x, 1.5)[0].item() == 0.0
    assert u[2].tolist() == d[2].tolist() == [0.0, 1.0]
    assert d[1].tolist() == pytest.approx([2 ** (-1 / 1.5), -(2 ** (-1 / 1.5))])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("p", [1.07, 2])
def test_row_norm_shows_what_is_not_finite(bad, p):
    norm = sphere.row_norm(torch.tensor([[1.0, bad, 0.0], [1.0, -2.0, 0.0]]), p)
    assert torch.isfinite(norm).flatten().tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    x = randn(3, 4, dtype=dtype)
    results = [
        *sphere.dual_pair(x, 1.07),
        sphere.normalize(x, 1.2),
        sphere.row_norm(x, 1.2),
        sphere.signed_power(x, 0.3),
        sphere.signed_power(x, 3),
        sphere.hoyer_sparsity(x),
    ]
    assert {result.dtype for result in results} == {dtype}


# --- Hoyer's sparsity -------------------------------------------------------------------------------------------


def test_hoyer_sparsity_by_hand():
    weight = torch.tensor(
        [[0.0, -7.0, 0.0, 0.0], [0.3, -0.3, 0.3, 0.3], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64
    )
    got = sphere.hoyer_sparsity(weight).tolist()
    # (sqrt 4 - 2 / sqrt 2) / (sqrt 4 - 1) = 2 - sqrt 2
    assert got[:3] == pytest.approx([1.0, 0.0, 2 - math.sqrt(2)], abs=1e-15)
    assert math.isnan(got[3])


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_hoyer_sparsity_ignores_scale_and_takes_conv_weights(scale):
    weight = randn(4, 2, 3, 3, dtype=torch.float32)
    flat = weight.double().flatten(1)
    ratio = flat.abs().sum(1) / flat.square().sum(1).sqrt()
    expected = (math.sqrt(18) - ratio) / (math.sqrt(18) - 1)
    torch.testing.assert_close(sphere.hoyer_sparsity(weight * scale).double(), expected, rtol=1e-5, atol=0)


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p, shown",
    [
        (1, "1"),
        (1.0, "1.0"),
        (0.5, "0.5"),
        (-2, "-2"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        (True, "True"),
        ("x", "'x'"),
        (None, "None"),
        ([1.2], r"\[1.2\]"),
    ],
)
def test_wrong_p_is_named(p, shown):
    for function in (sphere.check_p, sphere.dual_exponent, lambda p: sphere.dual_pair(torch.ones(2, 2), p)):
        with pytest.raises(ValueError, match=f"greater than 1, got {shown}$"):
            function(p)


def test_dual_exponent():
    assert sphere.dual_exponent(2) == 2.0
    assert sphere.dual_exponent(1.5) == pytest.approx(3)
    assert sphere.dual_exponent(1.2) == pytest.approx(6)
    assert sphere.check_p(torch.tensor(1.5)) == 1.5 and isinstance(sphere.check_p(3), float)


@pytest.mark.parametrize(
    "function",
    [
        sphere.rows,
        sphere.hoyer_sparsity,
        lambda x: sphere.normalize(x, 1.5),
        lambda x: sphere.row_norm(x, 1.5),
        lambda x: sphere.dual_pair(x, 1.5),
    ],
)
def test_fewer_than_two_dims_are_named(function):
    with pytest.raises(ValueError, match=r"2 or more dims, got shape \(5,\)"):
        function(torch.ones(5))
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        function(torch.tensor(1.0))


def test_hoyer_sparsity_needs_two_inputs():
    with pytest.raises(ValueError, match=r"fan-in of 2 or more, got shape \(3, 1\)"):
        sphere.hoyer_sparsity(torch.ones(3, 1))


def test_autocast_does_not_reach_in():
    x = randn(4, 300, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = [*sphere.dual_pair(x, 1.2), *sphere.dual_pair(x, 1.07), sphere.row_norm(x, 1.07)]
    outside = [*sphere.dual_pair(x, 1.2), *sphere.dual_pair(x, 1.07), sphere.row_norm(x, 1.07)]
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))
