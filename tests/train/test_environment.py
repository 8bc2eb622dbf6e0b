"""Choosing a device, and what is recorded about the machine."""

import subprocess

import pytest
import torch

from lpss.errors import UsageError
from lpss.train import environment


def test_auto_takes_the_gpu_where_there_is_one():
    assert environment.choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert environment.choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["nope", "cuda:99", ""])
def test_a_device_that_is_not_here_is_one_line(name):
    with pytest.raises(UsageError) as error:
        environment.choose_device(name)
    assert str(error.value).startswith(f"device={name} cannot be used here") and "\n" not in str(error.value)


def test_facts():
    cpu = torch.device("cpu")
    assert environment.device_name(cpu)
    assert 1e7 < environment.peak_memory(cpu) < 1e12
    assert environment.versions()["torch"] == torch.__version__


def test_the_commit_is_the_checkouts():
    commit = environment.git_commit()
    root = environment.Path(environment.__file__).parents[2]
    if not (root / ".git").exists():
        assert commit is None
    else:
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True
        ).stdout.strip()
        assert commit.removesuffix("-dirty") == head
