"""The schema's checks, the hash and the folder's name."""

import pytest

from lpss.config import plain_config
from lpss.errors import UsageError
from lpss.train.resolve import resolve


@pytest.mark.parametrize(
    "override, words",
    [
        ("sparsity=1.0", "sparsity must be in [0, 1)"),
        ("sparsity=-0.1", "sparsity"),
        ("sparsity=nan", "sparsity"),
        ("train.epochs=0", "train.epochs"),
        ("train.batch_size=0", "train.batch_size"),
        ("train.max_steps=0", "train.max_steps"),
        ("train.validation=1", "train.validation"),
        ("train.checkpoint_every=-1", "train.checkpoint_every"),
        ("train.compile=maybe", "train.compile must be auto, true or false, got 'maybe'"),
        ("threads=0", "threads must be at least 1"),
        ("train.precision=float8", "train.precision must be one of float32, tf32, bfloat16, auto"),
        ("seed=-1", "seed"),
        ("optimizer.p=nan", "optimizer.p must be a finite number"),
        ("optimizer.p={stem:inf}", "optimizer.p.stem must be a finite number"),
        ("+unknown=1", "unknown"),
        ("+train.unknown=1", "train.unknown"),
    ],
)
def test_wrong_values_name_the_key(composed, override, words):
    with pytest.raises(UsageError) as error:
        composed(override)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "override, words",
    [
        ("method.drop_schedule=linear", "method.drop_schedule"),
        ("method.zeta_w=x", "method.zeta_w"),
        ("+method.zeta=1", "unknown key method.zeta, did you mean"),
        ("+optimizer.learning=1", "unknown key optimizer.learning"),
        ("+dataset.augment.crop=1", "dataset.augment.crop"),
        ("dataset.name=leter", "did you mean 'letter'"),
        ("method.name=x", "unknown method 'x'"),
        ("plugins=[no_such_module]", "plugins: module 'no_such_module'"),
        ("model.hidden=many", "model.hidden"),
        ("model.depth=12", "unknown key model.depth"),
    ],
)
def test_wrong_options_of_groups_name_the_key(composed, override, words):
    from lpss.train.run import run

    with pytest.raises(UsageError) as error:
        run(composed(override))
    assert words in str(error.value)


def test_a_group_without_a_name_is_refused():
    with pytest.raises(UsageError, match="dataset.name is missing"):
        plain_config({})


def test_the_hash_depends_on_what_decides_the_result_alone(composed):
    base = resolve(composed()).hash
    elsewhere = ("device=cpu", "data.root=/elsewhere", "train.checkpoint_every=3", "threads=1")
    assert resolve(composed(*elsewhere)).hash == base
    modes = ("train.compile=true", "train.capture=false", "train.channels_last=false")
    assert resolve(composed(*modes)).hash == base
    assert resolve(composed("model=mlp")).hash == base  # what model=auto stands for
    changed = [
        "seed=1",
        "sparsity=0.8",
        "train.epochs=3",
        "optimizer.p=1.3",
        "method.zeta_w=0.1",
        "dataset.split_seed=1",
        "sphere.exclude=[]",
        "mask.exclude=[head]",
        "train.validation=0.1",
        "schedule=constant",
        "model.hidden=[9]",
        "experiment_name=x",
        "train.precision=bfloat16",
        "train.max_steps=5",
        "train.batch_size=32",
    ]
    hashes = [resolve(composed(override)).hash for override in changed]
    assert len({base, *hashes}) == len(changed) + 1


def test_every_changed_setting_has_a_folder_of_its_own_below_output(composed, tmp_path):
    first, second = (resolve(composed(f"optimizer.p={p}")).folder for p in (1.2, 1.3))
    assert first != second
    assert first.parent == second.parent == tmp_path / "outputs" / "digits-mlp" / "lpss-s0.9"


def test_names_from_a_config_cannot_leave_the_output_folder(composed, tmp_path):
    folder = resolve(composed("experiment_name='../../up'")).folder
    assert (tmp_path / "outputs") in folder.resolve().parents


def test_dense_ignores_the_requested_sparsity(composed):
    hashes = {resolve(composed("method=dense", f"sparsity={s}")).hash for s in (0.5, 0.8)}
    assert len(hashes) == 1
    assert resolve(composed("method=dense", "sparsity=0.8")).config.sparsity == 0


def test_a_method_chooses_its_optimizer_unless_the_user_does(composed):
    assert composed("method=lpss").optimizer["name"] == "lpsgd_m"
    assert composed("method=rigl").optimizer["name"] == "sgd"
    assert composed("method=lpss", "optimizer=sgd").optimizer["name"] == "sgd"
    assert composed("method=rigl", "optimizer=lpsgd").optimizer["name"] == "lpsgd"
