"""Fields and settings by name."""

import pytest

from lpss.options import flat


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sparsity", 0.9),
        ("seed", 3),
        ("experiment", None),
        ("error", '["not", "json'),
        ("p", {"0.5": 1.3, "fc.1": 1.1}),
        ("warnings", ["one", "two"]),
        ("versions", {"torch": "2.6.0"}),
        ("versions.torch", "2.6.0"),
        ("versions.numpy", None),
        ("train.epochs", 20),
        ("train.max_steps", None),
        ("optimizer.p", {"0.5": 1.3, "fc.1": 1.1}),
        ("optimizer.p.0.5", 1.3),  # a key may hold dots
        ("optimizer.p.fc.1", 1.1),
        ("train", {"epochs": 20, "max_steps": None, "validation": 0.0}),
        ("train.epochs.more", None),
        ("trai", None),
        ("dataset", "digits"),  # the field, not the group of settings
        ("dataset.name", "digits"),
    ],
)
def test_values_by_name(run_folder, runs, name, value):
    p = {"0.5": 1.3, "fc.1": 1.1}
    fields = {"p": p, "error": '["not", "json', "warnings": ["one", "two"], "versions": {"torch": "2.6.0"}}
    run_folder("failed", seed=3, settings={"optimizer.p": p}, **fields)
    assert runs()[0].get(name) == value


def test_names_are_those_of_all_values(run_folder, runs):
    run_folder(versions={"torch": "2.6.0"})
    names = runs()[0].names()
    assert {"folder", "status", "loss_last", "versions.torch", "train.max_steps"} <= names
    assert "train.limits" not in names


def test_a_run_without_settings_has_none(run_folder, runs):
    run_folder(config=None)
    (run,) = runs()
    assert run.config == {} and run.get("train.epochs") is None


def test_an_empty_mapping_is_a_leaf():
    assert dict(flat({"a": {"b": {}, "c": {"d": None}}, "e": [1]})) == {"a.b": {}, "a.c.d": None, "e": [1]}
