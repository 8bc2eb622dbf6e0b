"""Sparse training in PyTorch Lightning is the plain loop's, bit by bit, and so is a run that was resumed."""

import sys

import pytest
import torch
from torch import nn

import lpss
from lpss.errors import UsageError

lightning = pytest.importorskip("lightning.pytorch", reason='needs Lightning: pip install "lpss[lightning]"')
from lpss.integrations.lightning import SparseTraining  # noqa: E402

METHOD = {"sparsity": 0.8, "update_every": 3, "begin": 0.0, "seed": 5}
EPOCHS = 4
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(num_workers|val_dataloader|dirpath has changed|exists and is not empty|logging interval|LeafSpec)"
)


@pytest.fixture
def module(common):
    class Module(lightning.LightningModule):
        """The net that all trainers train; `self.net` so that its names differ from the plain one's."""

        def __init__(self, kind="adamw", seed=0):
            super().__init__()
            self.kind, self.net = kind, common.make_net(seed)
            self.masked_at_first = None

        def loss(self, batch):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def training_step(self, batch):
            return self.loss(batch)

        def validation_step(self, batch):
            if self.masked_at_first is None:
                self.masked_at_first = float((self.net.layers[2].weight == 0).float().mean())

        def configure_optimizers(self):
            return common.make_optimizer(self.kind, self.net)

    return Module


@pytest.fixture
def fit(common, tmp_path):
    def fit(module, *callbacks, ckpt_path=None, folder="run", validate=False, **options):
        """Train; returns the trainer. A checkpoint of every epoch lies in tmp_path / folder / EPOCH.ckpt."""
        checkpoints = lightning.callbacks.ModelCheckpoint(tmp_path / folder, "{epoch}", save_top_k=-1)
        options = {"max_epochs": EPOCHS, "gradient_clip_val": common.CLIP} | options
        trainer = lightning.Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[*callbacks, checkpoints],
            **options,
        )
        loader = torch.utils.data.DataLoader(common.make_data(), batch_size=common.SIZE)
        trainer.fit(module, loader, loader if validate else None, ckpt_path=ckpt_path)
        return trainer

    return fit


def checkpoint(tmp_path, epoch, folder="run"):
    return tmp_path / folder / f"epoch={epoch}.ckpt"


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", ["rigl", "set", "gmp", "lpss"])
@pytest.mark.parametrize("kind", ["adamw", "lpsgd_m"])
def test_fit_does_the_same_as_the_plain_loop_bit_by_bit(common, module, fit, kind, name, accumulate):
    options = METHOD if name != "gmp" else {"sparsity": 0.8}
    callback, trained = SparseTraining(name, **options), module(kind)
    trainer = fit(trained, callback, accumulate_grad_batches=accumulate)

    net = common.make_net()
    optimizer = common.make_optimizer(kind, net)
    steps = EPOCHS * common.BATCHES // accumulate
    method = lpss.METHODS[name](net, optimizer, total_steps=steps, **options)
    common.plain_loop(net, optimizer, method, EPOCHS, accumulate)

    common.assert_same(net, trained.net)
    assert trainer.global_step == callback.method.steps == method.steps == steps
    for layer, mask in method.masks.items():
        assert torch.equal(mask, callback.method.masks[f"net.{layer}"])


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", ["rigl", "lpss"])
@pytest.mark.parametrize("kind", ["adamw", "lpsgd_m"])
def test_a_resumed_run_ends_with_bitwise_the_same_weights_and_masks(
    common, module, fit, tmp_path, kind, name, accumulate
):
    whole, first = module(kind), SparseTraining(name, **METHOD)
    fit(whole, first, accumulate_grad_batches=accumulate)
    resumed, second = module(kind, seed=9), SparseTraining(name, **METHOD)
    path = checkpoint(tmp_path, 1)
    trainer = fit(resumed, second, ckpt_path=path, folder="resumed", accumulate_grad_batches=accumulate)

    assert trainer.global_step == EPOCHS * common.BATCHES // accumulate
    common.assert_same(whole, resumed)
    common.assert_same_masks(first.method, second.method)
    ends = [torch.load(checkpoint(tmp_path, EPOCHS - 1, folder)) for folder in ("run", "resumed")]
    states = [end["optimizer_states"][0]["state"] for end in ends]
    for number, state in states[0].items():
        for key, value in state.items():
            assert not torch.is_tensor(value) or torch.equal(value, states[1][number][key])


def test_checkpoints_hold_the_masks_and_weights_that_are_zero_off_them(common, module, fit, tmp_path):
    callback = SparseTraining("rigl", **METHOD)
    trainer = fit(module(), callback)
    for epoch in range(EPOCHS):
        saved = torch.load(checkpoint(tmp_path, epoch), weights_only=True)
        assert saved["global_step"] == (epoch + 1) * common.BATCHES
        counted = common.assert_sparse(saved["state_dict"], saved["optimizer_states"][0]["lpss"]["masks"])
    assert float(trainer.callback_metrics["sparsity"]) == pytest.approx(counted, abs=1e-6)
    assert counted == pytest.approx(0.8, abs=1e-3)


