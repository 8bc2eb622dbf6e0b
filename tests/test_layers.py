"""Where a net's weights are kept: every kind of layer, packed, transposed, parametrized, shared, bare."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import lpss
from lpss import LpSGDm, Static, param_groups
from lpss.coverage import cover
from lpss.errors import UsageError
from lpss.layers import all_layers, weight_layers


def found(net):
    return {layer.name: layer for layer in all_layers(net)}


def static(net, **options):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return Static(net, optimizer, sparsity=0.9, total_steps=10, **options)


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **options)
        self.head = nn.Linear(8, 2)


def tied():
    net = nn.Module()
    net.embed = nn.Embedding(20, 8)
    net.mid = nn.Linear(8, 8)
    net.head = nn.Linear(8, 20, bias=False)
    net.head.weight = net.embed.weight
    return net


# --- kinds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, layers",
    [
        (lambda: Attention(), {"attention.in_proj_weight": (24, 8), "attention.out_proj": (8, 8), "head": (2, 8)}),
        (
            lambda: Attention(kdim=3, vdim=5).attention,
            {"q_proj_weight": (8, 8), "k_proj_weight": (8, 3), "v_proj_weight": (8, 5), "out_proj": (8, 8)},
        ),
        (lambda: nn.LSTM(3, 4), {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4)}),
        (
            lambda: nn.LSTM(3, 4, proj_size=2),
            {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 2), "weight_hr_l0": (2, 4)},
        ),
        (
            lambda: nn.GRU(3, 4, num_layers=2),
            {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "weight_ih_l1": (12, 4), "weight_hh_l1": (12, 4)},
        ),
        (
            lambda: nn.RNN(3, 4, bidirectional=True),
            {
                "weight_ih_l0": (4, 3),
                "weight_hh_l0": (4, 4),
                "weight_ih_l0_reverse": (4, 3),
                "weight_hh_l0_reverse": (4, 4),
            },
        ),
        (lambda: nn.GRUCell(3, 4), {"weight_ih": (12, 3), "weight_hh": (12, 4)}),
        (lambda: nn.ConvTranspose2d(3, 5, 2), {"": (5, 3, 2, 2)}),  # neurons first
        (lambda: nn.Bilinear(3, 4, 5), {"": (5, 3, 4)}),
        (lambda: nn.Conv2d(6, 6, 3, groups=6), {"": (6, 1, 3, 3)}),
    ],
)
def test_every_kind_is_masked_with_its_neurons_first(make, layers):
    net = make()
    method = static(net)
    assert {name: tuple(mask.shape) for name, mask in method.masks.items()} == layers
    total = sum(param.numel() for param in net.parameters() if param.dim() > 1)
    zeros = sum(int((param == 0).sum()) for param in net.parameters() if param.dim() > 1)
    assert method.masks.maskable == total
    assert zeros == round(total) - round(0.1 * total) and method.masks.sparsity_weights() == pytest.approx(
        zeros / total
    )


def test_gates_and_projections_are_blocks_whose_shape_counts_for_er():
    net = nn.LSTM(10, 40)
    assert [layer.blocks for layer in weight_layers(net)] == [4, 4]
    assert [layer.blocks for layer in weight_layers(Attention())] == [3, 1, 1]
    method = static(net, distribution="er")
    density = {name: count / method.masks[name].numel() for name, count in method.masks.active().items()}
    ratio = ((40 + 10) / (40 * 10)) / ((40 + 40) / (40 * 40))  # of one gate's matrices, not of four on each other
    assert density["weight_ih_l0"] / density["weight_hh_l0"] == pytest.approx(ratio, rel=0.01)


def test_roles_of_these_kinds():
    net = nn.Sequential(
        nn.Linear(8, 8), nn.MultiheadAttention(8, 2), nn.GRU(8, 8), nn.ConvTranspose1d(8, 8, 1), nn.Linear(8, 2)
    )
    roles = {layer.name: layer.role for layer in weight_layers(net)}
    assert roles["0"] == "stem" and roles["4"] == "head" and roles["1.in_proj_weight"] == "attention"
    assert roles["1.out_proj"] == "linear" and roles["2.weight_hh_l0"] == "recurrent" and roles["3"] == "conv"


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("optimizer", [lpss.LpSGD, LpSGDm])
def test_a_transposed_layer_on_the_sphere_moves_as_the_same_layer_the_other_way_round(optimizer, steps):
    torch.manual_seed(0)
    linear, transposed = nn.Linear(6, 4, bias=False), nn.ConvTranspose1d(6, 4, 1, bias=False)
    with torch.no_grad():
        transposed.weight.copy_(linear.weight.T.unsqueeze(2))
    optimizers = [optimizer(param_groups(net, 1.5, exclude=[]), lr=0.1, p=None) for net in (linear, transposed)]
    for _ in range(steps):
        x = torch.randn(5, 6)
        for net, one, inputs in ((linear, optimizers[0], x), (transposed, optimizers[1], x.unsqueeze(2))):
            one.zero_grad()
            net(inputs).square().sum().backward()
            one.step()
    torch.testing.assert_close(transposed.weight[:, :, 0].T, linear.weight, rtol=1e-4, atol=1e-5)
    norms = transposed.weight.detach().abs().pow(1.5).sum((0, 2)).pow(1 / 1.5)
    assert (norms - 1).abs().max() < 1e-5
    state = optimizers[1].state_dict()
    optimizers[1].load_state_dict(state)
    assert optimizers[1].param_groups[0]["neuron_dim"] == 1


def test_conv1d_of_transformers_is_a_layer_and_a_tied_head_is_left_alone():
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=30, n_positions=16)
    net = transformers.GPT2LMHeadModel(config)
    method = static(net)
    prefix = "transformer.h.0."
    assert [name.removeprefix(prefix) for name in method.masks] == [
        "attn.c_attn",
        "attn.c_proj",
        "mlp.c_fc",
        "mlp.c_proj",
    ]
    assert method.masks[f"{prefix}mlp.c_fc"].shape == (32, 8)  # the weight is (8, 32)
    assert (net.transformer.h[0].mlp.c_fc.weight == 0).float().mean() == pytest.approx(0.9, abs=0.01)
    assert net.lm_head.weight.all()
    assert method.coverage.dense["lm_head"] == "shared with transformer.wte.weight"


# --- parametrizations -----------------------------------------------------------------------------------------------

PARAMETRIZED = {
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Linear(20, 6)), "parametrizations.weight.original1"),
    "weight_norm of a conv": (
        lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
        "parametrizations.weight.original1",
    ),
    "spectral_norm": (lambda: parametrizations.spectral_norm(nn.Linear(20, 6)), "parametrizations.weight.original"),
    "prune": (lambda: prune.random_unstructured(nn.Linear(20, 6), "weight", 0.3), "weight_orig"),
    "old spectral_norm": (lambda: nn.utils.spectral_norm(nn.Linear(20, 6)), "weight_orig"),
}


@pytest.mark.parametrize("kind", PARAMETRIZED)
def test_a_parametrized_weight_is_masked_through_its_original(kind):
    make, attribute = PARAMETRIZED[kind]
    torch.manual_seed(0)
    net = nn.Sequential(make(), nn.Flatten(), nn.Linear(4 if "conv" in kind else 6, 2))
    x = torch.randn(5, *((3, 3, 3) if "conv" in kind else (20,)))
    state = {key: value.clone() for key, value in net.state_dict().items()}
    assert found(net)["0"].attribute == attribute
    for key, value in net.state_dict().items():  # looking has changed nothing
        assert torch.equal(value, state[key])
    method = static(net, rescale=False)
    for _ in range(3):
        method.optimizer.zero_grad()
        net(x).square().sum().backward()
        method.step()
    net(x)
    mask = method.masks["0"]
    assert torch.isfinite(net[0].weight).all() and not net[0].weight[mask == 0].any()
    total = method.masks.maskable
    assert method.masks.sparse_weights() == total - round(0.1 * total)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_older_weight_norm_is_known_too():
    net = nn.Sequential(nn.utils.weight_norm(nn.Linear(8, 6)), nn.Linear(6, 2))
    layer = found(net)["0"]
    assert layer.attribute == "weight_v" and layer.divides
    method = static(net)
    net(torch.randn(2, 8))
    assert torch.isfinite(net[0].weight).all() and not net[0].weight[method.masks["0"] == 0].any()


def test_weight_norm_along_another_dim_is_left_dense_since_an_empty_slice_would_divide_by_zero():
    net = nn.Sequential(parametrizations.weight_norm(nn.Conv1d(4, 8, 16), dim=2), nn.Conv1d(8, 8, 1))
    assert static(net).coverage.dense == {"0": "normed by WeightNorm along dim 2"}


def test_twenty_parametrized_layers_are_twenty_layers():
    net = nn.Sequential(*(parametrizations.weight_norm(nn.Linear(8, 8)) for _ in range(20)))
    assert len(weight_layers(net)) == 20 and static(net).masks.maskable == 20 * 64


def test_a_parametrization_that_fills_zeros_in_is_left_dense_and_says_so():
    class Softplus(nn.Module):
        def forward(self, x):
            return nn.functional.softplus(x)

    positive = nn.Linear(8, 8)
    nn.utils.parametrize.register_parametrization(positive, "weight", Softplus())
    net = nn.Sequential(parametrizations.orthogonal(nn.Linear(8, 8)), positive, nn.Linear(8, 2))
    method = static(net)
    assert list(method.masks) == ["2"]
    assert "parametrized by Orthogonal, which turns zeros into other values" == method.coverage.dense["0"]
    assert "Softplus" in method.coverage.dense["1"]
    with pytest.raises(UsageError, match="mask.include: '1' cannot be masked .*Softplus"):
        static(net, include=["1"])


def test_a_parametrization_that_fails_on_zeros_is_left_dense_and_its_weight_as_it_was():
    class Inverse(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    layer = nn.Linear(8, 8)
    before = layer.weight.detach().clone()
    nn.utils.parametrize.register_parametrization(layer, "weight", Inverse())
    net = nn.Sequential(layer, nn.Linear(8, 2))
    assert "Inverse, which turns zeros" in static(net).coverage.dense["0"]
    assert torch.equal(layer.parametrizations.weight.original, before)


def test_no_neuron_of_a_layer_that_divides_by_its_norm_is_emptied():
    torch.manual_seed(0)
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(20, 30)), nn.ReLU(), nn.Linear(30, 2))
    method = static(net)
    masks = method.masks
    assert masks.empty_neurons()["0"] == 0 and masks.active()["0"] == 60  # as many as asked for, all the same
    assert torch.isfinite(net(torch.randn(3, 20))).all()


# --- shared, bare, frozen, lazy -------------------------------------------------------------------------------------


def test_a_tied_weight_is_masked_once_and_only_if_asked_for():
    net = tied()
    assert static(net).coverage.dense == {"head": "shared with embed.weight"} and net.embed.weight.all()
    for selector in ("head", "embed", "head.weight", "emb*", nn.Linear):
        net = tied()
        method = static(net, include=[selector])
        assert list(method.masks) == ["mid", "head"] and method.masks.maskable == 8 * 8 + 20 * 8
        assert method.masks.sparsity_weights() == pytest.approx(0.9, abs=0.003)


def test_embeddings_and_bare_parameters_are_masked_if_asked_for():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(30, 8)
            self.table = nn.Embedding(30, 8, sparse=True)
            self.experts = nn.Parameter(torch.randn(4, 8, 8))
            self.scale = nn.Parameter(torch.ones(8))
            self.head = nn.Linear(8, 2)

    net = Net()
    assert list(static(net).masks) == ["head"]
    assert static(net).coverage.dense == {
        "embed": "an embedding",
        "table": "an embedding with sparse gradients",
        "experts": "a parameter of Net",
    }
    assert list(static(Net(), include=["embed", "experts"]).masks) == ["head", "experts", "embed"]
    assert list(static(Net(), include=["embedding"]).masks) == ["head", "embed"]  # a role: what of it can be masked
    assert list(static(Net(), include=["parameter"], exclude=["head"]).masks) == ["experts"]
    assert list(static(Net(), include=[nn.Embedding]).masks) == ["head", "embed"]
    with pytest.raises(UsageError, match="'table' cannot be masked .*sparse gradients"):
        static(Net(), include=["table"])
    for wrong in ("scale", "nothing"):
        with pytest.raises(
            UsageError, match=f"mask.include: '{wrong}' is no role .* matches no layer of: head, experts"
        ):
            static(Net(), include=[wrong])
    with pytest.raises(UsageError, match="mask.include must be a list of names, got 'embed'"):
        static(Net(), include="embed")


def test_exclude_is_stronger_and_knows_types():
    net = nn.Sequential(nn.LSTM(4, 4), nn.Conv1d(4, 4, 1), nn.Linear(4, 2))
    assert list(static(net, exclude=["LSTM"]).masks) == ["1", "2"]
    assert list(static(net, exclude=[nn.RNNBase, "Linear"]).masks) == ["1"]
    net = tied()
    with pytest.raises(UsageError, match="leaves no trainable layer to mask"):
        static(net, include=["head"], exclude=["Linear"])


def test_frozen_lazy_and_sharded():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    net[0].weight.requires_grad_(False)
    assert static(net).coverage.dense == {"0": "frozen"}
    with pytest.raises(UsageError, match="LazyLinear has no weight yet: run a batch through the net first"):
        weight_layers(nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2)))


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_names_are_those_of_the_net_as_it_was_written(wrap):
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    assert [layer.name for layer in weight_layers(wrap(net))] == ["0", "2"]
    part = nn.Sequential(torch.compile(nn.Linear(4, 4)), nn.Linear(4, 2))
    assert [layer.name for layer in weight_layers(part)] == ["0", "1"]


def test_bfloat16_counts_are_exact():
    net = nn.Sequential(nn.Linear(1000, 50), nn.Linear(50, 2)).bfloat16()
    method = static(net)
    assert method.masks.active() == {"0": 5000, "1": 10} and method.masks.sparse_weights() == 50_100 - 5010


# --- coverage -------------------------------------------------------------------------------------------------------


def test_the_coverage_report_shows_every_layer_and_why(caplog):
    net = tied()
    coverage = cover(net, exclude=["mid"], include=["embed"])
    assert [layer.name for layer in coverage.masked] == ["head"] and coverage.dense == {"mid": "excluded by 'mid'"}
    assert coverage.parameters == 160 + 64 + 8 and coverage.share == pytest.approx(160 / 232)
    lines = str(coverage).splitlines()
    assert lines[0].split() == ["layer", "role", "type", "shape", "weights", "masked"]
    assert lines[1].split() == ["mid", "stem", "Linear", "8x8", "64", "no:", "excluded", "by", "'mid'"]
    assert lines[2].split() == ["head", "head", "Linear", "20x8", "160", "yes"]
    assert lines[3].split()[-2:] == ["8", "no"] and lines[3].startswith("biases, norms")
    assert lines[4] == "masks cover 1 of 2 layers, 160 of 232 parameters (69.0%)"
    assert coverage.line().endswith("(69.0%); dense: mid (excluded by 'mid')")


def test_a_method_reports_coverage_and_warns_below_a_half(caplog):
    with caplog.at_level("INFO", logger="lpss"):
        static(tied())
    assert [record.levelname for record in caplog.records if "masks cover" in record.message] == ["INFO", "WARNING"]
    assert "less than half of the net can become sparse: masks cover 1 of 2 layers, 64 of 232" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", logger="lpss"):
        static(tied(), include=["head"])
    assert [record.levelname for record in caplog.records if "masks cover" in record.message] == ["INFO"]
