"""Tables like those behind the figures, of made-up numbers that obey the paper's claims; tests change them."""

import numpy as np
import pandas as pd
import pytest

from lpss.paper.correlation import PART, P, chance
from lpss.theory import expected_hoyer, expected_hoyer_gaussian

LAYERS = [("conv", 9), ("conv", 72), ("conv", 108), ("linear", 400), ("linear", 256), ("linear", 64)]
FIGS_P = (1.1, 1.5, 3.0)


def source(experiment="fig", dataset="mnist", model="cnn_mnist", seed=0):
    return {"experiment": experiment, "dataset": dataset, "model": model, "epochs": 6, "steps": 600, "seed": seed}


@pytest.fixture(scope="session")
def made():
    """Figure -> its table, made once."""
    rng = np.random.default_rng(0)
    fig2 = [
        {**source(), "p": p, "neuron": 0, "weight": np.sign(x) * abs(x) ** (1 / (p - 1))}
        for p in FIGS_P
        for x in rng.standard_normal(64)
    ]
    fig3 = [
        {
            **source(),
            "optimizer": optimizer,
            "p": p,
            "epoch": epoch,
            "train_accuracy": 0.9 + 0.01 * epoch,
            "test_accuracy": 0.91 + 0.01 * epoch,
            "hoyer_sparsity": (1.5 if optimizer == "lpsgd_m" else 0.6) / p / 2,
        }
        for optimizer in ("lpsgd", "lpsgd_m")
        for p in FIGS_P
        for epoch in range(1, 7)
    ]
    fig5 = [_layer(number, kind, d, p) for number, (kind, d) in enumerate(LAYERS, 1) for p in FIGS_P]
    fig7 = [
        {
            **source(),
            "number": number,
            "layer": f"layer{number}",
            "kind": kind,
            "d": d,
            "p": p,
            "mean_abs": (1 if kind == "conv" else 20) * chance(d),
            "by_chance": chance(d),
            "i": i,
            "j": j,
            "correlation": 1.0 if i == j else 0.1,
        }
        for number, (kind, d) in enumerate(LAYERS, 1)
        for p in P
        for i in range(min(PART, 10))
        for j in range(min(PART, 10))
    ]
    fig8 = [
        {
            **source(dataset=dataset, seed=seed),
            "method": method,
            "p": 2,
            "sparsity": s,
            "sparsity_weights": s,
            "accuracy_last": 0.95 - 0.01 * s + 0.002 * seed + (0.01 if method == "lpss" else 0),
            "schedule": '{"final": 0.0, "name": "cosine", "warmup": 0.0}',
            "lr": 0.1 if method == "dense" else 0.02,
        }
        for dataset in ("mnist", "fashion_mnist")
        for method, s in (("dense", 0.0), ("rigl", 0.5), ("rigl", 0.9), ("lpss", 0.5), ("lpss", 0.9))
        for seed in (0, 1)
    ]
    fig10 = [
        {
            **source(seed=seed),
            "parameters": 1000 * 4**k,
            "p": 1.07,
            "sparsity": 0.999,
            "sparsity_weights": 0.8 + 0.03 * k,
            "predicted": 0.9 + 0.01 * k,
            "accuracy_last": 0.8 + 0.02 * k,
        }
        for k in range(4)
        for seed in (0, 1)
    ]
    rows = {
        "fig2": fig2,
        "fig3": fig3,
        "fig4": fig3,
        "fig5": fig5,
        "fig6": fig5,
        "fig7": fig7,
        "fig8": fig8,
        "fig9": fig8[: len(fig8) // 2],
        "fig10": fig10,
    }
    return {name: pd.DataFrame(some) for name, some in rows.items()}


@pytest.fixture
def tables(made):
    """Figure -> its table, a copy for each test."""
    return {name: table.copy() for name, table in made.items()}


def _layer(number: int, kind: str, d: int, p: float) -> dict:
    theory = float(expected_hoyer(d, p, 2.0))
    off = 0.0 if kind == "conv" else 0.05
    fits = {
        f"{name}_{key}": value
        for name in ("own", "shared")
        for key, value in (("alpha", 2.0), ("alpha_error", 0.1), ("rms", off), ("theory", theory))
    }
    return {
        **source(),
        "number": number,
        "layer": f"layer{number}",
        "kind": kind,
        "d": d,
        "p": p,
        "hoyer_sparsity": theory + off,
        **fits,
        "gaussian": float(expected_hoyer_gaussian(d, p)),
    }
