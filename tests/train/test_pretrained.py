"""init=: runs that begin with trained weights."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lpss.config import plain_config
from lpss.errors import DataError, UsageError
from lpss.sparse.methods import METHODS
from lpss.train import sealed
from lpss.train.build import build
from lpss.train.pretrained import load_pretrained
from lpss.train.resolve import resolve
from lpss.train.run import run

FEW = ("dataset=digits", "model.hidden=[24,16]", "train.epochs=6")


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """(output folder, result) of a dense run."""
    from lpss.cli.compose import compose_run

    folder = tmp_path_factory.mktemp("dense")
    return folder, run(compose_run([*FEW, "method=dense", f"output={folder}"]))


def parts(config):
    return build(resolve(config))


def accuracy(made):
    from lpss.train.evaluate import evaluate

    return evaluate(made.net, made.eval_batches())[1]


@pytest.mark.parametrize("way", ["folder of runs", "run folder", "run.json", "weights"])
def test_lpss_starts_with_the_dense_nets_function(composed, dense, way):
    folder, result = dense
    (record,) = folder.rglob("run.json")
    path = {
        "folder of runs": folder,
        "run folder": record.parent,
        "run.json": record,
        "weights": record.parent / "weights.safetensors",
    }[way]
    made = parts(composed(*FEW, "method=lpss", f"init={path}"))
    assert accuracy(made) == result["accuracy_last"] > 0.9
    x = next(iter(made.eval_batches()))[0]
    net = parts(composed(*FEW, "method=dense")).net
    load_pretrained(net, record.parent / "weights.safetensors")
    assert (made.net(x) - net(x)).abs().max() < 1e-4 * net(x).abs().max()
    bare = parts(composed(*FEW, "method=lpss", f"init={path}", "sphere.gain=none"))
    assert accuracy(bare) < result["accuracy_last"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_on_from_a_trained_net(composed, dense, method):
    folder, result = dense
    config = composed(*FEW, f"method={method}", "sparsity=0.5", f"init={folder}", "train.epochs=2")
    made = parts(config)
    made.method.prepare(made.batches.undivided().epoch(0))
    weights = load_file(next(folder.rglob("weights.safetensors")))
    kind = METHODS[method].kind
    if method == "srigl":  # the largest of each neuron
        assert made.method.masks.sparsity_weights() == pytest.approx(0.5, abs=0.01)
    elif kind == "throughout" or method in ("static", "granet"):
        before, mask = weights["net.layers.1.weight"].abs(), made.method.masks["layers.1"] == 1
        assert before[mask].min() >= before[~mask].max()  # of the dense net's weights the largest stay
    elif kind == "fixed":  # by a rule of their own
        assert made.method.masks.sparsity_weights() in (0, pytest.approx(0.5, abs=0.01))
    elif method != "lpss_demo":
        assert made.method.masks.sparsity_weights() == 0
    record = run(config)
    assert record["status"] == "finished" and record["accuracy_last"] > (0.5 if method != "grasp" else 0)
    assert (
        record["fingerprints"]["init"]
        == json.loads(next(folder.rglob("run.json")).read_text())["files"]["weights.safetensors"]
    )
    saved = load_file(next((resolve(config).folder).glob("weights.safetensors")))
    assert saved.keys() == weights.keys()  # no trace of gains
    for name in made.method.masks:
        assert not saved[f"net.{name}.weight"][~saved[f"mask.{name}"]].any()


def test_a_run_with_gains_resumes_bit_by_bit(composed, dense, tmp_path, monkeypatch):
    folder, _ = dense
    words = (*FEW, "method=lpss", "sparsity=0.8", f"init={folder}", "sphere.gain=learned", "train.epochs=2")
    straight = run(composed(*words, f"output={tmp_path}/a"))
    from lpss.train import run as module

    class Leaves(module.Session):
        def _after_step(self):
            if self.trainer.progress.step == 25:
                self._save()
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "Session", Leaves)
        with pytest.raises(KeyboardInterrupt):
            run(composed(*words, f"output={tmp_path}/b"))
    resumed = run(composed(*words, f"output={tmp_path}/b"))
    assert resumed["files"]["weights.safetensors"] == straight["files"]["weights.safetensors"]


def test_the_hash_knows_of_it_only_if_it_is_asked_for(composed):
    base = resolve(composed("method=lpss")).hash
    assert resolve(composed("method=lpss", "init=null", "sphere.gain=auto", "mask.include=[]")).hash == base
    assert resolve(composed("method=lpss", "sphere.gain=none")).hash == base  # what auto means without init
    hashes = {
        resolve(composed("method=lpss", word)).hash for word in ("init=x", "sphere.gain=fixed", "mask.include=[a]")
    }
    assert len(hashes | {base}) == 4
    assert resolve(composed("method=lpss", "init=x")).config.sphere.gain == "fixed"
    config = composed("method=lpss").to_dict()
    del config["init"], config["sphere"]["gain"], config["mask"]["include"]  # as runs of before have it
    assert resolve(plain_config(config)).hash == base


def test_other_files_are_read_too(composed, dense, tmp_path):
    folder, result = dense
    weights = load_file(next(folder.rglob("weights.safetensors")))
    plain = {key[4:]: value for key, value in weights.items() if key.startswith("net.")}
    save_file(plain, tmp_path / "plain.safetensors")
    torch.save(plain, tmp_path / "plain.pt")
    torch.save({"epoch": 3, "state_dict": plain}, tmp_path / "checkpoint.pth")
    for name in ("plain.safetensors", "plain.pt", "checkpoint.pth"):
        assert (
            accuracy(parts(composed(*FEW, "method=rigl", "sparsity=0", f"init={tmp_path}/{name}")))
            == result["accuracy_last"]
        )


def test_what_cannot_be_used_is_one_line_that_names_it(composed, dense, tmp_path):
    folder, _ = dense
    words = (*FEW, "method=rigl")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    sealed.write(tmp_path / "compressed.safetensors", {"net.a.values": torch.zeros(2)}, {"masked": {"net.a": {}}})
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({1: torch.zeros(2)}, tmp_path / "numbered.pt")
    torch.save({"layers.0.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    (tmp_path / "empty").mkdir()
    for name, error, message in (
        ("missing", UsageError, "there is no such file or folder"),
        ("empty", UsageError, "holds no weights of a finished dense run of data set digits, model mlp and seed 0"),
        ("broken.pt", DataError, "broken.pt cannot be read as weights"),
        ("broken.safetensors", DataError, "init: .*broken.safetensors cannot be read as safetensors"),
        ("compressed.safetensors", DataError, "init: .* is compressed; lpss-export .* --format torch makes"),
        ("list.pt", DataError, "holds no weights: a mapping from names to tensors"),
        ("numbered.pt", DataError, "holds no weights: a mapping from names to tensors"),
        ("other.pt", DataError, "other.pt holds the weights of another net: it lacks layers.0.bias"),
    ):
        with pytest.raises(error, match=message):
            parts(composed(*words, f"init={tmp_path}/{name}"))
    with pytest.raises(DataError, match=r"layers.0.bias is \(24,\) there, \(8,\) here"):
        parts(composed(*words, "model.hidden=[8,16]", f"init={next(folder.rglob('weights.safetensors'))}"))
    with pytest.raises(UsageError, match="seed 1"):
        parts(composed(*words, "seed=1", f"init={folder}"))
    with pytest.raises(UsageError, match="sphere.gain must be one of auto, none, fixed, learned; got 'much'"):
        composed(*words, "sphere.gain=much")


def test_a_finished_run_is_skipped_and_says_if_its_first_weights_have_changed(composed, dense, tmp_path, caplog):
    folder, _ = dense
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(next(folder.rglob("weights.safetensors")).read_bytes())
    config = composed(*FEW, "method=rigl", "sparsity=0.5", f"init={weights}", "train.max_steps=3")
    first = run(config)
    caplog.clear()
    assert run(config) == first and not [r for r in caplog.records if r.levelname == "WARNING"]
    tensors = load_file(weights)
    save_file({key: value.clone() for key, value in tensors.items() if not key.startswith("mask.")}, weights)
    assert run(config) == first and "init " in caplog.text and "rerun=always" in caplog.text
    weights.unlink()
    caplog.clear()
    assert run(config) == first and not [r for r in caplog.records if r.levelname == "WARNING"]
