"""lpss-theory: expected Hoyer's sparsity, and the sparsity that dropping small weights alone leads to, as a table."""

import argparse
import math
import sys
from collections.abc import Iterable
from functools import cache
from itertools import product

from lpss.cli import CommandParser, run_command
from lpss.errors import UsageError
from lpss.report.grid import markdown_table
from lpss.report.tables import decimals, four
from lpss.theory import expected_hoyer, expected_hoyer_gaussian, largest_p, natural_sparsity

DESCRIPTION = """Expected Hoyer's sparsity of a neuron, for every fan-in, p and law of the inputs: the paper's
eq (30) with each --alpha, and the standard normal."""


_largest_p = cache(largest_p)  # the same in every row of one fan-in and law


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns its exit code (see `run_command`)."""
    return run_command("lpss-theory", lambda: _run(parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> None:
    if args.sparsity is not None and args.zeta_w is None:
        raise UsageError("--sparsity needs --zeta-w, the relative threshold of the drop rule (LpSS's default is 0.5)")
    header = ["Fan-in", "p", "Inputs", "E[Hoyer]"]
    if args.zeta_w is not None:
        header += ["Dropped once", "Dropped"]
    if args.sparsity is not None:
        header += [f"p for {args.sparsity:g}"]
    rows = [list(_cells(args, *case)) for case in product(args.d, args.p, [*args.alpha, None])]
    sys.stdout.write(markdown_table(header, 3, rows, _legend(args), []))


def _cells(args: argparse.Namespace, d: int, p: float, alpha: float | None) -> Iterable[str]:
    gaussian = alpha is None
    yield from (str(d), f"{p:g}", "Gaussian" if gaussian else f"eq (30), alpha {alpha:g}")
    yield four(float(expected_hoyer_gaussian(d, p) if gaussian else expected_hoyer(d, p, alpha)))
    if args.zeta_w is not None:
        for once in (True, False):
            yield decimals(natural_sparsity(d, p, args.zeta_w, alpha, once=once), 3)
    if args.sparsity is not None:
        reaching = _largest_p(args.sparsity, d, args.zeta_w, alpha)
        yield "none" if reaching is None else "any" if math.isinf(reaching) else f"{reaching:.3f}"


def _legend(args: argparse.Namespace) -> str:
    text = "E[Hoyer]: expected Hoyer's sparsity of w = x^[1/(p-1)] with such inputs x."
    if args.zeta_w is not None:
        text += f" Dropped: by dropping below {args.zeta_w:g} x mean |w| alone, once and until nothing is left to drop."
    if args.sparsity is not None:
        text += f" p for {args.sparsity:g}: the largest p at which that is reached."
    return text


def parser() -> argparse.ArgumentParser:
    parser = CommandParser("lpss-theory", description=DESCRIPTION)
    add = parser.add_argument
    add("--d", type=int, nargs="+", required=True, help="fan-ins, at least 2")
    add("--p", type=float, nargs="+", required=True, help="values of p, greater than 1")
    add("--alpha", type=float, nargs="+", default=[], help="shapes of eq (30)'s law; none: Gaussian inputs only")
    add("--zeta-w", type=float, metavar="ZETA", help="also what LpSS's drop rule alone leads to with this threshold")
    add("--sparsity", type=float, metavar="S", help="also the largest p at which the drop rule alone reaches this")
    return parser


if __name__ == "__main__":
    sys.exit(main())
