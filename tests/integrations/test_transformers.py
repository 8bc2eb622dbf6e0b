"""Sparse training in Hugging Face's Trainer is the plain loop's, bit by bit, and so is a run that was resumed."""

import json
import sys

import pytest
import torch
from torch import nn

import lpss
from lpss.errors import UsageError

transformers = pytest.importorskip("transformers", reason='needs transformers: pip install "lpss[transformers]"')
pytest.importorskip("accelerate", reason='needs accelerate: pip install "lpss[transformers]"')
from lpss.integrations.transformers import SparseTrainingCallback  # noqa: E402

METHOD = {"sparsity": 0.8, "update_every": 3, "begin": 0.0, "seed": 5}
EPOCHS = 4
pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory")


class InOrder(transformers.Trainer):
    """Batches in the order of the data, as in the plain loop."""

    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class WithLoss(nn.Module):
    """The net that all trainers train, with the loss as Trainer expects it."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, labels):
        logits = self.net(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


@pytest.fixture
def trainer(common, tmp_path):
    def trainer(net, *callbacks, optimizer=None, folder="run", trainer=InOrder, **options):
        """A Trainer that writes a checkpoint after every epoch, into tmp_path / folder / checkpoint-STEP."""
        data = [{"x": x, "labels": y} for x, y in common.make_data()]
        options = {
            "num_train_epochs": EPOCHS,
            "max_grad_norm": common.CLIP,
            "save_strategy": "epoch",
            "logging_steps": 1,
            "lr_scheduler_type": "constant",
            "learning_rate": 1e-2,
        } | options
        arguments = transformers.TrainingArguments(
            str(tmp_path / folder),
            per_device_train_batch_size=common.SIZE,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            **options,
        )
        model = net if isinstance(net, transformers.PreTrainedModel) else WithLoss(net)
        data = data if model is not net else [{"input_ids": x, "labels": x} for x in torch.arange(256).view(-1, 8) % 16]
        return trainer(
            model,
            arguments,
            train_dataset=data,
            eval_dataset=data,
            callbacks=[*callbacks],
            optimizers=(optimizer, None),
        )

    return trainer


def saved(folder):
    """The weights and the optimizer's state of a checkpoint."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    return weights, torch.load(folder / "optimizer.pt", weights_only=True)


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("name", ["rigl", "gmp", "lpss"])
@pytest.mark.parametrize("kind", ["adamw", "lpsgd_m"])
def test_train_does_the_same_as_the_plain_loop_bit_by_bit(common, trainer, kind, name, accumulate):
    options = METHOD if name != "gmp" else {"sparsity": 0.8}
    callback, trained = SparseTrainingCallback(name, **options), common.make_net()
    optimizer = common.make_optimizer(kind, trained)
    run = trainer(trained, callback, optimizer=optimizer, gradient_accumulation_steps=accumulate, save_strategy="no")
    run.train()

    net = common.make_net()
    optimizer = common.make_optimizer(kind, net)
    steps = EPOCHS * common.BATCHES // accumulate
    method = lpss.METHODS[name](net, optimizer, total_steps=steps, **options)
    norms = common.plain_loop(net, optimizer, method, EPOCHS, accumulate, list(net.parameters()))

    common.assert_same(net, trained)
    assert run.state.global_step == callback.method.steps == method.steps == steps
    for layer, mask in method.masks.items():
        assert torch.equal(mask, callback.method.masks[f"net.{layer}"])
    seen = [entry["grad_norm"] for entry in run.state.log_history if "grad_norm" in entry]
    at_update = [step for step in range(steps) if name == "rigl" and method.window.should_update(step)]
    assert [norm for step, norm in enumerate(seen) if step not in at_update] == [
        norm for step, norm in enumerate(norms) if step not in at_update
    ]


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("name", ["rigl", "lpss"])
@pytest.mark.parametrize("kind", ["the trainer's own", "lpsgd_m"])
def test_a_resumed_run_ends_with_bitwise_the_same_weights_and_masks(common, trainer, tmp_path, kind, name, accumulate):
    def run(folder, seed, **options):
        net, callback = common.make_net(seed), SparseTrainingCallback(name, **METHOD)
        optimizer = None if kind == "the trainer's own" else common.make_optimizer(kind, net)
        made = trainer(net, callback, optimizer=optimizer, folder=folder, gradient_accumulation_steps=accumulate)
        made.train(**options)
        return net, callback, made

    epoch = common.BATCHES // accumulate
    net, callback, _ = run("run", 0)
    path = tmp_path / "run" / f"checkpoint-{2 * epoch}"
    resumed, again, other = run("elsewhere", 9, resume_from_checkpoint=str(path))
    assert other.state.global_step == again.method.steps == EPOCHS * epoch
    common.assert_same(net, resumed)
    common.assert_same_masks(callback.method, again.method)
    assert other.state.log_history[-1]["sparsity"] == again.method.masks.sparsity_weights()

    last = tmp_path / "run" / f"checkpoint-{EPOCHS * epoch}"
    states = [saved(folder)[1]["state"] for folder in (last, tmp_path / "elsewhere" / last.name)]
    for number, state in states[0].items():
        for key, value in state.items():
            assert not torch.is_tensor(value) or torch.equal(value, states[1][number][key])


