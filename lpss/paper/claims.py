"""The paper's claims in words, checked against the tables behind its figures, with the numbers that decide each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import pandas as pd

from lpss.paper.distribution import share_small
from lpss.report.names import DATASETS, METHODS

MONOTONE = -0.95  # Spearman's rank correlation at or below which "falls as" counts as true


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, where it was checked, whether it holds there, and the numbers."""

    text: str
    where: str
    holds: str
    numbers: str
    limit: str = ""  # what the verdict rests on, where that is little


def claims_table(tables: Mapping[str, pd.DataFrame]) -> str:
    """`claims` as a markdown table, one line each; not padded, since the numbers are long."""
    rows = [["The paper's claim", "Checked on", "Holds", "Numbers"], ["---"] * 4]
    rows += [[claim.text, claim.where, f"**{claim.holds}**{claim.limit}", claim.numbers] for claim in claims(tables)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows) + "\n"


def claims(tables: Mapping[str, pd.DataFrame]) -> Iterator[Claim]:
    """Every claim that these tables (figure -> its table) can decide."""
    for name, look in LOOKS:
        if name in tables:
            yield from look(tables[name])


def _near_zero(table: pd.DataFrame) -> Iterator[Claim]:
    shares = table.groupby("p")["weight"].apply(share_small)
    rank = _spearman(shares.index, shares)
    yield Claim(
        "The smaller p, the more weights are close to zero",
        _where(table, "output neuron 0"),
        _yes(rank <= MONOTONE, rank <= -0.7),
        f"below .1 x the largest: {_ends(shares, percent=True)}; rank correlation {rank:.2f}",
    )


def _momentum(table: pd.DataFrame) -> Iterator[Claim]:
    last = table[table["epoch"] == table["epoch"].max()]
    hoyer = last.pivot_table("hoyer_sparsity", "p", "optimizer")
    higher = hoyer["lpsgd_m"] > hoyer["lpsgd"]
    small = higher[hoyer.index < 2]
    spread = hoyer.max() - hoyer.min()
    yield Claim(
        "LpSGD-m gives higher and wider-ranged Hoyer's sparsity than LpSGD",
        _where(table),
        _yes(small.all() and spread["lpsgd_m"] > spread["lpsgd"], small.any() and spread["lpsgd_m"] > spread["lpsgd"]),
        "; ".join(f"p {p:g}: {row['lpsgd']:.3f} -> {row['lpsgd_m']:.3f}" for p, row in hoyer.iterrows())
        + f"; range {spread['lpsgd']:.3f} -> {spread['lpsgd_m']:.3f}",
    )
    accuracy = 100 * last.pivot_table("test_accuracy", "p", "optimizer")
    yield Claim(
        "LpSGD and LpSGD-m converge to similar test accuracy",
        _where(table),
        _yes((accuracy["lpsgd_m"] - accuracy["lpsgd"]).abs().max() < 1),
        "; ".join(f"p {p:g}: {row['lpsgd']:.2f} % -> {row['lpsgd_m']:.2f} %" for p, row in accuracy.iterrows()),
    )


def _falls(table: pd.DataFrame) -> Iterator[Claim]:
    ranks = {number: _spearman(rows["p"], rows["hoyer_sparsity"]) for number, rows in table.groupby("number")}
    ends = {
        number: rows.groupby("p")["hoyer_sparsity"].mean().iloc[[0, -1]].tolist()
        for number, rows in table.groupby("number")
    }
    falling = [rank <= MONOTONE for rank in ranks.values()]
    yield Claim(
        f"Hoyer's sparsity falls as p grows ({table['p'].min():g} to {table['p'].max():g})",
        _where(table, "every layer"),
        _yes(all(falling), any(falling)),
        "; ".join(
            f"layer {n}: {ends[n][0]:.2f} -> {ends[n][1]:.2f}, rank correlation {rank:.2f}" for n, rank in ranks.items()
        ),
    )


