"""What the theory predicts without training: expected Hoyer's sparsity, and the sparsity that dropping alone leads to.

numpy and scipy only. The inputs x that weights follow, w = x^[1/(p-1)] (eq 28), obey one of two laws: the paper's,
eq (30), which depends on p and has a shape `alpha`, or the standard normal (`alpha=None`).
"""

from lpss.theory.alpha import AlphaFit, fit_alpha, fit_alpha_by_layer
from lpss.theory.hoyer import expected_hoyer, expected_hoyer_gaussian, expected_hoyer_recursive
from lpss.theory.natural import largest_p, natural_sparsity, shortfall

__all__ = [
    "AlphaFit",
    "expected_hoyer",
    "expected_hoyer_gaussian",
    "expected_hoyer_recursive",
    "fit_alpha",
    "fit_alpha_by_layer",
    "largest_p",
    "natural_sparsity",
    "shortfall",
]
