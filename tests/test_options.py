import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from lpss.errors import UsageError
from lpss.options import check_range, make_options


@dataclass
class Options:
    name: str = "x"
    rate: float = 0.5
    count: int = 3
    flag: bool = False
    hidden: list[int] = field(default_factory=lambda: [1])
    maybe: list[int] | None = None
    p: Any = 1.2


def test_defaults_and_values():
    assert make_options(Options, {}, "here") == Options()
    options = make_options(Options, {"rate": 2, "hidden": (4, 5), "maybe": [1], "p": {0.5: 1.3, "head": None}}, "here")
    assert options == Options(rate=2.0, hidden=[4, 5], maybe=[1], p={0.5: 1.3, "head": None})
    assert (type(options.rate), type(options.hidden), type(options.p)) == (float, list, dict)  # nothing of OmegaConf


def test_text_from_a_command_line_is_converted():
    options = make_options(Options, {"count": "7", "rate": "1e-3", "flag": "true"}, "here")
    assert (options.count, options.rate, options.flag) == (7, 1e-3, True)


def test_each_call_has_its_own_lists():
    make_options(Options, {}, "here").hidden.append(2)
    assert make_options(Options, {}, "here").hidden == [1]


def test_an_unknown_key_is_named_with_a_suggestion():
    with pytest.raises(UsageError, match=r"^unknown key method\.rat, did you mean 'rate'\?; known: name, rate, count"):
        make_options(Options, {"rat": 1}, "method")
    with pytest.raises(UsageError, match=r"^unknown key method\.zzzzz; known: "):
        make_options(Options, {"zzzzz": 1}, "method")


@pytest.mark.parametrize(
    "key, value",
    [
        ("count", "many"),
        ("count", 1.5),
        ("rate", None),
        ("hidden", "a"),
        ("hidden", ["a"]),
        ("flag", 7.5),
        ("rate", [1]),
    ],
)
def test_a_wrong_type_is_named(key, value):
    with pytest.raises(UsageError) as error:
        make_options(Options, {key: value}, "model")
    assert f"model.{key}={value!r}" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_value_is_named():
    with pytest.raises(UsageError, match="^model.*rate"):
        make_options(Options, {"rate": "???"}, "model")


@pytest.mark.parametrize("value, open_low, open_high", [(0, False, True), (1, True, False), (0.5, True, True)])
def test_check_range_inside(value, open_low, open_high):
    check_range(value, "key", 0, 1, open_low=open_low, open_high=open_high)


@pytest.mark.parametrize(
    "value, ends, interval",
    [
        (-0.1, {}, "[0, 1]"),
        (1.1, {}, "[0, 1]"),
        (math.nan, {}, "[0, 1]"),
        (0, {"open_low": True}, "(0, 1]"),
        (1, {"open_high": True}, "[0, 1)"),
        (math.inf, {"open_high": True}, "[0, 1)"),
    ],
)
def test_check_range_outside_names_key_interval_and_value(value, ends, interval):
    with pytest.raises(UsageError) as error:
        check_range(value, "method.tau", 0, 1, **ends)
    assert str(error.value) == f"method.tau must be in {interval}, got {value}"