def _theory_fits(table: pd.DataFrame) -> Iterator[Claim]:
    layers = table.groupby("number").first()
    conv, linear = (layers[layers["kind"] == kind]["own_rms"] for kind in ("conv", "linear"))
    alphas = [f"{row['own_alpha']:.2f} ± {row['own_alpha_error']:.2f}" for _, row in layers.iterrows()]
    shared = layers.iloc[0]
    both = "conv {:.3f}, linear {:.3f}".format
    numbers = [
        f"alpha of each layer: conv {_listed(conv)}; linear {_listed(linear)}; alphas {', '.join(alphas)}",
        f"one alpha, {shared['shared_alpha']:.2f} ± {shared['shared_alpha_error']:.2f}: "
        + both(*(_error(table, kind, "shared_theory") for kind in ("conv", "linear"))),
        "Gaussian inputs, nothing fitted: " + both(*(_error(table, kind, "gaussian") for kind in ("conv", "linear"))),
    ]
    yield Claim(
        "The theory predicts conv layers precisely, fully connected ones only in tendency",
        _where(table, "root mean square error"),
        _yes(conv.max() < linear.min(), conv.mean() < linear.mean()),
        "; ".join(numbers),
    )


def _error(table: pd.DataFrame, kind: str, theory: str) -> float:
    """Root mean square of Hoyer's sparsity minus a column of theory, over layers of one kind."""
    rows = table[table["kind"] == kind]
    return float((rows["hoyer_sparsity"] - rows[theory]).pow(2).mean() ** 0.5)


def _correlated(table: pd.DataFrame) -> Iterator[Claim]:
    layers = table.groupby(["p", "number"]).first().reset_index()
    layers["times"] = layers["mean_abs"] / layers["by_chance"]
    inner = layers[layers["number"] < layers["number"].max()]  # the paper leaves the last layer out
    mean = inner.groupby("kind")[["mean_abs", "times"]].mean()
    raw = mean.loc["linear", "mean_abs"] > mean.loc["conv", "mean_abs"]
    relative = mean.loc["linear", "times"] > mean.loc["conv", "times"]
    by_layer = layers.groupby("number")[["mean_abs", "times"]].mean()
    yield Claim(
        "Neurons of fully connected layers are more correlated than those of conv layers (but for the last)",
        _where(table, "mean |r| of pairs, over p"),
        _yes(raw and relative, raw or relative),
        "; ".join(f"layer {n}: {row['mean_abs']:.3f} = {row['times']:.1f} x chance" for n, row in by_layer.iterrows())
        + " (chance: independent normal weights of that fan-in)",
    )


def _better_than_dense(table: pd.DataFrame) -> Iterator[Claim]:
    for _, rows in table.groupby("dataset", sort=False):
        cells = rows.assign(accuracy=100 * rows["accuracy_last"]).groupby(["method", "sparsity"])["accuracy"]
        mean, deviation = cells.mean(), cells.std(ddof=1).fillna(0.0)
        if not {("dense", 0.0), ("lpss", 0.5)} <= set(mean.index):
            continue
        lpss = mean["lpss"]
        gain, noise = lpss[0.5] - mean["dense", 0.0], max(deviation["lpss", 0.5], deviation["dense", 0.0])
        text = {key: f"{mean[key]:.2f} ± {deviation[key]:.2f} %" for key in mean.index}
        at = "; ".join(f"at {sparsity:g} {text['lpss', sparsity]}" for sparsity in lpss.index)
        yield Claim(
            "At a sparsity of about .5 LpSS is better than dense",
            _where(rows, "by more than a standard deviation; in part: by less"),
            _yes(gain > noise, gain > 0),
            f"dense {text['dense', 0.0]}, LpSS at .5 {text['lpss', 0.5]}",
        )
        falls = lpss.iloc[0] - lpss.iloc[-1]
        yield Claim(
            "With growing sparsity accuracy falls slightly",
            _where(rows, "by less than 2 points from the least to the greatest sparsity"),
            _yes(0 <= falls < 2, falls >= 0),
            f"LpSS {at}",
        )


def _best_at_high_sparsity(table: pd.DataFrame) -> Iterator[Claim]:
    top = table[table["sparsity"] == table["sparsity"].max()]
    accuracy = (100 * top.groupby("method")["accuracy_last"].mean()).drop("dense", errors="ignore")
    if "lpss" not in accuracy or len(accuracy) == 1:
        return
    others = accuracy.drop("lpss")
    compared = " and ".join(METHODS.get(name, name) for name in others.index)
    seeds, epochs = table["seed"].nunique(), table["epochs"].max()
    yield Claim(
        f"At sparsity {table['sparsity'].max():g} LpSS is well ahead of the other methods",
        _where(table, f"{_count(seeds, 'seed')}, {_count(epochs, 'epoch')}, compared with {compared} alone"),
        _yes(accuracy["lpss"] > others.max() + 0.2, accuracy["lpss"] > others.max()),
        "; ".join(
            f"{METHODS.get(name, name)} {value:.2f} %" for name, value in accuracy.sort_values(ascending=False).items()
        ),
        ", in this one comparison" if seeds == 1 else "",
    )


