"""The section on sparse.json in outputs/bench/README.md."""

import statistics
from collections.abc import Callable, Iterator

from bench_tables import about, span, table

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
_BATCH_32, _BATCH_128 = {0.9: 3.5, 0.95: 6, 0.98: 10}, {0.9: 5, 0.95: 9, 0.98: 20}
_CONV = {0.9: 3, 0.95: 4.5}
# (part, cell's name, batch) -> sparsity -> how many times faster than dense it was meant to become.
GOALS = {
    **{("layers", f"{size}", 32): _BATCH_32 for size in ("256x256", "512x512", "1024x1024", "1024x3072")},
    **{("layers", f"{size}", 128): _BATCH_128 for size in ("256x256", "512x512", "1024x1024", "1024x3072")},
    **{("conv", name, 128): _CONV for name in ("32 channels, 32x32", "64 channels, 16x16", "128 channels, 8x8")},
    ("steps", "Nerva's MLP", 100): {0.9: 4, 0.95: 7, 0.99: 12},
    ("steps", "letter MLP", 128): {0.9: 3},
    ("steps", "letter MLP, BatchNorm", 128): {0.9: 2.5},
    ("steps", "WRN-22-2", 128): {0.9: 2.5, 0.95: 3.5},
    ("inference", "1024-1024-1024-10", 1): {0.9: 4},
    ("inference", "1024-1024-1024-10", 128): {0.9: 4},
}
AUTO = 0.95  # of the speed of train.backend=dense: what train.backend=auto may not fall below
NERVA = {0.9: 1.7, 0.95: 2.5, 0.99: 4.3}
GPU = """\
On GPUs no: masks are applied to dense kernels there, which need as many operations for a sparse net as for the dense
one, and the method's own work comes on top. We know of nothing that trains nets faster there from unstructured sparse
weights at these sparsities: NVIDIA calls sparse products
[not competitive below .95](https://developer.nvidia.com/blog/accelerating-matrix-multiplication-with-block-sparse-format-and-nvidia-tensor-cores/),
and the kernels of [Gale et al. 2020](https://arxiv.org/abs/2006.10901), made for such nets, reach 27 % of a V100's
float32 peak, without its tensor cores."""


def answer(data: dict | None) -> str:
    """Whether sparse training is faster than dense."""
    cells = [] if data is None else data["cells"]
    gains = [cell["speed_up"]["ours 0.9"] for cell in cells if cell["part"] == "steps"]
    if not gains:
        return GPU
    auto = [ratio for cell in cells if cell["part"] == "auto" for ratio in _to_masked(cell, switched=True).values()]
    least = f", {span(auto, 2)} times as fast as `dense` wherever a layer computes sparse" if auto else ""
    return f"""Yes, on CPUs, with `train.backend=auto` or `lpss.accelerate`: nets then
compute from their active weights alone, forward and backward. At sparsity .9 a whole training step is {span(gains, 1)}
times as fast as dense float32 here; `auto`, which leaves nets or layers dense where that is faster, was over the models
of Table 4 at sparsities .5 to .9{least}.
{GPU}"""


def section(data: dict) -> str:
    cells = data["cells"]
    others = [cell["others"] for cell in cells if cell["part"] != "memory"]  # which does not depend on it
    disturbed = sum(one > 0.1 for one in others)
    quiet = f"Other programs kept {statistics.median(others):.1f} cores busy meanwhile (median over cells)"
    quiet += (
        f", more than a tenth of one in {disturbed} of {len(others)} cells: provisional numbers." if disturbed else "."
    )
    lab = (
        f"[SparseLab](https://pypi.org/project/sparselab/) {data['sparselab']}" if data["sparselab"] else "no SparseLab"
    )
    parts = [write(cells) for part, write in PARTS.items() if any(cell["part"] == part for cell in cells)]
    parts += [text] if (text := missed(cells)) else []
    return f"""## Sparse nets on CPUs

{about(data, "sparse.json", "python scripts/bench_sparse.py --json outputs/bench/sparse.json")}

How many times faster than dense float32: ratios of best rounds ({_medians(cells)}).
{quiet}

*Ours*: `lpss.accelerate`, all layers sparse, Python's and autograd's time included. *bfloat16*: dense under autocast.
*Masked*: dense products and masked gradients, which is `train.backend=dense`. *CSR*: torch's own sparse matrices,
activations in the same layout as ours. Masks are random and do not change. Here with {lab}.
{_goals(cells)}

![speed-up against sparsity, of layers and of whole training steps](sparse.png)

{chr(10).join(parts)}"""


