"""Two runs: settings and results that differ, layers of other densities, and what else changed between the two."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lpss.config import incidental_settings
from lpss.options import flat
from lpss.record import FIELDS, changes, read_layers
from lpss.runs.run import Run
from lpss.runs.text import aligned, indented, is_number, short

RESULTS = [name for name, field in FIELDS.items() if field.role == "result" and name not in ("files", "warnings")]
RESULTS += ["wall_time_s", "peak_memory_bytes"]


def diff(first: Run, second: Run) -> str:
    """What differs, in sections: a line a name with both values, of results with the difference, too."""
    runs = (first, second)
    settings = [dict(flat(run.config)) for run in runs]
    incidental = incidental_settings()
    sections = {
        "settings": _differing(*({k: v for k, v in one.items() if k not in incidental} for one in settings)),
        "settings that decide no result": _differing(*({k: one.get(k) for k in incidental} for one in settings)),
        "results": _differing(*({name: run.record[name] for name in RESULTS} for run in runs), numbers=True),
        "densities of layers": _differing(*map(_densities, runs), numbers=True),
        "where they ran": "".join(f"{short(line)}\n" for line in changes(first.record, second.record)),
    }
    heads = "".join(f"{letter}  {short(run.folder)}\n" for letter, run in zip("AB", runs, strict=True))
    found = "".join(f"\n{title}\n{indented(body)}" for title, body in sections.items() if body)
    return heads + (found or "\nno difference\n")


def _differing(first: Mapping, second: Mapping, numbers: bool = False) -> str:
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    rows = [(name, *_values(first.get(name), second.get(name), numbers)) for name in names]
    return aligned(("", "A", "B", "B - A")[: 4 if numbers else 3], rows, left=("",))


def _values(first, second, numbers: bool) -> list[str]:
    both = [f"{value:.6g}" if isinstance(value, float) else short(value) for value in (first, second)]
    if numbers:
        both.append(f"{second - first:+.4g}" if is_number(first) and is_number(second) else "")
    return both


def _densities(run: Run) -> dict[str, float]:
    """Layer -> density reached; empty where layers.csv is not there, or is none."""
    with suppress(OSError, ValueError, KeyError):
        layers = read_layers(Path(run.folder))
        return {} if layers is None else dict(zip(layers["layer"], layers["density_reached"], strict=True))
    return {}