def _grows_with_scale(table: pd.DataFrame) -> Iterator[Claim]:
    for (_, model), rows in table.groupby(["dataset", "model"], sort=False):
        cells = rows.groupby("parameters")[["sparsity_weights", "predicted", "accuracy_last"]].mean()
        for text, column in (
            ("The largest sparsity LpSS reaches grows with the model's scale", "sparsity_weights"),
            ("Accuracy at the largest sparsity grows with the model's scale", "accuracy_last"),
        ):
            rank = _spearman(cells.index, cells[column])
            values = "; ".join(f"{n:,} parameters {value:.3f}" for n, value in cells[column].items())
            yield Claim(text, _where(rows, model), _yes(rank >= 0.95, rank >= 0.7), values)


def _noise(_: pd.DataFrame) -> Iterator[Claim]:
    exact, plain, momentum = noise_toy()
    yield Claim(
        "(why) Gradient noise biases LpSGD, which averages a power of it, not LpSGD-m",
        "toy: 32 quadratics, d = 100, p = 1.2, noise as large as the gradient",
        _yes(abs(momentum - exact) < abs(plain - exact) / 4, abs(momentum - exact) < abs(plain - exact)),
        f"Hoyer's sparsity: exact {exact:.3f}, LpSGD {plain:.3f}, LpSGD-m without momentum {momentum:.3f}",
    )


@cache
def noise_toy(p: float = 1.2, d: int = 100, problems: int = 32, steps: int = 800) -> tuple[float, float, float]:
    """Mean Hoyer's sparsity where R(w) = |w - c|^2 / 2 ends on the sphere: without noise, and with normal noise as
    large as the gradient's root mean square by LpSGD and by LpSGD-m with gamma = 0 (the same starts and noise).
    """
    import torch

    from lpss import LpSGD, LpSGDm, sphere

    draw = torch.Generator().manual_seed(0)
    c = 2 * sphere.normalize(torch.randn(problems, d, generator=draw, dtype=torch.float64), p)
    start = sphere.normalize(torch.randn(problems, d, generator=draw, dtype=torch.float64), p)

    def end(cls: type, noise: float, **options) -> float:
        draw = torch.Generator().manual_seed(1)
        w = torch.nn.Parameter(start.clone())
        optimizer = cls([w], lr=0.1, p=p, **options)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 0.1 * 1e-3 ** (step / steps)  # so that the noise averages out
            g = w.detach() - c
            size = g.square().mean(1, keepdim=True).sqrt()
            w.grad = g + noise * size * torch.randn(g.shape, generator=draw, dtype=g.dtype)
            optimizer.step()
        return float(sphere.hoyer_sparsity(w.detach()).mean())

    return end(LpSGDm, 0.0, momentum=0.0), end(LpSGD, 1.0), end(LpSGDm, 1.0, momentum=0.0)


LOOKS = (
    ("fig2", _near_zero),
    ("fig5", _falls),
    ("fig6", _falls),
    ("fig3", _momentum),
    ("fig3", _noise),
    ("fig4", _momentum),
    ("fig5", _theory_fits),
    ("fig6", _theory_fits),
    ("fig7", _correlated),
    ("fig8", _better_than_dense),
    ("fig9", _best_at_high_sparsity),
    ("fig10", _grows_with_scale),
)


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _spearman(x, y) -> float:
    """Rank correlation; NaN where one does not vary."""
    return float(pd.Series(list(x)).rank().corr(pd.Series(list(y)).rank()))


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _yes(wholly: bool, partly: bool = False) -> str:
    return "yes" if wholly else "in part" if partly else "no"


def _ends(values: pd.Series, percent: bool = False) -> str:
    times, unit = (100, " %") if percent else (1, "")
    return ", ".join(f"p {p:g} {times * value:.0f}{unit}" for p, value in values.items())


def _where(table: pd.DataFrame, more: str = "") -> str:
    names = ", ".join(DATASETS.get(name, name) for name in dict.fromkeys(table["dataset"]))
    return f"{'/'.join(dict.fromkeys(table['experiment']))}, {names}" + (f": {more}" if more else "")
