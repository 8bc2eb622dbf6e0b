"""What all pictures share: formats, style, and files that are the same bytes for the same runs."""

from pathlib import Path

from matplotlib.figure import Figure

from lpss.errors import UsageError
from lpss.files import write_atomically

FORMATS = (".png", ".pdf", ".svg")
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "svg.hashsalt": "lpss",
    "text.parse_math": False,
}


def plot_path(path: str | Path) -> Path:
    """`path` as a Path. Raises UsageError for a suffix that is none of `FORMATS`."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"cannot draw {path}: use a name that ends in {', '.join(FORMATS)}")
    return path


def save(figure: Figure, path: Path) -> None:
    """Write the figure; folders are made. Raises LpssError where the file cannot be written."""
    # Without a date and a version the same runs give the same bytes.
    metadata = {"Software": None} if path.suffix.lower() == ".png" else {"Creator": None}
    if path.suffix.lower() == ".pdf":
        metadata |= {"CreationDate": None, "Producer": None}
    elif path.suffix.lower() == ".svg":
        metadata |= {"Date": None}
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150, metadata=metadata))
