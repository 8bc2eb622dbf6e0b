"""The commands: parse, call, print. Nothing imports them."""

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable

import lpss
from lpss.errors import LpssError


class Interrupted(LpssError):
    """Ctrl-C."""

    exit_code = 130


def run_command(program: str, body: Callable[[], int | None]) -> int:
    """Run a command's body and return its exit code.

    An LpssError is one line on stderr. A reader that leaves early (head) is no error; output that cannot be written (a
    full disk) is one, said in a line. A closed stdout or stderr takes what is printed and drops it.
    """
    os.environ.pop("MPLBACKEND", None)  # for pyplot, which no command uses; matplotlib refuses to load with a wrong one
    _make_streams_safe()
    logging.Handler.handleError = _on_log_error
    try:
        try:
            code = body() or 0
        finally:
            sys.stdout.flush()  # before Python's own flush at exit, whose errors nobody catches
        return code
    except KeyboardInterrupt:
        print_error(program, "interrupted")
        return Interrupted.exit_code
    except LpssError as error:
        print_error(program, error)
        return error.exit_code
    except BrokenPipeError:
        _drop_stdout()
        return 0
    except OSError as error:
        if error.filename is None:  # a stream's
            _drop_stdout()
            print_error(program, f"cannot write the output: {error.strerror or error}")
        else:
            print_error(program, f"{error.filename}: {error.strerror or error}")
        return 1


def print_error(program: str, error: object) -> None:
    """One line on stderr."""
    print(f"{program}:", " ".join(str(error).split()), file=sys.stderr)


class CommandParser(argparse.ArgumentParser):
    """Has --version; help that cannot be written is an error (see `run_command`), which argparse keeps to itself."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.add_argument("--version", action="version", version=f"%(prog)s {lpss.__version__}")

    def add_runs(self) -> None:
        """Arguments that say which runs are read."""
        paths = "folders that hold runs at any depth, or a results.csv (default: outputs)"
        self.add_argument("paths", nargs="*", default=["outputs"], metavar="PATH", help=paths)
        self.add_argument("--experiment", metavar="NAME", help="only runs of this experiment_name")

    def _print_message(self, message: str, file=None) -> None:
        print(message, end="", file=file or sys.stderr)


class _Forgiving(io.TextIOWrapper):
    """A stderr that drops what it cannot write: messages must not stop a run."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            pass


def _on_log_error(handler: logging.Handler, record: logging.LogRecord) -> None:
    """No traceback for a log line that cannot be written. Hydra's --info goes to stdout, where it is output."""
    if getattr(handler, "stream", None) is sys.stdout:
        raise  # noqa: PLE0704 (logging calls this while it handles the exception)


def _make_streams_safe() -> None:
    # A file opened while 0, 1 or 2 is closed would get that number, and what is meant for the terminal.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)
    if sys.stderr is sys.__stderr__:  # not where a test has put its own
        encoding = getattr(sys.stderr, "encoding", "utf-8")
        raw = io.FileIO(2, "w", closefd=False)
        sys.stderr = _Forgiving(raw, encoding, errors="backslashreplace", write_through=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what an ASCII terminal cannot show is a question mark


def _drop_stdout() -> None:
    """What is still in stdout's buffer, and all that follows, goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stdout.flush()
