"""LpSS as in the demo that the paper's authors published, where that differs from the paper's text."""

from dataclasses import dataclass

from lpss.registries import METHODS
from lpss.sparse.methods.lpss import LpSS


@METHODS.register("lpss_demo")
class LpSSDemo(LpSS):
    """LpSS as the authors' published demo runs it.

    The demo's choices are the defaults: its switch rule and margin, a cosine of zeta_w from the first update on, signed
    gradients over the whole layer, an unmasked v, no momentum for connections that are grown, and empty neurons
    revived.

    What is still not the demo's: there topology follows the optimizer's step, with a second backward pass on the same
    batch (here it precedes it, with the step's own gradient); updates happen at multiples of 40 steps of all training
    (here of the window); zeta_g follows zeros over all parameters (here over those that can be masked: the sparsity
    that is asked for); and norms have an epsilon of 1e-6.
    """

    label = "LpSS (demo)"
    reference = "the demo of Li et al. 2021, https://github.com/WilliamLiPro/LpSS"
    reading_of = "lpss"
    order = 2001
    kind = "dense start"
    drops = "|w| < neuron's threshold"
    grows = "largest g"
    use = "only to reproduce the authors' demo"
    revision = 2  # 1: zeta_w fell from the start of training, and regrown connections kept their momentum

    @dataclass
    class Config(LpSS.Config):
        zeta_w: float = 0.2
        tau: float = 0.1
        update_every: int = 40
        zeta_rule: str = "demo"
        grow_score: str = "signed"
        grow_scope: str = "layer"
        grow_init: str = "stale"
        decay_from: str = "begin"
        keep_momentum: bool = False
        revive: bool = True
        exact_finish: bool = False
