"""LpSS as in the demo that the paper's authors published, where that differs from the paper's text."""

from dataclasses import dataclass

from lpss.registries import METHODS
from lpss.sparse.methods.lpss import LpSS


@METHODS.register("lpss_demo")
class LpSSDemo(LpSS):
    """LpSS as the authors' published demo runs it.

    The demo's choices are the defaults: its switch rule and margin, signed gradients over the whole layer, an unmasked
    v, and empty neurons revived.
    """

    label = "LpSS (demo)"
    reference = "the demo of Li et al. 2021, https://github.com/WilliamLiPro/LpSS"
    reading_of = "lpss"
    order = 2001

    @dataclass
    class Config(LpSS.Config):
        zeta_w: float = 0.2
        tau: float = 0.1
        update_every: int = 40
        zeta_rule: str = "demo"
        grow_score: str = "signed"
        grow_scope: str = "layer"
        grow_init: str = "stale"
        revive: bool = True
        exact_finish: bool = False
