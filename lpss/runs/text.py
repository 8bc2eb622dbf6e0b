"""Values and columns as text for a terminal."""

import json
from collections.abc import Container, Sequence


def shown(value) -> str:
    """A value as text, whole: JSON where it is not a text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def short(value) -> str:
    """A value in a few digits and on one line; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10**4 else f"{value:.0f}"
    return one_line(shown(value))


def is_number(value) -> bool:
    """Whether it is one in JSON, where true is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def one_line(text: str) -> str:
    """The text with what would break a line, or a terminal, written as an escape."""
    return text if text.isprintable() else ascii(text)[1:-1]


def runs_text(count: int) -> str:
    """ "1 run", "2 runs"."""
    return f"{count} run{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min, 2 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], left: Container[str]) -> str:
    """Columns as wide as what they hold, those named in `left` aligned there, the others right; "" without rows."""
    if not rows:
        return ""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    pads = [str.ljust if name in left else str.rjust for name in header]
    lines = (zip(pads, line, widths, strict=True) for line in (header, *rows))
    return "".join("  ".join(pad(cell, width) for pad, cell, width in line).rstrip() + "\n" for line in lines)


def indented(text: str) -> str:
    """The lines of a section below its title."""
    return "".join(f"  {line}\n" for line in text.splitlines())
