import pytest
import torch

from lpss import LpSGD, LpSGDm
from lpss.errors import UsageError
from lpss.models import MLP
from lpss.optim.build import build_optimizer


def build(exclude=("head",), sparsity=0.9, **values):
    net = MLP(MLP.Config(hidden=[4, 5]), (3,), 2)
    return build_optimizer(net, values, exclude=exclude, sparsity=sparsity)


def test_sgd():
    optimizer = build(name="sgd", lr=0.3, momentum=0.8, nesterov=True, weight_decay=0.01)
    assert type(optimizer) is torch.optim.SGD
    weights, biases = optimizer.param_groups
    assert (weights["lr"], weights["momentum"], weights["nesterov"], weights["weight_decay"]) == (0.3, 0.8, True, 0.01)
    assert (len(weights["params"]), len(biases["params"]), biases["weight_decay"]) == (3, 3, 0.0)


@pytest.mark.parametrize("name", ["sgd", "lpsgd", "lpsgd_m"])
def test_nesterov_without_momentum_is_plain_descent(name):
    groups = build(name=name, momentum=0.0, nesterov=True).param_groups
    assert all(group["nesterov"] is False and group["momentum"] == 0 for group in groups)


@pytest.mark.parametrize("name, optimizer_class", [("lpsgd", LpSGD), ("lpsgd_m", LpSGDm)])
def test_sphere_optimizers(name, optimizer_class):
    optimizer = build(name=name, lr=0.02, lr_free=0.7, p={0.5: 1.3, 0.9: 1.1}, sparsity=0.7, nesterov=True)
    assert type(optimizer) is optimizer_class
    on, off, biases = optimizer.param_groups
    assert on["p"] == pytest.approx(1.2) and on["lr"] == 0.02 and len(on["params"]) == 2
    assert all((group["p"], group["lr"]) == (None, 0.7) for group in (off, biases))
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in (on, off, biases))


def test_exclude_reaches_the_groups():
    optimizer = build(name="lpsgd_m", p=1.5, exclude=[])
    assert len(optimizer.param_groups[0]["params"]) == 3 and optimizer.param_groups[0]["p"] == 1.5


@pytest.mark.parametrize(
    "values, message",
    [
        ({"name": "lpsgdm"}, "unknown optimizer 'lpsgdm', did you mean 'lpsgd_m'"),
        ({"name": "sgd", "p": 1.2}, "unknown key optimizer.p"),
        ({"name": "lpsgd", "lrfree": 1}, "unknown key optimizer.lrfree, did you mean 'lr_free'"),
        ({"name": "sgd", "lr": "fast"}, "optimizer.lr='fast'"),
        ({"name": "sgd", "lr": -1}, "optimizer.lr must be in"),
        ({"name": "sgd", "lr": float("inf")}, "optimizer.lr must be in"),
        ({"name": "sgd", "momentum": 1.0}, r"optimizer.momentum must be in \[0, 1\), got 1.0"),
        ({"name": "sgd", "weight_decay": -1}, "optimizer.weight_decay must be in .*got -1"),
        ({"name": "lpsgd_m", "p": 0.9}, "optimizer=lpsgd_m: p must be a finite number greater than 1, got 0.9"),
        ({"name": "lpsgd_m", "p": {"stem": 1.2}}, "optimizer.p has no entry for layer 'layers.1'"),
        ({"name": "lpsgd", "lr": 1.5}, r"optimizer=lpsgd: lr .* \[0, 1\]\S* got 1.5"),
        ({"name": "lpsgd", "lr_free": -1}, "optimizer.lr_free must be in .* got -1"),
        ({"name": "lpsgd_m", "momentum": 1}, "optimizer=lpsgd_m: momentum .* got 1"),
        ({"name": "lpsgd_m", "weight_decay": -0.5}, "optimizer.weight_decay must be in .* got -0.5"),
    ],
)
def test_wrong_values_are_usage_errors_of_one_line(values, message):
    with pytest.raises(UsageError, match=message) as error:
        build(**values)
    assert "\n" not in str(error.value)


def test_a_selector_that_fits_nothing():
    with pytest.raises(UsageError, match="sphere.exclude: 'tail'"):
        build(name="lpsgd", exclude=["tail"])
