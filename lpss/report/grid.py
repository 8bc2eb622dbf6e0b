"""A table as texts, and what markdown, LaTeX and HTML make of it."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Grid(NamedTuple):
    """A table whose texts are in one format's markup, but for the legend, which is plain.

    header: a text a column; left: how many of these are left-aligned, the rest is numbers; rows: texts, as many as
    columns; legend: how to read it; notes: footnotes from [1] on.
    """

    header: list[str]
    left: int
    rows: list[list[str]]
    legend: str
    notes: list[str]


@dataclass(frozen=True)
class Style:
    """How a format writes what needs markup."""

    escape: Callable[[str], str]
    bold: Callable[[str], str]
    footnote: Callable[[int], str]
    plus_minus: str
    minus: str


_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    return re.sub("[" + re.escape("".join(_LATEX_SPECIAL)) + "]", lambda m: _LATEX_SPECIAL[m.group()], text)


MARKDOWN = Style(lambda text: text.replace("|", r"\|"), "**{}**".format, " [{}]".format, "±", "-")
LATEX = Style(escape_latex, r"\textbf{{{}}}".format, r"\,$^{{{}}}$".format, r"$\pm$", "$-$")
PLAIN = Style(str, str, " [{}]".format, "±", "-")
HTML = Style(html.escape, "<b>{}</b>".format, "<sup>[{}]</sup>".format, "±", "−")


class Footnotes(dict):
    """Text -> number, in the order of first use; equal notes share a number."""

    def mark(self, text: str, style: Style) -> str:
        return style.footnote(self.setdefault(text, len(self) + 1)) if text else ""


def markdown_table(header: list[str], left: int, rows: list[list[str]], legend: str, notes: list[str]) -> str:
    """The parts of a `Grid`: a table that is padded, so that it reads well in a terminal, legend and footnotes."""
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]
    pads = [str.ljust if i < left else str.rjust for i in range(len(header))]
    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [
        "| " + " | ".join(pad(cell, w) for pad, cell, w in zip(pads, line, widths, strict=True)) + " |"
        for line in (header, rule, *rows)
    ]
    notes = [f"- [{number}] {text}" for number, text in enumerate(notes, 1)]
    return "\n".join([*lines, "", legend, *([""] if notes else []), *notes]) + "\n"


def latex_table(header: list[str], left: int, rows: list[list[str]], legend: str, notes: list[str]) -> str:
    """The parts of a `Grid` as a table environment, with space where the first column changes; needs booktabs."""
    body, data_set = [], rows[0][0]
    for row in rows:
        if row[0] not in ("", data_set):
            body.append(r"\addlinespace")
            data_set = row[0]
        body.append(" & ".join(row) + r" \\")
    foot = [rf"{{\footnotesize $^{{{number}}}$ {text}}}\par" for number, text in enumerate(notes, 1)]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escape_latex(legend)}}}",
        rf"\begin{{tabular}}{{{'l' * left}{'r' * (len(header) - left)}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *([r"\par\smallskip", *foot] if foot else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
