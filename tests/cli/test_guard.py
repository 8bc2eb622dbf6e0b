"""What the commands share: one line for a user's mistake, and a reader that leaves early."""

import subprocess
import sys

from lpss.cli import run_command
from lpss.errors import DataError, UsageError


def test_exit_codes_and_one_line(capsys):
    def fail(error):
        raise error

    assert run_command("cmd", lambda: None) == 0
    assert run_command("cmd", lambda: 3) == 3
    assert run_command("cmd", lambda: fail(UsageError("no"))) == 2
    assert run_command("cmd", lambda: fail(DataError("gone"))) == 1
    assert capsys.readouterr().err == "cmd: no\ncmd: gone\n"


def test_a_reader_that_leaves_early_is_no_error():
    code = "import sys; from lpss.cli import run_command; sys.exit(run_command('cmd', lambda: print('x' * 10**6)))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0
