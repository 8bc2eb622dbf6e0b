"""Expectation of Hoyer's sparsity (eq 2) of a neuron whose weights follow random inputs, w = x^[1/(p-1)] (eq 28)."""

import numpy as np

from lpss.errors import UsageError
from lpss.theory.arguments import exponents, fan_ins, positive, together

GAUSSIAN_P = (1.0001, 1e4)  # the range in which the quadrature's grids stay small


def expected_hoyer(d, p, alpha) -> np.ndarray:
    """E[H] under the inputs of eq (30): arrays of one common shape, or numbers; returns that shape, within 1e-11.

    With tau = alpha (p - 1), z = |w| before normalisation has z^2 ~ Gamma(tau/2, 1). Such a vector's length does not
    depend on its direction, so that E[|z|_1 / |z|_2] = E[|z|_1] / E[|z|_2]: a closed form of eqs (31)-(38).

    Args:
        d: fan-in, whole numbers from 2 to a million.
        p: of the sphere, in (1, inf).
        alpha: shape of eq (30), greater than 0 (the paper asks for more than 1, but nothing needs it).

    Raises UsageError for anything else.
    """
    from scipy.special import poch  # poch(x, 1/2) = Gamma(x + 1/2) / Gamma(x), more exact than a difference of lgammas

    d, p, alpha = together(fan_ins(d), exponents(p), positive(alpha, "alpha"))
    tau = _tau(p, alpha)
    return _hoyer(d, d * poch(tau / 2, 0.5) / poch(d * tau / 2, 0.5))


def expected_hoyer_recursive(d: int, p, alpha) -> np.ndarray:
    """E[H] by the paper's recursion (36)-(38), for one fan-in d; p and alpha as in `expected_hoyer`. Takes d steps.

    The three Omegas of eq (36) are halves of Beta functions; (38) is divided by the product of the Omega_{k,1}, since
    as printed it leaves float64 at d = 563 (p = 1.1, alpha = 2). Raises UsageError.
    """
    from scipy.special import betaln

    d, p, alpha = fan_ins(d), exponents(p), positive(alpha, "alpha")
    if d.ndim:
        raise UsageError(f"the recursion takes one d at a time, got an array of shape {d.shape}")
    p, alpha = together(p, alpha)
    tau = _tau(p, alpha)

    def ratios(k):
        """Omega_{k,2} / Omega_{k,1} and Omega_{k,3} / Omega_{k,1}."""
        omega_1 = betaln(tau / 2, k * tau / 2)
        return np.exp(betaln((tau + 1) / 2, k * tau / 2) - omega_1), np.exp(
            betaln(tau / 2, (k * tau + 1) / 2) - omega_1
        )

    xi = sum(ratios(1))
    for k in range(2, int(d)):
        sine, cosine = ratios(k)
        xi = cosine * xi + sine
    return _hoyer(d, xi)


def expected_hoyer_gaussian(d, p) -> np.ndarray:
    """E[H] where the inputs are standard normal, whatever p is; d and p as in `expected_hoyer`, p in [1.0001, 10000].

    With a = 1/(p-1) and S = sum |x|^(2a):  E[sum |x|^a / sqrt S] = d / sqrt pi  int t^(-1/2) phi1(t) phi0(t)^(d-1) dt,
    phi0(t) = E[exp(-t |x|^2a)], phi1(t) = E[|x|^a exp(-t |x|^2a)], since S^(-1/2) is a Gamma integral. In u = log |x|
    and m = -log(t) / 2a both phis are convolutions, and every integrand is smooth, so that the trapezoidal rule is
    exact to 1e-8. Raises UsageError.
    """
    d, p = together(fan_ins(d), exponents(p))
    low, high = GAUSSIAN_P
    if not ((low <= p) & (p <= high)).all():
        raise UsageError(f"p must be in [{low:g}, {high:g}] for Gaussian inputs, got {p[(p < low) | (p > high)][0]:g}")
    return _hoyer(d, np.vectorize(_gaussian_ratio, otypes=[float])(d, p))


def _gaussian_ratio(d: float, p: float) -> float:
    """E[|w|_1 / |w|_2] for inputs that are standard normal."""
    a = 1 / (p - 1)
    step = 0.2 * min(1, 1 / a)
    first, last = -40.0, 2.5  # log |x|: beyond them the density is below 1e-16
    u = np.arange(first, last, step)
    m = np.arange(first, last + (np.log(d) + 80) / (2 * a), step)
    density = np.sqrt(2 / np.pi) * np.exp(u - np.exp(2 * u) / 2) * step
    shift = 2 * a * step * np.arange(1 - len(m), len(u))  # all values of 2a (u - m)
    decay = np.exp(np.minimum(shift, 6.6))  # exp(-decay) is 0 beyond
    lost = _correlate(-np.expm1(-decay), density)  # 1 - phi0, which d - 1 powers need to full precision
    phi_1 = _correlate(np.exp(np.minimum(shift, 6.6) / 2 - decay), density)
    power = np.exp((d - 1) * np.log1p(-np.clip(lost, 0, 1 - 1e-16)))
    return 2 * a * d / np.sqrt(np.pi) * step * (phi_1 * power).sum()


def _correlate(kernel: np.ndarray, density: np.ndarray) -> np.ndarray:
    """sum_i kernel(u_i - m_j) density(u_i) for each m_j, by FFT."""
    size = len(kernel)
    product = np.fft.rfft(kernel) * np.fft.rfft(density[::-1], size)
    return np.fft.irfft(product, size)[len(density) - 1 :][::-1]


def _tau(p: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    # Clipped to stay within float64: E[H] has reached its limits 1 and 0 long before.
    return np.maximum(np.minimum(alpha, 1e150) * np.minimum(p - 1, 1e150), 1e-300)


def _hoyer(d: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Eq (2) from |w|_1 / |w|_2, clipped, since rounding may lead just outside [0, 1]."""
    return np.clip((np.sqrt(d) - ratio) / (np.sqrt(d) - 1), 0, 1)