def _medians(cells: list[dict]) -> str:
    """How far ratios of medians are from them, for ours."""
    apart = [
        abs(cell["median_speed_up"][name] / value - 1)
        for cell in cells
        for name, value in cell.get("speed_up", {}).items()
        if name.startswith("ours")
    ]
    return f"those of medians differ by {100 * statistics.median(apart):.0f} % in the median" if apart else "-"


def _goals(cells: list[dict]) -> str:
    """How many goals were reached, by threads."""
    lines = []
    for threads in dict.fromkeys(cell["threads"] for cell in cells):
        pairs = [
            (cell["speed_up"][f"ours {sparsity}"], goal)
            for cell in cells
            if cell["threads"] == threads
            for sparsity, goal in goals_of(cell).items()
        ]
        reached = sum(value >= goal for value, goal in pairs)
        lines += [f"{reached} of {len(pairs)} with {threads} threads"] if pairs else []
    return f"Goals reached: {', '.join(lines)}." if lines else ""


def goals_of(cell: dict) -> dict[float, float]:
    return GOALS.get((cell["part"], cell["name"], cell["batch"]), {})


def missed(cells: list[dict]) -> str:
    """The goals that were not reached, and what the products alone would allow."""
    lines = []
    for cell in cells:
        for sparsity, goal in goals_of(cell).items():
            name, bare = f"ours {sparsity}", f"ours bare {sparsity}"
            if cell["speed_up"][name] >= goal:
                continue
            row = [*place(cell), short(sparsity), ratio(goal), ratio(cell["speed_up"][name])]
            if bare in cell["ms"]:
                share = cell["ms"][bare] / cell["ms"][name]
                row += [ratio(cell["speed_up"][bare]), f"{1e3 * cell['ms'][name]:.0f}", f"{100 * share:.0f} %"]
            else:
                row += ["-", f"{1e3 * cell['ms'][name]:.0f}", "-"]
            lines.append([cell["part"], *row])
    if not lines:
        return ""
    head = ["part", "what", "batch", "threads", "sparsity", "goal", "reached", "products alone", "us", "of it products"]
    return f"""### Goals that were missed

*Products alone*: how many times faster they are than dense products without autograd. What is not products is Python,
autograd, allocation and, in steps, everything between layers and the optimizer, which dense nets pay as well: about 60
us a small layer, more than half of what 256 or 512 wide layers take, and above .95 most of every step. At 1024 wide the
products themselves are the limit: an active weight reads the activations of its channel, 512 bytes for a batch of 128,
from the second cache. Parts of the input small enough for the first cache were tried, and were slower, since rows are
short then. With one example there is one multiply-add for every index and weight that is read.

{table(head, lines, left=2)}"""


# --- tables ---------------------------------------------------------------------------------------------------------


def of_part(cells: list[dict], part: str) -> Iterator[dict]:
    """Cells of the same name beside each other."""
    chosen = [cell for cell in cells if cell["part"] == part]
    names = list(dict.fromkeys((cell["name"], cell["batch"]) for cell in chosen))
    return iter(sorted(chosen, key=lambda cell: (names.index((cell["name"], cell["batch"])), cell["threads"])))


def ratio(value: float | None, goal: float | None = None) -> str:
    if value is None:
        return "-"
    text = f"{value:.2f}" if value < 10 else f"{value:.1f}"
    return text if goal is None else f"{text} (goal {goal:g}{'' if value >= goal else ' missed'})"


def speed(cell: dict, name: str, sparsity: float | None = None) -> str:
    return ratio(cell["speed_up"].get(name if sparsity is None else f"{name} {sparsity}"))


def ours(cell: dict) -> list[str]:
    """One for each sparsity, beside its goal."""
    goals = goals_of(cell)
    return [ratio(cell["speed_up"].get(f"ours {sparsity}"), goals.get(sparsity)) for sparsity in SPARSITIES]


def place(cell: dict) -> list[str]:
    return [cell["name"], str(cell["batch"]), str(cell["threads"])]


