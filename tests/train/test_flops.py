"""FLOPs of all kinds of nets against closed forms."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import lpss
from lpss.errors import UsageError
from lpss.models import build_model
from lpss.train.flops import count_flops


def test_flops_of_linear_and_conv_layers_by_hand():
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(36, 5)
    )
    flops = count_flops(net, torch.zeros(1, 2, 8, 8))
    assert flops.layers == {"0": 2 * 8 * 8 * (3 * 2 * 9), "2": 2 * 3 * 3 * (4 * 3 * 9), "4": 2 * 36 * 5}
    assert flops.other == 0 and not flops.not_counted


@pytest.mark.parametrize(
    "layer, shape, positions",
    [
        (nn.Conv2d(4, 6, 3, groups=2), (4, 8, 7), 6 * 5),
        (nn.Conv2d(4, 4, 3, groups=4, stride=2, padding=1), (4, 8, 7), 4 * 4),
        (nn.Conv1d(4, 6, 3, dilation=2), (4, 9), 5),
        (nn.Conv3d(2, 3, (1, 3, 3), padding="same"), (2, 3, 4, 5), 3 * 4 * 5),
        (nn.ConvTranspose1d(4, 6, 5, stride=3, padding=1), (4, 9), 9),  # every input position meets the whole kernel
        (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), (4, 8, 7), 8 * 7),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 8, 7), 8 * 7),
        (nn.Linear(4, 6), (3, 5, 4), 3 * 5),
        (nn.Linear(4, 6, bias=False), (4,), 1),
    ],
)
def test_a_layer_costs_its_weights_at_each_position(layer, shape, positions):
    assert count_flops(layer, torch.zeros(1, *shape)).layers == {"": 2 * positions * layer.weight.numel()}


def test_a_bilinear_layer_costs_its_weights_for_each_pair_of_inputs():
    flops = count_flops(nn.Bilinear(3, 4, 5), (torch.zeros(1, 7, 3), torch.zeros(1, 7, 4)))
    assert flops.layers == {"": 2 * 7 * 3 * 4 * 5} and not flops.other


def recurrent_weights(net: nn.Module) -> dict[str, int]:
    return {name: param.numel() for name, param in net.named_parameters() if name.startswith("weight")}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"batch_first": True, "bias": False}])
def test_recurrent_layers_cost_their_weights_at_each_time_step(kind, options):
    net = kind(5, 7, num_layers=2, **options)
    x = torch.zeros(1, 11, 5) if options.get("batch_first") else torch.zeros(11, 1, 5)
    flops = count_flops(net, x)
    assert flops.layers == {name: 2 * 11 * count for name, count in recurrent_weights(net).items()}
    assert flops.other == 0 and not flops.not_counted


def test_an_lstm_with_projections_and_a_packed_sequence():
    net = nn.LSTM(5, 7, proj_size=3, num_layers=2)
    packed = nn.utils.rnn.pack_padded_sequence(torch.zeros(9, 2, 5), torch.tensor([9, 4]))
    assert count_flops(net, packed).layers == {
        name: 2 * (9 + 4) * count for name, count in recurrent_weights(net).items()
    }


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_that_is_called_in_a_loop_counts_every_call(kind):
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = kind(5, 7)

        def forward(self, x):
            state = None
            for step in x:
                state = self.cell(step, state)
            return state

    net = Loop()
    assert count_flops(net, torch.zeros(4, 1, 5)).layers == {
        f"cell.{name}": 2 * 4 * count for name, count in recurrent_weights(net.cell).items()
    }


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("heads", [1, 4])
def test_a_transformer_encoder_costs_its_weights_at_each_position_and_two_products_of_positions(batch_first, heads):
    layers, width, hidden, length = 3, 16, 40, 11
    layer = nn.TransformerEncoderLayer(width, heads, hidden, batch_first=batch_first)
    x = torch.zeros(1, length, width) if batch_first else torch.zeros(length, 1, width)
    flops = count_flops(nn.TransformerEncoder(layer, layers, enable_nested_tensor=heads > 1 and batch_first), x)
    for i in range(layers):
        assert flops.layers[f"layers.{i}.self_attn.in_proj_weight"] == 2 * length * 3 * width**2
        assert flops.layers[f"layers.{i}.self_attn.out_proj"] == 2 * length * width**2
        assert flops.layers[f"layers.{i}.linear1"] == flops.layers[f"layers.{i}.linear2"] == 2 * length * width * hidden
    assert flops.other == layers * 2 * 2 * length**2 * width
    assert len(flops.layers) == 4 * layers and not flops.not_counted


def test_attention_between_sequences_of_other_widths():
    net = nn.MultiheadAttention(8, 2, kdim=6, vdim=10, batch_first=True)
    flops = count_flops(net, (torch.zeros(1, 5, 8), torch.zeros(1, 7, 6), torch.zeros(1, 7, 10)))
    weights = {
        "q_proj_weight": 5 * 8 * 8,
        "k_proj_weight": 7 * 6 * 8,
        "v_proj_weight": 7 * 10 * 8,
        "out_proj": 5 * 8 * 8,
    }
    assert flops.layers == {name: 2 * count for name, count in weights.items()}
    assert flops.other == 2 * 2 * 5 * 7 * 8


def test_packed_projections_of_keys_other_than_queries_belong_to_the_packed_weight():
    net = nn.MultiheadAttention(8, 2, batch_first=True)
    memory = torch.ones(1, 7, 8)
    flops = count_flops(net, {"query": torch.zeros(1, 5, 8), "key": memory, "value": memory})
    assert flops.layers == {"in_proj_weight": 2 * (5 + 7 + 7) * 64, "out_proj": 2 * 5 * 64}


@pytest.mark.parametrize("causal", [False, True])
def test_scaled_dot_product_attention_counts_all_pairs(causal):
    class Attention(nn.Module):
        def forward(self, q, k):
            return F.scaled_dot_product_attention(q, k, k, is_causal=causal)

    flops = count_flops(Attention(), (torch.zeros(1, 3, 5, 8), torch.zeros(1, 3, 5, 8)))
    assert flops.other == 2 * 2 * 3 * 5 * 5 * 8 and not flops.layers


def test_a_layer_that_is_called_twice_costs_twice():
    shared = nn.Linear(6, 6)
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(6, 2))
    assert count_flops(net, torch.zeros(1, 6)).layers == {"0": 2 * 2 * 36, "3": 2 * 12}


class Tied(nn.Module):
    """A head that is the embedding."""

    def __init__(self, as_module: bool):
        super().__init__()
        self.embed, self.hidden = nn.Embedding(10, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 10, bias=False) if as_module else None
        if as_module:
            self.head.weight = self.embed.weight

    def forward(self, x):
        x = self.hidden(self.embed(x))
        return self.head(x) if self.head else F.linear(x, self.embed.weight)


@pytest.mark.parametrize("as_module, name", [(True, "head"), (False, "embed")])
def test_a_tied_head_costs_its_product_and_not_the_look_up(as_module, name):
    net, x = Tied(as_module), torch.zeros(1, 3, dtype=torch.int64)
    flops = count_flops(net, x)
    assert flops.layers == {"hidden": 2 * 3 * 16, name: 2 * 3 * 40} and not flops.other and not flops.not_counted
    masked = lpss.Static(net, torch.optim.SGD(net.parameters()), sparsity=0.5, total_steps=1, include=[name])
    assert lpss.Cost(net, masked.masks, x).inference() == 0.5


def test_products_of_bare_parameters_and_of_activations_are_counted():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.weight = nn.Linear(4, 4), nn.Parameter(torch.zeros(4, 3))

        def forward(self, x):
            x = self.first(x)
            return x.T @ x @ self.weight, x[0] @ x[0], self.weight.T @ x[0]

    flops = count_flops(Bare(), torch.zeros(1, 4))
    assert flops.layers == {"first": 2 * 16, "weight": 2 * 4 * 12 + 2 * 12}
    assert flops.other == 2 * 16 + 2 * 4


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, nn.utils.weight_norm, prune.identity])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_weight_that_is_computed_from_the_parameter_is_still_the_layers(wrap):
    layer = nn.Linear(6, 5)
    layer = (wrap(layer, "weight") if wrap is prune.identity else wrap(layer)) or layer
    assert count_flops(nn.Sequential(layer, nn.Linear(5, 2)), torch.zeros(1, 6)).layers == {"0": 2 * 30, "1": 2 * 10}


def test_pytorchs_and_torchvisions_nets_have_the_flops_that_are_known_of_them():
    image = torch.zeros(1, 3, 224, 224)
    resnet = count_flops(torchvision.models.resnet18(), image)
    assert resnet.total == 2 * 1_814_073_344 and resnet.other == 0
    vit = count_flops(torchvision.models.vit_b_16(), image)
    positions, width = 197, 768
    layer = positions * (4 * width**2 + 2 * width * 4 * width)
    attention = 12 * 2 * positions**2 * width
    assert vit.other == 2 * attention
    assert vit.total == 2 * (12 * layer + attention + 196 * width**2 + width * 1000) == 2 * 17_563_828_224
    assert not resnet.not_counted and not vit.not_counted


@pytest.mark.parametrize(
    "spec, shape, flops",
    [
        ({"name": "mlp"}, (16,), 80_384),
        ({"name": "cnn_mnist"}, (1, 28, 28), 1_677_120),
        ({"name": "cnn_fashion_mnist"}, (1, 28, 28), 7_047_552),
        ({"name": "wrn", "depth": 22, "width": 2}, (3, 32, 32), 353_208_832),
    ],
)
def test_the_packages_own_nets_cost_what_they_did_when_layers_alone_were_counted(spec, shape, flops):
    counted = count_flops(build_model(spec, shape, 26 if spec["name"] == "mlp" else 10), torch.zeros(1, *shape))
    assert counted.total == flops and counted.other == 0 and not counted.not_counted


def test_weights_that_lie_in_one_storage_are_told_apart():
    net = nn.LSTM(5, 7)  # as on a GPU, where cuDNN wants them so
    flat = torch.zeros(sum(param.numel() for param in net.parameters()))
    for param, part in zip(net.parameters(), flat.split([param.numel() for param in net.parameters()]), strict=True):
        param.data = part.view_as(param)
    assert count_flops(net, torch.zeros(11, 1, 5)).layers == {
        name: 2 * 11 * count for name, count in recurrent_weights(net).items()
    }


def test_a_transformer_of_hugging_face():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=20, n_positions=16)
    flops = count_flops(transformers.GPT2LMHeadModel(config), {"input_ids": torch.zeros(1, 5, dtype=torch.int64)})
    assert flops.total - flops.other == 2 * 5 * (2 * 12 * 8 * 8 + 8 * 20)
    assert flops.other == 2 * 2 * 2 * 5 * 5 * 8


# --- what is not counted is said --------------------------------------------------------------------------------


class Uses(nn.Module):
    """A Linear, and an operation on what it gives."""

    def __init__(self, operation, unused: bool = False):
        super().__init__()
        self.layer, self.operation = nn.Linear(4, 4), operation
        if unused:
            self.unused = nn.Linear(4, 4)

    def forward(self, x):
        return self.operation(self.layer(x))


@pytest.mark.parametrize(
    "operation, name",
    [(torch.fft.fft, "aten._fft_r2c"), (torch.linalg.inv, "aten.linalg_inv_ex"), (torch.linalg.qr, "aten.linalg_qr")],
)
def test_a_product_without_a_formula_is_named(operation, name):
    (line,) = count_flops(Uses(operation), torch.eye(4)).not_counted
    assert line == f"{name} (1 call): no formula is known"


def test_an_operation_of_others_is_named():
    boxes = torch.tensor([[0.0, 0, 1, 1]])
    net = Uses(lambda x: torchvision.ops.nms(boxes, x[0, :1], 0.5))
    assert "torchvision.nms (1 call)" in count_flops(net, torch.zeros(1, 4)).not_counted[0]


@pytest.mark.parametrize(
    "operation",
    [torch.softmax, torch.cummax, F.normalize, lambda x, dim: torch.lgamma(x), lambda x, dim: F.layer_norm(x, (4,))],
)
def test_elementwise_work_and_normalisation_are_no_products(operation):
    assert not count_flops(Uses(lambda x: operation(x, dim=-1)), torch.zeros(1, 4)).not_counted


def test_a_layer_that_is_not_called_is_named():
    flops = count_flops(Uses(torch.relu, unused=True), torch.zeros(1, 4))
    (line,) = flops.not_counted
    assert line.startswith("unused: the weight is in no product") and flops.layers == {"layer": 32}


def test_a_weight_whose_zeros_are_filled_before_use_counts_as_dense():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True))

    net = nn.Sequential(Standardised(2, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    flops = count_flops(net, torch.zeros(1, 2, 4, 4))
    assert flops.layers == {"2": 2 * 24} and flops.other == 2 * 4 * net[0].weight.numel()
    assert len(flops.not_counted) == 1 and flops.not_counted[0].startswith("0: ")


def test_a_net_without_products_is_an_error():
    with pytest.raises(UsageError, match="holds no product"):
        count_flops(nn.ReLU(), torch.zeros(1, 4))


# --- counting leaves everything as it was -----------------------------------------------------------------------


def test_counting_leaves_normalisation_statistics_and_modes_alone():
    net = build_model({"name": "wrn", "depth": 12, "width": 1}, (1, 16, 16), 10).train()
    frozen = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    count_flops(net, torch.randn(1, 1, 16, 16))
    assert net.training and not frozen.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize("fails", [False, True])
def test_counting_puts_torchs_switches_back(fails):
    net = Uses((lambda x: 1 / 0) if fails else torch.relu)
    net.recurrent = nn.LSTM(4, 4)
    switches = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    with pytest.raises(ZeroDivisionError) if fails else torch.enable_grad():
        count_flops(net.train(), torch.zeros(1, 4))
    after = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    assert switches == after and net.training and torch.is_grad_enabled()


def test_a_compiled_net_counts_as_the_net_itself():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert count_flops(torch.compile(net), torch.zeros(1, 4)) == count_flops(net, torch.zeros(1, 4))
