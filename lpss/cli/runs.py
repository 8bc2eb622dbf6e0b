"""lpss-runs: list runs, show one, compare two, delete and forget, disk use, and follow a sweep."""

import argparse
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

from lpss.cli import CommandParser, print_error, run_command
from lpss.errors import UsageError
from lpss.files import size_text
from lpss.record import RUNNING
from lpss.runs.cleanup import FORGETTABLE, delete, forget
from lpss.runs.contents import size_of
from lpss.runs.diff import diff
from lpss.runs.disk import disk
from lpss.runs.find import Places, find_run
from lpss.runs.listing import BRIEF, FORMATS, listing
from lpss.runs.query import check_names, ordered, select, where
from lpss.runs.run import Run
from lpss.runs.show import show
from lpss.runs.sweep import snapshot
from lpss.runs.text import aligned, one_line, runs_text

PROGRAM = "lpss-runs"
NAMED = 20  # runs that are named before they are deleted
DESCRIPTION = "Lists, shows and compares runs, deletes and forgets some, and follows those that are being trained."
WHERE = """terms that all must hold: "method=lpss,set sparsity>=.9 train.epochs!=20 status=finished"; = and != take
several values, ~ means contains, < <= > >= compare numbers or dates; names are fields of run.json, settings, folder"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns its exit code (see `run_command`)."""
    return run_command(PROGRAM, lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(words: list[str]) -> int | None:
    args = parser().parse_args(_joined(words))
    return args.command(args)


def _joined(words: list[str]) -> list[str]:
    """--sort -NAME as --sort=-NAME: argparse would take the second word for an option."""
    for at, (word, after) in enumerate(zip(words, words[1:], strict=False)):
        if word == "--sort" and after.startswith("-"):
            return [*words[:at], f"--sort={after}", *words[at + 2 :]]
    return words


def _list(args: argparse.Namespace) -> None:
    runs, terms, sort, columns = Places(args.paths).runs(), where(args.where), _words(args.sort), _words(args.columns)
    check_names([name.removeprefix("-") for name in sort], runs, "--sort")
    check_names(columns, runs, "--columns")
    chosen = ordered(select(runs, terms), sort)
    sys.stdout.write(listing(chosen[: args.limit], columns, args.format))
    counted = f"{len(chosen)} of {runs_text(len(runs))}" if terms else runs_text(len(runs))
    first = f", the first {args.limit} shown" if args.limit is not None and args.limit < len(chosen) else ""
    print_error(PROGRAM, f"{counted}{first}")


def _show(args: argparse.Namespace) -> None:
    sys.stdout.write(show(find_run(args.run, args.paths)))


def _diff(args: argparse.Namespace) -> None:
    sys.stdout.write(diff(find_run(args.first, args.paths), find_run(args.second, args.paths)))


def _delete(args: argparse.Namespace) -> int:
    places = Places(args.paths, only_folders=True)
    runs = places.runs()
    if not args.where and {run.folder for run in runs} != {root.as_posix() for root in places.roots}:
        raise UsageError("delete: say which runs with --where, or name the folder of each")
    chosen = select(runs, where(args.where))
    sizes = {run: size_of(run.folder) for run in chosen if run.status != RUNNING}
    if len(sizes) < len(chosen):
        print_error(PROGRAM, f"left out {len(chosen) - len(sizes)} that are being trained")
    if not sizes or not args.yes and not _agreed(sizes):
        print("nothing is deleted")
        return 0
    deleted = _done(delete(sizes))
    print(f"deleted {len(deleted)} of {runs_text(len(sizes))}, {size_text(sum(sizes[run] for run in deleted))}")
    return int(len(deleted) < len(sizes))


def _forget(args: argparse.Namespace) -> int:
    chosen = select(Places(args.paths, only_folders=True).runs(), where(args.where))
    chosen = [run for run in chosen if run.status in FORGETTABLE]
    forgotten = _done(forget(chosen))
    for run in forgotten:
        print(one_line(run.folder))
    print(f"forgot {len(forgotten)} of {runs_text(len(chosen))}")
    return int(len(forgotten) < len(chosen))


def _done(outcomes: Iterable[tuple[Run, str]]) -> list[Run]:
    """The runs with which it went well; the others are named, with the reason."""
    done = []
    for run, problem in outcomes:
        if problem:
            print_error(PROGRAM, f"{one_line(run.folder)}: {problem}")
        else:
            done.append(run)
    return done


def _agreed(sizes: dict[Run, int]) -> bool:
    """Whether whoever is asked says yes. Raises UsageError where nobody can be asked."""
    rows = [(run.status, size_text(size), one_line(run.folder)) for run, size in list(sizes.items())[:NAMED]]
    print(aligned(("status", "bytes", "folder"), rows, left=("status", "folder")), end="")
    if len(sizes) > NAMED:
        print(f"... and {len(sizes) - NAMED} more")
    print(f"Delete {runs_text(len(sizes))}, {size_text(sum(sizes.values()))}? [y/N] ", end="", flush=True)
    answer = sys.stdin.readline() if sys.stdin else ""
    if not answer:
        print()
        raise UsageError("delete: nobody answers; --yes deletes without asking")
    return answer.strip().lower() in ("y", "yes")


def _disk(args: argparse.Namespace) -> None:
    sys.stdout.write(disk(select(Places(args.paths, only_folders=True).runs(), where(args.where))))


def _watch(args: argparse.Namespace) -> None:
    places, terms = Places(args.paths, only_folders=True), where(args.where)
    while True:
        runs = select(places.runs(), terms)
        text = snapshot(runs, args.total)
        if args.once or not sys.stdout.isatty():
            sys.stdout.write(text)
            return
        _refresh(f"{time.strftime('%H:%M:%S')}, every {args.every:g} s; Ctrl-C ends this, not the runs\n{text}")
        if args.total and sum(run.is_over for run in runs) >= args.total:
            return
        time.sleep(args.every)


def _refresh(text: str) -> None:
    """The text in place of all that is on the terminal, as far as there is room."""
    size = shutil.get_terminal_size()
    lines = [line[: size.columns] for line in text.splitlines()[: size.lines - 1]]
    sys.stdout.write("\x1b[H\x1b[J" + "\n".join(lines) + "\n")
    sys.stdout.flush()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0.1 <= (number := float(text)) <= 10**6:
            return number
    raise argparse.ArgumentTypeError(f"must be a number of seconds of at least 0.1, got {text!r}")


def parser() -> argparse.ArgumentParser:
    top = CommandParser(prog=PROGRAM, description=DESCRIPTION)
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=argparse.ArgumentParser)

    def add(name, command, help, *runs, tables=False):
        one = commands.add_parser(name, help=help, description=help)
        for run in runs:
            one.add_argument(run, metavar="RUN", help="its folder or run.json, or the start of its config_hash")
        held = f"folders that hold runs at any depth{', or a results.csv' if tables else ''} (default: outputs)"
        one.add_argument("paths", nargs="*", default=["outputs"], metavar="FOLDER", help=held)
        if not runs:
            one.add_argument("--where", action="append", default=[], metavar="TERMS", help=WHERE)
        one.set_defaults(command=command)
        return one.add_argument

    option = add("list", _list, "list runs", tables=True)
    option("--sort", default="", metavar="NAMES", help="by these, from the largest with a - before the name")
    option("--columns", default="", metavar="NAMES", help=f"default: {','.join(BRIEF)}; in csv and json all fields")
    option("--limit", type=_count, metavar="N", help="only the first N")
    option("--format", choices=FORMATS, default="text", help="default: text")
    add("show", _show, "show all that is known of a run", "run", tables=True)
    add("diff", _diff, "what differs between two runs: settings, results, layers", "first", "second", tables=True)
    option = add("delete", _delete, "delete the runs that --where chooses, or whose own folders are given")
    option("--yes", action="store_true", help="without asking")
    add("forget", _forget, "take the record from diverged and failed runs, so that they are trained again")
    add("disk", _disk, "what runs take on the disk")
    option = add("watch", _watch, "follow a sweep that is running")
    option("--total", type=_count, metavar="N", help="how many runs it has, for the time until all have ended")
    option("--every", type=_seconds, default=2, metavar="SECONDS", help="default: 2")
    option("--once", action="store_true", help="print how far it is and end, as where the output is no terminal")
    return top


if __name__ == "__main__":
    sys.exit(main())
