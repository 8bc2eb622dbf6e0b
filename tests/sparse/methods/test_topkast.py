"""Top-KAST and MEST: what is used, what moves, and what is hidden."""

import pytest
import torch

from lpss import MEST, SET, LpSGD, TopKAST, param_groups
from lpss.errors import UsageError

OFTEN = {"update_every": 4}


def whole(run):
    return {name: layer.weight.detach() + layer.view(run.method.hidden[name]) for name, layer in layers(run)}


def layers(run):
    return run.method.masks.layers.items()


def test_the_net_holds_the_largest_weights_alone(trained):
    run = trained(TopKAST, **OFTEN).train(5)
    for name, mask in run.masks.items():
        assert not run.weights[name][~mask].any() and not run.method.hidden[name][mask].any()
    run.train(4)  # an update was the last step but none
    run = trained(TopKAST, penalty=0.0, **OFTEN).train(4)
    run.gradients(4)
    run.method.begin_step()
    run.method.change_topology()
    for name, weight in whole(run).items():
        mask = run.masks[name]
        assert weight[mask].abs().min() >= weight[~mask].abs().max()


def test_only_the_wider_set_moves(trained):
    run = trained(TopKAST, **OFTEN)
    for _ in range(12):
        before = whole(run)
        run.train(1)
        for name, weight in whole(run).items():
            moved = run.method.moved[name].bool()
            assert torch.equal(weight[~moved], before[name][~moved])
            assert (run.masks[name] <= moved).all()
            assert int(moved.sum()) == int(run.masks[name].sum()) + round(0.1 * moved.numel())
    assert any((weight[m & ~a] != before[name][m & ~a]).any() for name, weight in whole(run).items()
               for m, a in [(run.method.moved[name].bool(), run.masks[name])])  # fmt: skip


def test_with_nothing_beside_the_used_weights_it_is_training_on_a_fixed_mask(trained):
    run = trained(TopKAST, backward_density=0.0, penalty=0.0, end=0.75, update_every=40)
    masks = run.masks
    other = trained(SET, update_every=1000)
    other.net.load_state_dict(run.net.state_dict())
    for name, mask in masks.items():
        other.method.set_mask(name, mask)
    other.net.load_state_dict(run.net.state_dict())
    run.train(30), other.train(30)
    for name, weight in run.weights.items():
        torch.testing.assert_close(weight, other.weights[name])


def test_with_all_weights_moved_it_is_a_straight_through_gradient(trained):
    run = trained(
        TopKAST, backward_density=1.0, penalty=0.0, optimizer=lambda n: torch.optim.SGD(n.parameters(), lr=0.1)
    )
    for step in range(8):
        before = whole(run)
        run.gradients(step)
        expected = {name: before[name] - 0.1 * layer.weight.grad for name, layer in layers(run)}
        run.method.step()
        for name, weight in whole(run).items():
            torch.testing.assert_close(weight, expected[name])


def test_the_penalty_is_stronger_off_the_used_set(trained):
    run = trained(TopKAST, sparsity=0.75, penalty=0.01, backward_density=1.0, distribution="uniform",
                  optimizer=lambda net: torch.optim.SGD(net.parameters(), lr=1.0))  # fmt: skip
    before, masks = whole(run), run.masks
    for _, layer in layers(run):
        layer.parameter.grad = torch.zeros_like(layer.parameter)
    run.method.step()
    for name, weight in whole(run).items():
        density = masks[name].float().mean()
        torch.testing.assert_close(weight[masks[name]], before[name][masks[name]] * (1 - 0.01))
        torch.testing.assert_close(weight[~masks[name]], before[name][~masks[name]] * (1 - 0.01 / density))


def test_exploring_ends_with_the_window(trained):
    run = trained(TopKAST, end=0.5, **OFTEN).train(20)
    assert all(torch.equal(run.method.moved[name].bool(), mask) for name, mask in run.masks.items())
    masks = run.masks
    run.train(20)
    assert all(torch.equal(mask, masks[name]) for name, mask in run.masks.items())


def test_dpf_prunes_along_the_cubic_schedule(trained):
    run, shares = trained(TopKAST, backward_density=1.0, penalty=0.0, start_sparsity=0.0, sparsity=0.8, **OFTEN), []
    run.train(40, lambda run: shares.append(run.method.masks.masked_share()))
    assert shares[0] == 0 and shares == sorted(shares) and shares[-1] == pytest.approx(0.8, abs=1e-3)
    assert run.method.gradient_counts() == {name: int(mask.sum()) for name, mask in run.masks.items()}


def test_momentum_of_hidden_weights_is_kept(trained):
    run = trained(TopKAST, **OFTEN).train(6)
    kept = 0
    for name, layer in layers(run):
        momentum = run.optimizer.state[layer.parameter]["momentum_buffer"]
        assert not momentum[~run.method.moved[name].bool()].any() or run.method.steps > 4
        kept += int((momentum != 0)[run.method.moved[name].bool() & ~run.masks[name]].sum())
    assert kept > 0


def test_topkast_refuses_spheres_and_wrong_options(trained):
    with pytest.raises(UsageError, match="method topkast keeps weights that are not used"):
        trained(TopKAST, optimizer=lambda net: LpSGD(param_groups(net, 1.4), lr=0.05, p=None))
    for options in ({"backward_density": 1.5}, {"penalty": -1.0}, {"start_sparsity": 2.0}):
        with pytest.raises(UsageError, match=f"method.{next(iter(options))}"):
            trained(TopKAST, **options)


# --- MEST -------------------------------------------------------------------------------------------------------


def test_elastic_mutation_keeps_the_sparsity_and_moves_its_share(trained):
    run = trained(MEST, sparsity=0.8, mutation=0.5, distribution="uniform", **OFTEN)
    first = run.method.masks.active()
    for _ in range(40):
        before, step = run.masks, run.method.steps
        run.train(1)
        assert run.method.masks.active() == first
        changed = sum(int((before[name] & ~mask).sum()) for name, mask in run.masks.items())
        if step == 4:
            assert 0.5 * 0.1 * 608 < changed <= 0.1 * 608 + 3  # some of those dropped are drawn again
        if step >= 30:
            assert changed == 0


def test_soft_mutation_holds_more_weights_until_the_end(trained):
    run, shares = trained(MEST, sparsity=0.8, mutation=0.5, elastic="soft", **OFTEN), []
    shares.append(run.method.masks.masked_share())
    run.train(40, lambda run: shares.append(run.method.masks.masked_share()))
    assert shares[0] == shares[20] == pytest.approx(0.7, abs=2e-3)
    assert shares[28] == pytest.approx(0.75, abs=2e-3) and shares[-1] == pytest.approx(0.8, abs=1e-3)


def test_the_gradient_may_have_a_part_in_the_score(trained):
    run = trained(MEST, gradient_share=0.5)
    run.gradients(0)
    for name, layer in layers(run):
        expected = layer.weight.detach().abs() + 0.5 * layer.weight.grad.abs()
        torch.testing.assert_close(run.method.drop_score(name), expected)


def test_wrong_options_of_mest_are_named(trained):
    for options in ({"elastic": "band"}, {"mutation": 1.0}, {"gradient_share": -1.0}):
        with pytest.raises(UsageError, match=f"method.{next(iter(options))}"):
            trained(MEST, **options)
