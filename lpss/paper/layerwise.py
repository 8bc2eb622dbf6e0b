"""Figs 5 and 6: Hoyer's sparsity of each layer against p: of trained nets, and by the theory with fitted alpha."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lpss.paper.common import SOURCE, fan_in, layer_kind, new_figure
from lpss.report.collect import layers_of
from lpss.report.looks import COLOURS
from lpss.theory import expected_hoyer, expected_hoyer_gaussian, fit_alpha, fit_alpha_by_layer

COLUMNS = 3  # of panels


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each run and layer: number, layer, kind, d (fan-in), p, hoyer_sparsity (mean of neurons), the theory.

    own_*: eq (30) with alpha fitted to this layer; shared_*: to all layers; alpha, its standard error, the root mean
    square of the residuals, the value. gaussian: standard normal inputs instead.
    """
    rows = layers_of(runs).merge(runs[["folder", "epochs", "steps"]], on="folder")
    frame = rows[SOURCE].assign(
        number=rows["layer"].map({name: i + 1 for i, name in enumerate(rows["layer"].unique())}),
        layer=rows["layer"],
        kind=rows["shape"].map(layer_kind),
        d=rows["shape"].map(fan_in),
        p=rows["p"].astype(float),
        hoyer_sparsity=rows["hoyer_sparsity"],
    )
    frame = frame.sort_values(["number", "p", "seed"], ignore_index=True)
    d, p, hoyer = (frame[name].to_numpy() for name in ("d", "p", "hoyer_sparsity"))
    own, shared = fit_alpha_by_layer(frame["number"], hoyer, d, p), fit_alpha(hoyer, d, p)
    for name, fits in (("own", [own[number] for number in frame["number"]]), ("shared", [shared] * len(frame))):
        alpha = np.array([fit.alpha for fit in fits])
        frame[f"{name}_alpha"], frame[f"{name}_alpha_error"] = alpha, [fit.error for fit in fits]
        frame[f"{name}_rms"] = [fit.rms for fit in fits]
        frame[f"{name}_theory"] = expected_hoyer(d, p, alpha)
    return frame.assign(gaussian=expected_hoyer_gaussian(d, p))


def draw(table: pd.DataFrame) -> Figure:
    layers = list(table.groupby("number"))
    rows = math.ceil(len(layers) / COLUMNS)
    figure = new_figure(10, 3.1 * rows + 0.7, table)
    grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    p = np.linspace(table["p"].min(), table["p"].max(), 80)
    for axes in grid.flat[len(layers) :]:
        axes.set_axis_off()
    for axes, (number, layer) in zip(grid.flat, layers, strict=False):
        first = layer.iloc[0]
        d, alpha, shared = first["d"], first["own_alpha"], first["shared_alpha"]
        axes.plot(p, expected_hoyer(d, p, alpha), color=COLOURS[0], label="theory, alpha of the layer")
        axes.plot(p, expected_hoyer(d, p, shared), "--", color=COLOURS[2], label="theory, one alpha for all")
        axes.plot(p, expected_hoyer_gaussian(d, p), ":", color=COLOURS[7], label="Gaussian inputs, no alpha")
        axes.plot(layer["p"], layer["hoyer_sparsity"], "^", color=COLOURS[1], markersize=6, label="trained")
        axes.set_title(f"Layer {number}: {first['kind']}, dim {d}", loc="left", weight="bold")
        axes.text(
            0.97,
            0.95,
            f"alpha {alpha:.2f} ± {first['own_alpha_error']:.2f}\nrms {first['own_rms']:.3f}",
            transform=axes.transAxes,
            ha="right",
            va="top",
            fontsize=8,
        )
        axes.set_ylim(0, 1)
    for axes in grid[-1]:
        axes.set_xlabel("p")
    for axes in grid[:, 0]:
        axes.set_ylabel("Hoyer's sparsity")
    handles, _ = grid[0, 0].get_legend_handles_labels()
    handles[1].set_label(f"theory, one alpha for all: {shared:.2f} ± {first['shared_alpha_error']:.2f}")
    figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False)
    return figure
