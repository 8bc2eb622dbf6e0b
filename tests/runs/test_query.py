"""--where and --sort."""

import pytest

from lpss.errors import UsageError
from lpss.runs.query import check_names, ordered, select, where


@pytest.fixture
def three(run_folder, runs):
    run_folder(folder="a", method="set", sparsity=0.9, seed=0, settings={"train.epochs": 5}, accuracy_last=0.9)
    run_folder("failed", folder="b", method="lpss", seed=10, accuracy_last=None, device_name="A 100", experiment="0.90")
    run_folder(
        folder="c", method="lpss_demo", sparsity=0.5, seed=2, settings={"optimizer.p": {"0.5": 1.3}, "train.x": True},
        started="2026-02-01T00:00:00+00:00", config_hash="123456789012", accuracy_last=0.8, p=1.07,
    )  # fmt: skip
    return runs()


@pytest.mark.parametrize(
    ("terms", "names"),
    [
        ("", "abc"),
        ("method=lpss", "b"),
        ("method==lpss", "b"),
        ("method=set,lpss", "ab"),
        ("method!=set,lpss", "c"),
        ("method~lpss", "bc"),
        ("method~demo,set", "ac"),
        ("method>lpss", "ac"),  # texts as texts
        ("Method=lpss", None),
        ("method=LPSS", ""),
        ("sparsity=.9", "ab"),
        ("sparsity=9e-1,0.50", "abc"),
        ("sparsity>=.9 seed<10", "a"),
        ("seed<=2", "ac"),
        ("seed=1e1", "b"),
        ("seed=ten", ""),
        ("seed<1e999", "abc"),
        ("p=1.070", "c"),
        ("p>1", "c"),
        ("status=failed", "b"),
        ("status!=failed", "ac"),
        ("status~ed", "abc"),
        ("accuracy_last=", "b"),
        ("accuracy_last=null", "b"),
        ("accuracy_last!=null", "ac"),
        ("accuracy_last!=.9", "bc"),
        ("accuracy_last<1", "ac"),  # no value is neither less nor more
        ("experiment=0.90", "b"),
        ("experiment=.9", ""),  # a text that looks like a number is a text
        ("config_hash=123456789012", "c"),
        ("config_hash=123456789012.0", ""),
        ("train.epochs=5", "a"),
        ("train.epochs>5", "bc"),
        ("train.max_steps=null", "abc"),
        ("train.x=true", "c"),
        ("train.x=1", ""),
        ("train.x>0", ""),
        ("optimizer.p.0.5=1.3", "c"),
        ("optimizer.p~1.3", "c"),
        ("folder~outputs/c", "c"),
        ("device_name='A 100'", "b"),
        ('device_name="A 100" seed=10', "b"),
        ("started>=2026-02", "c"),
        ("train.epocs=5", None),
    ],
)
def test_terms(three, terms, names):
    if names is None:
        with pytest.raises(UsageError, match="--where: no run has "):
            select(three, where([terms]))
    else:
        assert "".join(run.folder[-1] for run in select(three, where([terms]))) == names


def test_several_texts_must_all_hold(three):
    assert len(select(three, where(["method~lpss", "sparsity=.5"]))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method", "--where method: a term is NAME=VALUE"),
        ("=lpss", "--where =lpss: a term is"),
        ("method = lpss", "--where method: a term is"),
        ("sparsity>high", "--where sparsity>high: 'high' is not a number"),
        ("seed<1,2", "--where seed<1,2: '1,2' is not a number"),
        ("sparsity>=nan", "'nan' is not a number"),
        ("status=fialed", "no such status, did you mean 'failed'"),
        ("method='lpss", "--where method='lpss: No closing quotation"),
    ],
)
def test_what_is_no_term_is_named(text, message):
    with pytest.raises(UsageError) as raised:
        where([text])
    assert message in str(raised.value)


def test_an_unknown_name_comes_with_one_that_is_near(three):
    with pytest.raises(UsageError, match=r"--sort: no run has 'train.epoch', did you mean 'train.epochs'\?"):
        check_names(["seed", "train.epoch"], three, "--sort")
    check_names(["folder", "train.max_steps", "train.x"], three, "--sort")
    check_names(["whatever"], [], "--sort")  # where nothing runs yet, nothing is known


def test_sorting(run_folder, runs):
    for name, accuracy, method in (("a", 0.5, "set"), ("b", None, "lpss"), ("c", 0.7, "lpss"), ("d", 0.06, "set")):
        run_folder(folder=name, accuracy_last=accuracy, method=method)
    for names, order in (
        (["accuracy_last"], "dacb"),
        (["-accuracy_last"], "cadb"),
        (["method", "-accuracy_last"], "cbad"),
        (["-method"], "adbc"),
        ([], "abcd"),
    ):
        assert "".join(run.folder[-1] for run in ordered(runs(), names)) == order


def test_numbers_and_texts_can_be_sorted_together(run_folder, runs):
    for name, value in (("a", "x"), ("b", 2), ("c", [1]), ("d", 1e300), ("e", True)):
        run_folder(folder=name, settings={"method.odd": value})
    assert "".join(run.folder[-1] for run in ordered(runs(), ["method.odd"])) == "bdcea"
