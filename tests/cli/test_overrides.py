"""How lpss-train prepares its arguments for Hydra."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lpss.cli.compose import compose_run
from lpss.cli.overrides import hydra_arguments, readable


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["a=1", "-m", "b=2"], ["a=1", "b=2", "-m"]),
        (["-m", "a=1"], ["a=1", "-m"]),
        (["--cfg", "job", "a=1"], ["a=1", "--cfg", "job"]),
        (["a=1", "--info"], ["a=1", "--info"]),
        (["~model", "-m"], ["~model", "-m"]),
        (["--force", "a=1", "-m"], ["rerun=always", "a=1", "-m"]),
        (["-m", "a=1", "--force"], ["a=1", "rerun=always", "-m"]),
    ],
)
def test_overrides_come_first_and_force_is_one_of_them(argv, expected):
    assert hydra_arguments(argv) == expected


@pytest.mark.parametrize(
    "override, values",
    [
        ("dataset.path=données", ["données"]),
        ("dataset.path=données,autre,~/x", ["données", "autre", "~/x"]),
        ("dataset.path=été à Köln", ["été à Köln"]),
        ("data.root=~/data", ["~/data"]),
        ("data.root=a&b", ["a&b"]),
        ("plugins=[é,b]", [["é", "b"]]),
        ("data.root='é,~'", ["é,~"]),
        ('data.root="~"', ["~"]),
        ("output=~/runs", ["HOME/runs"]),
        ("output='~/my runs'", ["HOME/my runs"]),
        ("+output=~", ["HOME"]),
        ("output=~/a,~/b", ["HOME/a", "HOME/b"]),
        ("output=a~b/c", ["a~b/c"]),
        ("optimizer.p={0.5: 2, 0.8: 1.5}", [{0.5: 2, 0.8: 1.5}]),
        ("output=${oc.env:HOME}/é", ["${oc.env:HOME}/é"]),
        ("seed=1,2", [1, 2]),
        ("data.root=null", [None]),
        ("output=é\\\\", ["é\\\\"]),
    ],
)
def test_every_text_can_be_read(override, values, monkeypatch):
    monkeypatch.setenv("HOME", "/HOME")
    parsed = OverridesParser.create().parse_override(readable(override))
    found = list(parsed.sweep_iterator()) if parsed.is_sweep_override() else [parsed.value()]
    home = [re.sub("^HOME", "/HOME", value) if isinstance(value, str) else value for value in values]
    assert [getattr(one, "text", one) for one in found] == home


def test_configs_composed_in_python_read_them_too():
    assert compose_run(["data.root=données~"]).data.root == "données~"
