"""What a run keeps of its best epoch, and runs that average their weights."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from lpss.data import hold_out, load
from lpss.export.load import load as load_net
from lpss.train import run as run_module
from lpss.train.resolve import resolve
from lpss.train.run import run

RESTLESS = (  # accuracy goes up and down
    *("dataset=digits", "train.epochs=6", "train.validation=0.3", "optimizer.lr=0.4", "schedule=constant"),
    *("model.hidden=[32]", "sparsity=0.8"),
)


def accuracy_on_validation(file) -> float:
    held = hold_out(load("digits", standardised=False), 0.3, seed=0).test
    return float((load_net(file, sparse=False)(held.x).argmax(1) == held.y).double().mean())


@pytest.mark.parametrize("method", ["set", "gmp", "lpss"])
@pytest.mark.parametrize("ema", [0, 0.9])
def test_the_best_epoch_that_is_sparse_enough_is_kept(composed, method, ema):
    config = composed(*RESTLESS, f"method={method}", f"train.ema={ema}")
    result = run(config)
    folder = resolve(config).folder
    rows = pd.read_csv(folder / "metrics.csv")
    reached = rows[rows.sparsity_weights >= 0.8 - 0.001]
    assert accuracy_on_validation(folder / "best.safetensors") == pytest.approx(reached.eval_accuracy.max())
    assert accuracy_on_validation(folder / "weights.safetensors") == pytest.approx(result["accuracy_last"])
    best = load_file(folder / "best.safetensors")
    masks = {key: value for key, value in best.items() if key.startswith("mask.")}
    assert 1 - sum(mask.sum() for mask in masks.values()) / sum(map(torch.numel, masks.values())) >= 0.8 - 0.001
    for key, mask in masks.items():
        assert not best[f"net.{key[5:]}.weight"][~mask].any()
    assert set(result["files"]) == {"weights.safetensors", "layers.csv", "best.safetensors"}


@pytest.mark.parametrize("options", [["train.validation=0"], ["train.keep_best=false"]])
def test_without_a_validation_part_or_when_not_asked_for_nothing_is_kept(composed, options):
    config = composed(*RESTLESS, "method=set")
    run(config)
    other = composed(*RESTLESS, "method=set", *options, "rerun=always")
    assert set(run(other)["files"]) == {"weights.safetensors", "layers.csv"}
    assert not (resolve(other).folder / "best.safetensors").exists()


def test_keeping_the_best_changes_nothing_else(composed, tmp_path):
    weights = []
    for keep in ("true", "false"):
        config = composed(*RESTLESS, "method=rigl", f"train.keep_best={keep}", f"output={tmp_path / keep}")
        run(config)
        weights.append((resolve(config).folder / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize("method", ["rigl", "lpss", "srigl"])
def test_an_interrupted_run_keeps_and_averages_the_same(composed, tmp_path, monkeypatch, method):
    settings = (*RESTLESS, f"method={method}", "train.ema=0.95")
    whole = composed(*settings, f"output={tmp_path / 'whole'}")
    run(whole)
    save = run_module.Session._save

    def save_then_die(session):
        save(session)
        if session.trainer.progress.epoch == 4:
            raise KeyboardInterrupt

    cut = composed(*settings, f"output={tmp_path / 'cut'}")
    with monkeypatch.context() as patch:
        patch.setattr(run_module.Session, "_save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            run(cut)
    run(cut)
    for name in ("best.safetensors", "weights.safetensors"):
        assert (resolve(cut).folder / name).read_bytes() == (resolve(whole).folder / name).read_bytes()


def test_an_average_is_on_the_sphere_and_as_sparse_as_the_net(composed):
    config = composed(*RESTLESS, "method=lpss", "train.ema=0.9", "optimizer.p=1.5")
    result = run(config)
    assert result["sparsity_weights"] == pytest.approx(0.8, abs=0.001)
    weight = load_file(resolve(config).folder / "weights.safetensors")["net.layers.0.weight"].double()
    norms = weight.abs().pow(1.5).sum(1).pow(1 / 1.5)
    assert torch.allclose(norms[norms > 0], torch.ones(1).double(), atol=1e-5)


def test_an_average_of_decay_zero_is_none_and_its_hash_is_that_of_before(composed):
    assert resolve(composed(*RESTLESS, "train.ema=0")).hash == resolve(composed(*RESTLESS)).hash
    assert resolve(composed(*RESTLESS, "train.ema=0.5")).hash != resolve(composed(*RESTLESS)).hash
    assert resolve(composed(*RESTLESS, "train.keep_best=false")).hash == resolve(composed(*RESTLESS)).hash