def short(sparsity: float) -> str:
    return f"{sparsity:g}".removeprefix("0")


OURS = [f"ours {short(sparsity)}" for sparsity in SPARSITIES]


def layers(cells: list[dict]) -> str:
    lines = [
        [*place(cell), f"{cell['ms']['dense']:.2f}", speed(cell, "bfloat16"), speed(cell, "masked"), *ours(cell)]
        for cell in of_part(cells, "layers")
    ]
    head = ["inputs x outputs", "batch", "threads", "dense ms", "bfloat16", "masked", *OURS]
    kinds = {"csr": "CSR", "sparselab": "SparseLab", "ours": "ours", "ours bare": "products alone"}
    chosen = (0.5, 0.9, 0.98)
    others = [
        [*place(cell), *(speed(cell, kind, sparsity) for sparsity in chosen for kind in kinds)]
        for cell in of_part(cells, "layers")
    ]
    names = [f"{name} {short(sparsity)}" for sparsity in chosen for name in kinds.values()]
    return f"""### Linear layers

Forward pass and both gradients, activations in the layout in which a layer hands them to the next.

{table(head, lines)}
The same beside other sparse code. *Products alone*: our three products without autograd, against three `torch.mm`.

{table([*head[:3], *names], others)}"""


def conv(cells: list[dict]) -> str:
    lines = [
        [
            *place(cell),
            f"{cell['ms']['dense NCHW']:.1f}",
            f"{cell['ms']['dense']:.1f}",
            speed(cell, "bfloat16"),
            speed(cell, "masked"),
            *ours(cell),
        ]
        for cell in of_part(cells, "conv")
    ]
    head = ["convolution", "batch", "threads", "NCHW ms", "channels_last ms", "bfloat16", "masked", *OURS]
    return f"""### 3x3 convolutions

Likewise; ratios are to the better of the two dense ones.

{table(head, lines)}"""


def steps(cells: list[dict]) -> str:
    lines = [
        [
            *place(cell),
            f"{min(cell['ms']['dense'], cell['ms'].get('dense NCHW', 1e9)):.2f}",
            *(speed(cell, name) for name in ("bfloat16", "masked")),
            *(speed(cell, name, 0.9) for name in ("csr", "sparselab")),
            *ours(cell),
        ]
        for cell in of_part(cells, "steps")
    ]
    head = ["net", "batch", "threads", "dense ms", "bfloat16", "masked", "CSR .9", "SparseLab .9", *OURS]
    on_sphere = [
        [
            *place(cell),
            f"{cell['ms']['dense lpsgd_m']:.2f}",
            *(speed(cell, "ours lpsgd_m", sparsity) for sparsity in SPARSITIES),
        ]
        for cell in of_part(cells, "steps")
    ]
    nerva = ", ".join(f"{value:g} at {short(sparsity)}" for sparsity, value in NERVA.items())
    return f"""### Training steps

zero_grad, forward pass, cross-entropy, backward pass, masks, and torch's fused SGD with Nesterov momentum.
*Nerva's MLP* is 3072-1024-512-10 with ReLU; [Nerva](https://github.com/wiegerw/nerva) itself reports {nerva}
for a whole epoch of it, against PyTorch.

{table(head, lines)}
With LpSGD-m (p = 1.2) instead of SGD, dense and sparse:

{table(["net", "batch", "threads", "dense ms", *OURS], on_sphere)}"""


def _to_masked(cell: dict, switched: bool = False) -> dict[str, float]:
    """How many times faster `auto` is than train.backend=dense, by name; `switched`: where a layer computes sparse."""
    names = [name for name in cell["ms"] if name.startswith("auto")]
    if switched:
        names = [name for name in names if not cell["sparse_layers"][name].startswith("0/")]
    return {name: cell["ms"]["masked"] / cell["ms"][name] for name in names}