def test_the_last_checkpoint_is_found_and_resumed_with_a_method_that_the_user_attached(common, trainer, tmp_path):
    def run(seed, **options):
        net = common.make_net(seed)
        optimizer = common.make_optimizer("adamw", net)
        method = lpss.RigL(net, optimizer, total_steps=EPOCHS * common.BATCHES, **METHOD).attach()
        trainer(net, optimizer=optimizer, save_total_limit=2).train(**options)
        return net, method

    net, method = run(0)
    last = tmp_path / "run" / f"checkpoint-{EPOCHS * common.BATCHES}"
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    resumed, again = run(9, resume_from_checkpoint=True)
    assert again.steps == EPOCHS * common.BATCHES
    common.assert_same(net, resumed)
    common.assert_same_masks(method, again)


def test_checkpoints_hold_the_masks_weights_that_are_zero_off_them_and_the_sparsity(common, trainer, tmp_path):
    trainer(common.make_net(), SparseTrainingCallback("rigl", **METHOD)).train()
    for epoch in range(1, EPOCHS + 1):
        folder = tmp_path / "run" / f"checkpoint-{epoch * common.BATCHES}"
        weights, state = saved(folder)
        counted = common.assert_sparse(weights, state["lpss"]["masks"])
        logged = json.loads((folder / "trainer_state.json").read_text())["log_history"]
        assert logged[-1]["sparsity"] == pytest.approx(counted, abs=1e-6) == pytest.approx(0.8, abs=1e-3)


def tiny_gpt2():
    torch.manual_seed(0)
    sizes = {"vocab_size": 16, "n_positions": 8, "n_embd": 16, "n_layer": 1, "n_head": 2}
    dropout = {"attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **dropout, bos_token_id=0, eos_token_id=0))


def test_a_language_model_with_dropout_and_shuffled_batches_is_resumed_bitwise(common, trainer, tmp_path):
    def run(folder, **options):
        callback = SparseTrainingCallback("rigl", **METHOD)
        made = trainer(tiny_gpt2(), callback, folder=folder, trainer=transformers.Trainer, save_steps=3)
        result = made.train(**options)
        return made.model, callback.method, result

    model, method, result = run("run")
    resumed, again, _ = run("resumed", resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-8"))
    assert list(method.masks) == [
        f"transformer.h.0.{part}" for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    ]
    assert result.metrics["sparsity"] == method.masks.sparsity_weights() == pytest.approx(0.8, abs=1e-3)
    common.assert_same(model, resumed)
    common.assert_same_masks(method, again)


def test_a_checkpoint_without_masks_needs_pretrained(common, trainer, tmp_path):
    trainer(common.make_net(), num_train_epochs=2).train()
    path = str(tmp_path / "run" / f"checkpoint-{2 * common.BATCHES}")
    with pytest.raises(UsageError, match="holds no masks of rigl.*pretrained=True"):
        trainer(common.make_net(9), SparseTrainingCallback("rigl", **METHOD)).train(resume_from_checkpoint=path)
    callback = SparseTrainingCallback("static", sparsity=0.8, pretrained=True)
    trainer(common.make_net(9), callback).train(resume_from_checkpoint=path)
    assert callback.method.masks.sparsity_weights() == pytest.approx(0.8, abs=1e-3)
    assert not any(callback.method.masks.off_mask().values())


def test_another_methods_checkpoint_is_refused(common, trainer, tmp_path):
    trainer(common.make_net(), SparseTrainingCallback("rigl", **METHOD), num_train_epochs=2).train()
    with pytest.raises(UsageError, match="of method rigl, not of set"):
        trainer(common.make_net(), SparseTrainingCallback("set", **METHOD)).train(resume_from_checkpoint=True)


def test_training_again_goes_on_with_the_same_masks(common, trainer):
    callback = SparseTrainingCallback("static", sparsity=0.8)
    run = trainer(common.make_net(), callback)
    run.train()
    masks = {name: mask.clone() for name, mask in callback.method.masks.items()}
    run.train()
    assert all(torch.equal(mask, callback.method.masks[name]) for name, mask in masks.items())
    assert not any(callback.method.masks.off_mask().values())


def test_masks_are_those_of_the_best_model_when_it_is_loaded_at_the_end(common, trainer):
    callback = SparseTrainingCallback("rigl", **METHOD)
    losses = iter([0.5, 0.1, 0.7, 0.9])
    options = {"load_best_model_at_end": True, "eval_strategy": "epoch"}
    run = trainer(common.make_net(), callback, **options)
    run.evaluate = lambda *args, **kwargs: {"eval_loss": next(losses)}
    run.train()
    assert run.state.best_model_checkpoint.endswith(f"checkpoint-{2 * common.BATCHES}")
    assert not any(callback.method.masks.off_mask().values())
    assert callback.method.masks.sparsity_weights() == pytest.approx(0.8, abs=1e-3)


def test_an_unknown_method_is_found_before_training():
    with pytest.raises(UsageError, match="unknown method 'rig1', did you mean 'rigl'"):
        SparseTrainingCallback("rig1", sparsity=0.8)


def test_without_transformers_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "lpss.integrations.transformers")
    with pytest.raises(ImportError, match=r'pip install "lpss\[transformers\]"'):
        import lpss.integrations.transformers  # noqa: F401
