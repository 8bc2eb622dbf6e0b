"""lpss-train --list: every member of every registry, without torch."""

import subprocess
import sys

import pytest

from lpss.cli.members import list_members
from lpss.errors import UsageError
from lpss.registries import REGISTRIES


def test_every_member_is_listed_with_its_description_and_reference(capsys):
    assert list_members([]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for kind, registry in REGISTRIES.items():
        assert f"{kind}=" in shown
        for member in registry.members.values():
            assert f" {member.name} " in shown and member.description in shown and member.reference in shown


def test_some_kinds_alone(capsys):
    list_members(["schedule", "optimizer"])
    shown = capsys.readouterr().out
    assert shown.index("schedule=") < shown.index("optimizer=") and "method=" not in shown
    with pytest.raises(UsageError, match="--list metod: no such kind, did you mean 'method'"):
        list_members(["metod"])


def test_the_command_needs_no_torch():
    code = "import sys; from lpss.cli.train import main; sys.argv[1:] = ['--list', 'method']; main()\n"
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "https://arxiv.org/abs/1911.11134" in done.stdout, done.stderr
