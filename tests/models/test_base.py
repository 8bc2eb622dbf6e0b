import pytest

from lpss.errors import UsageError
from lpss.models import MLP, WRN, build_model, choose_model

DEFAULT = {"name": "wrn", "depth": 12, "width": 1}


@pytest.mark.parametrize(
    "values, default, expected",
    [
        ({"name": "auto"}, DEFAULT, DEFAULT),
        ({}, DEFAULT, DEFAULT),
        ({"name": "auto", "depth": None, "hidden": None}, DEFAULT, DEFAULT),
        ({"name": "auto", "width": 4}, DEFAULT, {"name": "wrn", "depth": 12, "width": 4}),
        ({"name": "wrn", "depth": None}, DEFAULT, DEFAULT),
        ({"name": "wrn", "depth": 18}, DEFAULT, {"name": "wrn", "depth": 18, "width": 1}),
        ({"name": "mlp", "hidden": [5]}, DEFAULT, {"name": "mlp", "hidden": [5]}),
        ({"name": "mlp", "hidden": None}, DEFAULT, {"name": "mlp"}),
        ({"name": "mlp"}, {}, {"name": "mlp"}),
    ],
)
def test_choose_model(values, default, expected):
    before = dict(default)
    assert choose_model(values, default) == expected
    assert default == before


def test_auto_without_a_default():
    with pytest.raises(UsageError, match="dataset.model.name"):
        choose_model({"name": "auto"}, {})


def test_build_model():
    net = build_model({"name": "auto"}, DEFAULT, (1, 28, 28), 10)
    assert isinstance(net, WRN) and sum(param.numel() for param in net.parameters()) == 170_298
    net = build_model({"name": "mlp", "hidden": [7]}, DEFAULT, [3], 2)
    assert isinstance(net, MLP) and net.layers[0].out_features == 7


@pytest.mark.parametrize(
    "values, shape, message",
    [
        ({"name": "mpl"}, (3,), "unknown model 'mpl', did you mean 'mlp'"),
        ({"name": "mlp", "depth": 3}, (3,), "unknown key model.depth"),
        ({"name": "mlp", "hidden": "wide"}, (3,), "model.hidden='wide'"),
        ({"name": "auto"}, (105,), r"model=wrn takes images .* shape \(105,\)"),
        ({"name": "auto", "hidden": [3]}, (1, 28, 28), "unknown key model.hidden"),
    ],
)
def test_wrong_models(values, shape, message):
    with pytest.raises(UsageError, match=message):
        build_model(values, DEFAULT, shape, 10)
