"""The table of methods is what the classes say."""

import runpy
from pathlib import Path

import pytest

from lpss.registries import METHODS

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "methods_readme.py"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        yield runpy.run_path(str(SCRIPT))


def test_the_committed_table_is_what_the_script_makes(script):
    text = script["readme"]()
    assert text == script["README"].read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in METHODS)


def test_every_method_says_what_it_is(script):
    for member in METHODS.members.values():
        assert member.kind in script["KINDS"] and member.drops and member.grows and member.use, member.name
        assert member.reference or member.name == "dense"


@pytest.mark.parametrize("name, flops", [("dense", 1.0), ("static", 0.1), ("imp", 4.45)])
def test_costs_are_those_of_training(script, name, flops):
    assert script["training_flops"](name) == pytest.approx(flops, abs=0.02)
