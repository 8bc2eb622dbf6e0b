"""Which runs, in which order: --where "method=lpss,set sparsity>=.9" and --sort dataset,-accuracy_last."""

import operator
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lpss.errors import UsageError, suggestion
from lpss.record import DTYPES, FIELDS
from lpss.runs.run import STATES, Run
from lpss.runs.text import is_number, shown

TERM = re.compile(r"([^=!<>~]+)(!=|<=|>=|==?|<|>|~)(.*)", flags=re.S)
ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Term:
    """NAME OPERATOR VALUE[,VALUE...]; `test` tells whether a run's value, or None, meets it."""

    name: str
    test: Callable[[object], bool]


def where(texts: Sequence[str]) -> list[Term]:
    """The terms of all texts, which must all hold. Raises UsageError that names the term.

    Terms are separated by spaces, values that hold spaces quoted. Operators: = and != (one, none of several values), ~
    (contains one of them), < <= > >= (one value). Numbers are compared as numbers, texts, such as dates, as texts.
    "null", or nothing, stands for no value.
    """
    try:
        words = [word for text in texts for word in shlex.split(text)]
    except ValueError as error:
        raise UsageError(f"--where {' '.join(texts)}: {error}") from None
    return [_term(word) for word in words]


def select(runs: Sequence[Run], terms: Sequence[Term]) -> list[Run]:
    """The runs that meet all terms. Raises UsageError for a name that no run knows."""
    check_names([term.name for term in terms], runs, "--where")
    return [run for run in runs if all(term.test(run.get(term.name)) for term in terms)]


def ordered(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """Sorted by the first name, then by the next; from the largest where it begins with "-". Runs without a value come
    last, numbers before texts."""
    for name in reversed(names):
        runs = _sorted(runs, name.removeprefix("-"), name.startswith("-"))
    return list(runs)


def check_names(names: Sequence[str], runs: Sequence[Run], option: str) -> None:
    """Raise UsageError for a name that is neither a field nor a setting of one of the runs, where there are runs."""
    for name in names:
        if not (name == "folder" or name in FIELDS or not runs or any(_knows(run, name) for run in runs)):
            known = sorted({name for run in runs for name in run.names()})
            remedy = "fields are those of run.json, settings are written as train.epochs"
            raise UsageError(f"{option}: no run has {name!r}{suggestion(name, known)}; {remedy}")


def _knows(run: Run, name: str) -> bool:
    return run.get(name) is not None or name in run.names()


def _sorted(runs: Sequence[Run], name: str, descending: bool) -> list[Run]:
    values = [(run.get(name), run) for run in runs]
    known = [(value, run) for value, run in values if value is not None]
    known.sort(key=lambda pair: _rank(pair[0]), reverse=descending)
    return [run for _, run in known] + [run for value, run in values if value is None]


def _term(word: str) -> Term:
    match = TERM.fullmatch(word)
    if not match:
        raise UsageError(f"--where {word}: a term is NAME=VALUE, with one of = != ~ < <= > >=")
    name, sign, text = match.groups()
    values = text.split(",")
    kind = DTYPES.get(FIELDS[name].kind) if name in FIELDS else None
    if sign in ORDER:
        return Term(name, _comparison(word, kind, sign, text))
    if name == "status" and sign != "~" and (wrong := [value for value in values if value not in STATES]):
        raise UsageError(f"--where {word}: no such status{suggestion(wrong[0], STATES)}; known: {', '.join(STATES)}")
    if sign == "~":
        return Term(name, lambda value: value is not None and any(part in shown(value) for part in values))
    wanted = [_equal_to(one) for one in values]
    return Term(name, lambda value: any(test(value) for test in wanted) != (sign == "!="))


def _comparison(word: str, kind: str | None, sign: str, text: str) -> Callable[[object], bool]:
    compare, number = ORDER[sign], _as_number(text)
    if kind and number is None:
        raise UsageError(f"--where {word}: {text!r} is not a number")

    def test(value) -> bool:
        if isinstance(value, str):
            return compare(value, text)
        return is_number(value) and number is not None and compare(value, number)

    return test


def _equal_to(text: str) -> Callable[[object], bool]:
    if text in ("", "null"):
        return lambda value: value is None
    number = _as_number(text)
    return lambda value: value is not None and (value == number if is_number(value) else shown(value) == text)


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None


def _rank(value) -> tuple:
    return (0, value, "") if is_number(value) else (1, 0, shown(value))
