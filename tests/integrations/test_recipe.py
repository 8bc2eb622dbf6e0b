"""A method that is attached after the optimizer's state was loaded goes on from the saved masks, in any loop."""

import io

import pytest
import torch

from lpss.errors import UsageError
from lpss.integrations.recipe import Recipe
from lpss.sparse.attach import take_saved

OPTIONS = {"update_every": 3, "begin": 0.0, "seed": 5}


def train(common, net, optimizer, batches):
    for index in batches:
        x, y = common.make_data()[index * common.SIZE : (index + 1) * common.SIZE]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()


def saved_and_loaded(*parts):
    file = io.BytesIO()
    torch.save([part.state_dict() for part in parts], file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def start(common, kind, seed):
    net = common.make_net(seed)
    return net, common.make_optimizer(kind, net), Recipe("rigl", 0.8, None, OPTIONS)


@pytest.mark.parametrize("kind", ["adamw", "lpsgd_m"])
def test_a_state_that_was_loaded_before_the_method_was_attached_is_gone_on_from(common, kind):
    net, optimizer, recipe = start(common, kind, seed=0)
    method = recipe.attach(net, optimizer, 8, saved=None, resumed=False)
    train(common, net, optimizer, range(4))
    weights, state = saved_and_loaded(net, optimizer)
    train(common, net, optimizer, range(4, 8))

    resumed, other, again = start(common, kind, seed=9)
    resumed.load_state_dict(weights)
    other.load_state_dict(state)
    saved = take_saved(other)
    later = again.attach(resumed, other, 8, saved=saved, resumed=True)
    for name, weight in resumed.state_dict().items():
        assert torch.equal(weight, weights[name])
    train(common, resumed, other, range(4, 8))
    common.assert_same(net, resumed)
    common.assert_same_masks(method, later)


def test_the_optimizers_groups_are_as_they_were_once_the_saved_masks_were_taken(common):
    net, optimizer, recipe = start(common, "adamw", seed=0)
    groups = [set(group) for group in optimizer.param_groups]
    assert take_saved(optimizer) is None
    recipe.attach(net, optimizer, 8, saved=None, resumed=False)
    train(common, net, optimizer, range(2))
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    assert [set(group) for group in optimizer.param_groups] == groups

    other = common.make_optimizer("adamw", net)
    other.load_state_dict(state)
    assert take_saved(other)["method"] == "rigl" and take_saved(other) is None
    assert [set(group) for group in other.param_groups] == groups


def test_masks_are_saved_once_though_they_stand_in_two_places(common):
    net, optimizer, recipe = start(common, "adamw", seed=0)
    recipe.attach(net, optimizer, 8, saved=None, resumed=False)
    (state,) = saved_and_loaded(optimizer)
    first = state["param_groups"][0]["lpss"]["masks"]
    assert all(mask.data_ptr() == first[name].data_ptr() for name, mask in state["lpss"]["masks"].items())


def test_weights_of_a_checkpoint_without_masks_are_kept_only_with_pretrained(common):
    net, optimizer, recipe = start(common, "adamw", seed=0)
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    with pytest.raises(UsageError, match="holds no masks of rigl.*pretrained=True"):
        recipe.attach(net, optimizer, 8, saved=None, resumed=True)
    for name, weight in net.state_dict().items():
        assert torch.equal(weight, before[name])
    recipe.options["pretrained"] = True
    method = recipe.attach(net, optimizer, 8, saved=None, resumed=True)
    layer = net.layers[2].weight
    assert layer[layer != 0].abs().min() >= before["layers.2.weight"][layer == 0].abs().max()
    assert method.masks.sparsity_weights() == pytest.approx(0.8, abs=1e-3)
