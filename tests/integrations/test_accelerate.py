"""With accelerate `attach` is all there is to do, before `prepare` or after it; resumed runs end bitwise the same."""

import pytest
import torch
from torch import nn

import lpss

accelerate = pytest.importorskip("accelerate", reason='needs accelerate: pip install "lpss[accelerate]"')

METHOD = {"sparsity": 0.8, "update_every": 3, "begin": 0.0, "seed": 5}
EPOCHS = 4
ORDERS = ["attached after prepare", "attached before prepare"]


class Run:
    """A net, an optimizer and a method, prepared by accelerate."""

    def __init__(self, common, name, kind, order, accumulate=1, seed=0):
        self.common = common
        self.accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
        loader = torch.utils.data.DataLoader(common.make_data(), batch_size=common.SIZE)
        self.net = common.make_net(seed)
        optimizer = common.make_optimizer(kind, self.net)
        if order == "attached before prepare":
            self.attach(name, self.net, optimizer, accumulate)
        self.model, self.optimizer, self.loader = self.accelerator.prepare(self.net, optimizer, loader)
        if order == "attached after prepare":
            self.attach(name, self.model, self.optimizer, accumulate)

    def attach(self, name, net, optimizer, accumulate):
        steps = EPOCHS * self.common.BATCHES // accumulate
        self.method = lpss.METHODS[name](net, optimizer, total_steps=steps, **METHOD).attach()

    def train(self, epochs):
        norms = []
        params = [param for group in self.optimizer.param_groups for param in group["params"]]
        for _ in range(epochs):
            for x, y in self.loader:
                with self.accelerator.accumulate(self.model):
                    self.accelerator.backward(nn.functional.cross_entropy(self.model(x), y))
                    if self.accelerator.sync_gradients:
                        norms.append(float(self.accelerator.clip_grad_norm_(params, self.common.CLIP)))
                    self.optimizer.step()
                    self.optimizer.zero_grad()
        return norms


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", ["rigl", "lpss"])
@pytest.mark.parametrize("kind", ["adamw", "lpsgd_m"])
def test_it_does_the_same_as_the_plain_loop_bit_by_bit(common, kind, name, accumulate, order):
    run = Run(common, name, kind, order, accumulate)
    norms = run.train(EPOCHS)

    net = common.make_net()
    optimizer = common.make_optimizer(kind, net)
    method = lpss.METHODS[name](net, optimizer, total_steps=EPOCHS * common.BATCHES // accumulate, **METHOD)
    expected = common.plain_loop(net, optimizer, method, EPOCHS, accumulate)
    common.assert_same(net, run.net)
    common.assert_same_masks(method, run.method)
    if name == "lpss":  # RigL's steps with an update do not use their gradients, and need not mask them
        assert norms == expected


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["rigl", "lpss"])
@pytest.mark.parametrize("kind", ["adamw", "lpsgd_m"])
def test_a_state_that_was_saved_is_resumed_bitwise(common, tmp_path, kind, name, order):
    run = Run(common, name, kind, order)
    run.train(2)
    run.accelerator.save_state(tmp_path)
    run.train(2)

    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    resumed = Run(common, name, kind, order, seed=9)
    resumed.accelerator.load_state(tmp_path)
    resumed.train(2)
    assert resumed.method.steps == EPOCHS * common.BATCHES
    common.assert_same(run.net, resumed.net)
    common.assert_same_masks(run.method, resumed.method)


def test_a_saved_state_holds_the_masks_and_weights_that_are_zero_off_them(common, tmp_path):
    from safetensors.torch import load_file

    run = Run(common, "rigl", "adamw", ORDERS[0])
    run.train(EPOCHS)
    run.accelerator.save_state(tmp_path)
    masks = torch.load(tmp_path / "optimizer.bin", weights_only=True)["lpss"]["masks"]
    counted = common.assert_sparse(load_file(tmp_path / "model.safetensors"), masks)
    assert counted == pytest.approx(run.method.masks.sparsity_weights()) == pytest.approx(0.8, abs=1e-3)