def auto(cells: list[dict]) -> str:
    chosen = list(of_part(cells, "auto"))
    sparsities = [name.split()[1] for name in _to_masked(chosen[0])]
    lines = [
        [
            *place(cell),
            f"{cell['ms']['masked']:.2f}",
            speed(cell, "masked"),
            *(
                f"{ratio(_to_masked(cell)[f'auto {sparsity}'])} ({cell['sparse_layers'][f'auto {sparsity}']})"
                for sparsity in sparsities
            ),
        ]
        for cell in chosen
    ]
    head = ["data set", "batch", "threads", "backend=dense ms", "of dense SGD"]
    head += [f"auto {short(float(sparsity))}" for sparsity in sparsities]
    changed = [
        (value, cell["name"], cell["threads"], name)
        for cell in chosen
        for name, value in _to_masked(cell, switched=True).items()
    ]
    same = [
        value for cell in chosen for name, value in _to_masked(cell).items() if cell["sparse_layers"][name][0] == "0"
    ]
    worst = ""
    if changed:
        value, name, threads, at = min(changed)
        verdict = "reached" if value >= AUTO else "missed"
        worst = (
            f"The smallest where a layer computes sparse is {value:.2f} ({name}, {threads} threads, {at}; goal {AUTO}: "
        )
        worst += f"{verdict}).\n"
    if same:
        worst += f"Where none does, both run the same code: ratios of {span(same, 2)} there are noise.\n"
    return f"""### train.backend=auto

Steps of the data sets' own models, static masks: how many times faster than `train.backend=dense`, and how many of the
masked layers compute sparse. *Of dense SGD*: the speed of `backend=dense` relative to training without masks.

{table(head, lines)}
{worst}"""


def memory(cells: list[dict]) -> str:
    lines = []
    for cell in of_part(cells, "memory"):
        dense = {kind: _held(cell["bytes"][kind]) for kind in ("dense", "dense lpsgd_m") if kind in cell["bytes"]}
        for name, row in cell["bytes"].items():
            base = dense["dense lpsgd_m" if "lpsgd_m" in name else "dense"]
            numbers = [*(row[kind] for kind in HELD), _held(row)]
            numbers = [f"{number / 1e6:.2f}" for number in numbers] + [f"{100 * _held(row) / base:.0f} %"]
            peaks = [f"{row[kind] / 1e6:.0f}" for kind in ("peak", "step_peak")]
            lines.append([cell["name"], name.replace("lpsgd_m", "LpSGD-m"), *numbers, *peaks])
    head = ["net", "", *HELD, "sum", "of dense", "peak", "peak of steps"]
    return f"""### Memory

MB that lie in memory between two steps: 4 bytes each for weights, gradients, momentum (LpSGD-m: 8) and masks, and
*index*, where active weights are. *Peak*: by how much a process of its own grows from before the net is made to the
third step, with activations and everything temporary; *peak of steps*: by how much the steps raise it above what
making the net took.

{table(head, lines, left=2)}"""


HELD = ("weights", "gradients", "optimizer", "masks", "index")


def _held(row: dict) -> int:
    return sum(row[kind] for kind in HELD)


def inference(cells: list[dict]) -> str:
    lines = [
        [
            *place(cell),
            f"{cell['ms']['dense']:.3f}",
            speed(cell, "bfloat16"),
            *(speed(cell, name, 0.9) for name in ("csr", "sparselab")),
            *ours(cell),
        ]
        for cell in of_part(cells, "inference")
    ]
    head = ["net", "batch", "threads", "dense ms", "bfloat16", "CSR .9", "SparseLab .9", *OURS]
    return f"""### Inference

Forward passes in evaluation mode, without gradients.

{table(head, lines)}"""


def runs(cells: list[dict]) -> str:
    lines = []
    for cell in of_part(cells, "runs"):
        dense, automatic = (cell["runs"][name] for name in ("dense", "auto"))
        seconds = [min(row["seconds"]) for row in (dense, automatic)]
        accuracies = [f"{statistics.mean(row['accuracy']):.4f}" for row in (dense, automatic)]
        gain = ratio(seconds[0] / seconds[1])
        lines.append([cell["name"], str(cell["threads"]), *(f"{one:.1f}" for one in seconds), gain, *accuracies])
    head = ["run", "threads", "dense s", "auto s", "times faster", "accuracy, dense", "auto"]
    return f"""### Whole runs

`lpss-train` at sparsity .9, seed 0, from the first step to the last, evaluation included, under `train.backend=dense`
and `auto`.

{table(head, lines)}"""


PARTS: dict[str, Callable[[list[dict]], str]] = {
    "layers": layers,
    "conv": conv,
    "steps": steps,
    "auto": auto,
    "memory": memory,
    "inference": inference,
    "runs": runs,
}
