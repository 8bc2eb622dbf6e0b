"""The paper's figures and claims: run folders -> a table -> a figure, and whether the tables support the claims.

Every figure is a module with `table(runs)`, which reads run folders, and `draw(table)`, which needs nothing else, so
that a figure can be drawn again from its csv alone (by `PaperFigure.plot`, in the style that all figures share).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from lpss.paper import correlation, distribution, layerwise, scale, tradeoff, training
from lpss.report.plotting import STYLE, save

__all__ = ["FIGURES", "PaperFigure"]


@dataclass(frozen=True)
class PaperFigure:
    """One figure: what it shows, the experiments whose runs it is made of, how it is made.

    full, short: names in conf/experiment; a CPU finishes the short ones in minutes.
    """

    title: str
    full: tuple[str, ...]
    short: tuple[str, ...]
    table: Callable[[pd.DataFrame], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]

    def experiments(self, short: bool) -> tuple[str, ...]:
        return self.short if short else self.full

    def plot(self, table: pd.DataFrame, *files: Path) -> Figure:
        """Draw the table and save it in every file. Raises LpssError if one cannot be written."""
        with rc_context(STYLE):
            figure = self.draw(table)
            for file in files:
                save(figure, file)
        return figure


FIGURES = {
    "fig2": PaperFigure(
        "Weights of one output neuron against p", ("fig5",), ("fig5",), distribution.table, distribution.draw
    ),
    "fig3": PaperFigure("LpSGD against LpSGD-m on MNIST", ("fig3",), ("fig3",), training.table, training.draw),
    "fig4": PaperFigure(
        "LpSGD against LpSGD-m on Fashion-MNIST", ("fig4",), ("fig4_short",), training.table, training.draw
    ),
    "fig5": PaperFigure(
        "Hoyer's sparsity of each layer against p, MNIST: trained nets and theory",
        ("fig5",),
        ("fig5",),
        layerwise.table,
        layerwise.draw,
    ),
    "fig6": PaperFigure(
        "Hoyer's sparsity of each layer against p, Fashion-MNIST: trained nets and theory",
        ("fig6",),
        ("fig6_short",),
        layerwise.table,
        layerwise.draw,
    ),
    "fig7": PaperFigure(
        "Correlation between neurons of a layer, Fashion-MNIST",
        ("fig6",),
        ("fig6_short",),
        correlation.table,
        correlation.draw,
    ),
    "fig8": PaperFigure(
        "Accuracy against sparsity, MNIST and Fashion-MNIST",
        ("fig8",),
        ("fig8_short",),
        tradeoff.table,
        tradeoff.draw,
    ),
    "fig9": PaperFigure(
        "Accuracy against sparsity on CIFAR-10, and the learning rate",
        ("fig9",),
        ("fig9_short",),
        tradeoff.table,
        tradeoff.draw_with_schedule,
    ),
    "fig10": PaperFigure(
        "The largest sparsity LpSS reaches against the model's scale",
        ("fig10",),
        ("fig10_short/mlp", "fig10_short/wrn"),
        scale.table,
        scale.draw,
    ),
}