def test_the_net_is_sparse_before_its_first_forward_pass_and_when_it_is_resumed(module, fit, tmp_path):
    whole = module()
    fit(whole, SparseTraining("rigl", **METHOD), validate=True)
    assert whole.masked_at_first == pytest.approx(0.8, abs=0.01)
    loaded = torch.load(checkpoint(tmp_path, 1))["state_dict"]

    class Watch(lightning.Callback):
        def on_train_start(self, trainer, pl_module):
            assert all(torch.equal(value, loaded[name]) for name, value in pl_module.state_dict().items())
            self.seen = True

    resumed, watch = module(seed=9), Watch()
    path = checkpoint(tmp_path, 1)
    fit(resumed, SparseTraining("rigl", **METHOD), watch, ckpt_path=path, folder="resumed", validate=True)
    assert watch.seen
    assert resumed.masked_at_first == float((loaded["net.layers.2.weight"] == 0).float().mean())


def test_clipping_sees_the_norm_of_masked_gradients(common, module, fit):
    norms = []

    class Module(module):
        def on_before_optimizer_step(self, optimizer):
            gradients = [param.grad for param in self.parameters()]
            norms.append(float(nn.utils.get_total_norm(gradients)))

    fit(Module(), SparseTraining("static", sparsity=0.8, seed=5))
    net = common.make_net()
    optimizer = common.make_optimizer("adamw", net)
    method = lpss.Static(net, optimizer, sparsity=0.8, seed=5, total_steps=EPOCHS * common.BATCHES)
    assert norms == common.plain_loop(net, optimizer, method, EPOCHS)


def test_of_several_optimizers_one_is_chosen_and_the_rest_stays_dense(common, module, fit):
    class Two(module):
        """Two nets, trained one after the other, as GANs are."""

        automatic_optimization = False

        def __init__(self):
            super().__init__()
            self.other = common.make_net(1)
            self.automatic_optimization = False

        def training_step(self, batch):
            for optimizer, net in zip(self.optimizers(), (self.other, self.net), strict=True):
                optimizer.zero_grad()
                self.manual_backward(nn.functional.cross_entropy(net(batch[0]), batch[1]))
                optimizer.step()

        def configure_optimizers(self):
            return [common.make_optimizer("adamw", net) for net in (self.other, self.net)]

    with pytest.raises(UsageError, match="2 optimizers.*optimizer=0"):
        fit(Two(), SparseTraining("rigl", **METHOD), gradient_clip_val=None)
    with pytest.raises(UsageError, match="optimizer=2 is none of the 2"):
        fit(Two(), SparseTraining("rigl", **METHOD, optimizer=2), gradient_clip_val=None)
    two, callback = Two(), SparseTraining("rigl", **METHOD, optimizer=1)
    fit(two, callback, gradient_clip_val=None)
    assert callback.method.steps == EPOCHS * common.BATCHES
    assert two.other.layers[2].weight.all()
    assert float((two.net.layers[2].weight == 0).float().mean()) == pytest.approx(0.8, abs=0.01)


def test_training_without_a_known_end_needs_total_steps(module, fit):
    with pytest.raises(UsageError, match="total_steps"):
        fit(module(), SparseTraining("rigl", **METHOD), max_epochs=-1)
    callback = SparseTraining("rigl", **METHOD, total_steps=7)
    fit(module(), callback, max_epochs=1)
    assert callback.method.total_steps == 7


def test_a_checkpoint_of_a_dense_run_needs_pretrained_and_its_momentum_revives_nothing(module, fit, tmp_path):
    fit(module(), max_epochs=2)
    with pytest.raises(UsageError, match="holds no masks of static.*pretrained=True"):
        fit(module(seed=9), SparseTraining("static", sparsity=0.8), ckpt_path=checkpoint(tmp_path, 1))
    callback = SparseTraining("static", sparsity=0.8, pretrained=True)
    fit(module(seed=9), callback, ckpt_path=checkpoint(tmp_path, 1), max_epochs=3)
    assert callback.method.masks.sparsity_weights() == pytest.approx(0.8, abs=1e-3)
    assert not any(callback.method.masks.off_mask().values())


def test_another_methods_checkpoint_is_refused(module, fit, tmp_path):
    fit(module(), SparseTraining("rigl", **METHOD), max_epochs=2)
    with pytest.raises(UsageError, match="of method rigl, not of set"):
        fit(module(), SparseTraining("set", **METHOD), ckpt_path=checkpoint(tmp_path, 1))


def test_fitting_again_goes_on_with_the_same_masks(module, fit):
    callback, trained = SparseTraining("static", sparsity=0.8), module()
    fit(trained, callback)
    masks = {name: mask.clone() for name, mask in callback.method.masks.items()}
    fit(trained, callback, folder="again")
    assert all(torch.equal(mask, callback.method.masks[name]) for name, mask in masks.items())
    assert not any(callback.method.masks.off_mask().values())


def test_masks_follow_the_weights_of_a_checkpoint_that_is_tested(common, module, fit, tmp_path):
    callback, trained = SparseTraining("rigl", **METHOD), module()
    trainer = fit(trained, callback)
    trained.test_step = lambda batch: None
    loader = torch.utils.data.DataLoader(common.make_data(), batch_size=common.SIZE)
    trainer.test(trained, loader, ckpt_path=checkpoint(tmp_path, 0), verbose=False)
    assert not any(callback.method.masks.off_mask().values())
    assert callback.method.masks.sparsity_weights() == pytest.approx(0.8, abs=1e-3)


def test_an_unknown_method_is_found_before_training():
    with pytest.raises(UsageError, match="unknown method 'rig1', did you mean 'rigl'"):
        SparseTraining("rig1", sparsity=0.8)


def test_without_lightning_the_message_says_what_to_install(monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "lpss.integrations.lightning")
    with pytest.raises(ImportError, match=r'pip install "lpss\[lightning\]"'):
        import lpss.integrations.lightning  # noqa: F401
