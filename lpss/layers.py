"""The weights of a net's neurons: where they are kept, how they are laid out, and which of them are masked.

A *layer* here is one parameter whose entries are weights of neurons. By default these are the weights of Linear, Conv,
ConvTranspose and Bilinear modules and of Hugging Face's Conv1D, the projections of MultiheadAttention, and the input
and recurrent weights of LSTM, GRU and RNN. Embeddings, bare parameters and weights that several modules share are
layers, too, but are left dense unless they are asked for by name, role or type (`include`).

A parametrized weight (weight_norm, spectral_norm, torch's prune) is reached through the tensor it is computed from, if
zeros there are zeros of the weight: that is tried on the net.

Roles: `stem` reads the input, `head` gives the output, `shortcut` is the 1x1 conv beside a residual block; the rest is
`conv`, `linear`, `attention` or `recurrent`, and what is masked only when asked for is `embedding` or `parameter`. A
module may say its own role with an attribute `role`; otherwise stem and head are the first and the last layer in the
order of `net.named_modules()`, which is the order of definition. Attention's projections are never the stem.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from lpss.active import active_entries
from lpss.errors import UsageError

ROLES = ("stem", "conv", "shortcut", "linear", "attention", "recurrent", "embedding", "parameter", "head")
ASKED_ROLES = ("embedding", "parameter")  # of what is masked only when asked for
Selector = str | type

_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Bilinear)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_ATTENTION = {"in_proj_weight": 3, "q_proj_weight": 1, "k_proj_weight": 1, "v_proj_weight": 1}  # attribute -> blocks
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


@dataclass(frozen=True)
class Layer:
    """One parameter that holds weights of neurons.

    name: the module's in `named_modules()`; where a module has several such parameters, the parameter's.
    attribute: where the module keeps it, such as `weight` or `parametrizations.weight.original`.
    neuron_dim: the parameter's dim that counts neurons: 1 for ConvTranspose and Hugging Face's Conv1D, else 0.
    blocks: how many matrices are packed on top of each other, such as the gates of an LSTM.
    asked: whether it is masked only when asked for. obstacle: why it is not masked by itself; None if it is.
    divides: whether a neuron of zeros is not finite (weight_norm divides by its norm), so that none may be empty.
    """

    name: str
    role: str
    module: nn.Module
    attribute: str = "weight"
    neuron_dim: int = 0
    blocks: int = 1
    asked: bool = False
    obstacle: str | None = None
    aliases: tuple[str, ...] = ()
    divides: bool = False

    @property
    def parameter(self) -> nn.Parameter:
        """The tensor that an optimizer moves. Raises AttributeError where the module keeps none any more."""
        path, _, name = self.attribute.rpartition(".")
        owner = _reach(self.module, path) if path else self.module
        if name not in owner._parameters:
            raise AttributeError(f"{self.name} has no parameter {self.attribute!r}")
        return owner._parameters[name]

    @property
    def shape(self) -> torch.Size:
        """Of the parameter, whole also where it holds its active entries alone."""
        entries = active_entries(self.parameter)
        return self.parameter.shape if entries is None else torch.Size(entries.shape)

    def still_holds(self, parameter: nn.Parameter) -> bool:
        """Whether the module still keeps this parameter where it was found."""
        try:
            return self.parameter is parameter
        except AttributeError:  # a parametrization that has been removed
            return False

    @property
    def weight(self) -> Tensor:
        """The parameter with its neurons first, (outputs, inputs, *kernel): a neuron is an entry of dim 0.

        Of one that holds its active entries alone it is a copy.
        """
        return self._whole(self.parameter)

    @property
    def gradient(self) -> Tensor | None:
        """The parameter's gradient, laid out as `weight`."""
        grad = self.parameter.grad
        return None if grad is None else self._whole(grad)

    def _whole(self, x: Tensor) -> Tensor:
        entries = active_entries(self.parameter)
        return self.view(x) if entries is None else entries.expand(x)

    def view(self, x: Tensor) -> Tensor:
        """A tensor in the parameter's shape with the neurons first, and back again: both are the same exchange."""
        return x.transpose(0, 1) if self.neuron_dim else x

    def matches(self, selectors: Iterable[Selector]) -> bool:
        """Whether a selector is this layer's role, its module's class or class name, or a pattern (`*` and `?`) of one
        of its names."""
        names = (self.name, *self.aliases)
        kinds = {kind.__name__ for kind in type(self.module).__mro__}
        return any(
            isinstance(self.module, selector)
            if isinstance(selector, type)
            else selector == self.role or selector in kinds or any(fnmatchcase(name, selector) for name in names)
            for selector in selectors
        )


def plain_name(name: str) -> str:
    """The name of a module or parameter in the net as it was written, without what torch.compile adds to it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def unwrap(net: nn.Module) -> nn.Module:
    """The net itself, where it is wrapped for several devices. Raises UsageError for parameters that are sharded."""
    while isinstance(net, (DistributedDataParallel, DataParallel)):
        net = net.module
    for name, param in net.named_parameters():
        if type(param.data).__name__ == "DTensor" or type(param).__name__ == "FlatParameter":
            raise UsageError(f"parameter {name!r} is sharded over devices (FSDP, DTensor): masks need whole tensors")
    return net


def weight_layers(net: nn.Module) -> list[Layer]:
    """Every layer that is masked by default, and those that would be if nothing stood in the way, in order of
    definition; `Layer.obstacle` says what does.

    Names are those of the net as it was written: torch.compile's `_orig_mod.` is left out, so that rules, masks and
    files of a compiled net fit the net itself. Raises UsageError where there is none, or for lazy or sharded layers.
    """
    layers = [layer for layer in all_layers(net) if layer.role not in ASKED_ROLES]
    if not layers:
        raise nothing_to_mask(net)
    return layers


def nothing_to_mask(net: nn.Module) -> UsageError:
    """The error of a net without layers that are masked by default."""
    return UsageError(f"{type(net).__name__} has no Linear or Conv layer: there is nothing to make sparse")


def all_layers(net: nn.Module) -> list[Layer]:
    """As `weight_layers`, with embeddings and bare parameters of two or more dims after the others."""
    net = unwrap(net)
    owners = _owners(net)
    found, seen = [], set()
    for prefix, module in net.named_modules():
        for layer in _layers_of(plain_name(prefix), module):
            if id(layer.parameter) not in seen:
                seen.add(id(layer.parameter))
                found.append(layer)
    last = len(found) - 1
    layers = [_finished(layer, owners, index == 0, index == last) for index, layer in enumerate(found)]
    for name, param in net.named_parameters():
        if id(param) not in seen and param.dim() > 1 and ".parametrizations." not in f".{name}":
            seen.add(id(param))
            layers.append(_other(net, name, param, owners))
    return layers


def _layers_of(prefix: str, module: nn.Module) -> Iterator[Layer]:
    """The layers of one module, not yet knowing of its neighbours."""

    def layer(attribute: str, role: str, name: str = "", **layout) -> Iterator[Layer]:
        if (stored := _storage(module, attribute)) is not None:
            name = f"{prefix}.{name}".strip(".") if name else prefix
            yield Layer(name, role, module, **stored, **layout)

    if isinstance(module, _PLAIN):
        yield from layer("weight", "linear" if isinstance(module, (nn.Linear, nn.Bilinear)) else "conv")
    elif isinstance(module, _TRANSPOSED):
        for one in layer("weight", "conv", neuron_dim=1):
            yield replace(one, obstacle="a transposed convolution in groups") if module.groups > 1 else one
    elif _is_conv1d_of_transformers(module):
        yield from layer("weight", "linear", neuron_dim=1)
    elif isinstance(module, nn.MultiheadAttention):
        for attribute, blocks in _ATTENTION.items():
            yield from layer(attribute, "attention", attribute, blocks=blocks)
    elif isinstance(module, nn.RNNBase):
        for attribute in (name for names in module._all_weights for name in names if name.startswith("weight_")):
            blocks = 1 if attribute.startswith("weight_hr") else _GATES[module.mode]
            yield from layer(attribute, "recurrent", attribute, blocks=blocks)
    elif isinstance(module, nn.RNNCellBase):
        for attribute in ("weight_ih", "weight_hh"):
            yield from layer(attribute, "recurrent", attribute, blocks=module.weight_ih.shape[0] // module.hidden_size)


def _is_conv1d_of_transformers(module: nn.Module) -> bool:
    return any(
        kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.") for kind in type(module).__mro__
    )


def _storage(module: nn.Module, attribute: str) -> dict | None:
    """Where the module keeps the parameter behind an attribute, as fields of `Layer`; None if there is none."""
    plain = module._parameters.get(attribute)
    if plain is not None:
        if is_lazy(plain):
            raise UsageError(f"{type(module).__name__} has no weight yet: run a batch through the net first")
        return {"attribute": attribute}
    if parametrize.is_parametrized(module, attribute):
        return _parametrized(module, attribute)
    # torch.nn.utils.prune, and the older spectral_norm and weight_norm: recomputed before every forward pass as the
    # stored tensor times something.
    for stored in (f"{attribute}_orig", f"{attribute}_v"):
        if module._parameters.get(stored) is not None:
            return {"attribute": stored, "divides": stored.endswith("_v")}
    return None


@torch.no_grad()
def _parametrized(module: nn.Module, attribute: str) -> dict | None:
    """As `_storage`: tries on the module which of the original tensors has its zeros where the weight has."""
    parts = module.parametrizations[attribute]
    kinds = ", ".join(type(part).__name__.strip("_") for part in parts)
    training = [(part, part.training) for part in parts.modules()]
    parts.eval()  # spectral_norm changes its buffers whenever it is used in training
    try:
        shape = getattr(module, attribute).shape
        originals = dict(parts.named_parameters(recurse=False))
        for name, original in originals.items():
            if original.shape != shape or len(shape) < 2:
                continue
            saved = original.detach().clone()
            try:
                zeros_stay, empty = _try_zeros(module, attribute, original)
            except (RuntimeError, ValueError):  # it takes no such values
                zeros_stay, empty = False, []
            finally:
                original.copy_(saved)
            if zeros_stay:
                where = {"attribute": f"parametrizations.{attribute}.{name}", "divides": empty == [0]}
                return where if empty in ([], [0]) else where | {"obstacle": f"normed by {kinds} along dim {empty[-1]}"}
    finally:
        for part, mode in training:
            part.training = mode
    obstacle = f"parametrized by {kinds}, which turns zeros into other values"
    name = next(iter(originals), None)
    return None if name is None else {"attribute": f"parametrizations.{attribute}.{name}", "obstacle": obstacle}


def _try_zeros(module: nn.Module, attribute: str, original: Tensor) -> tuple[bool, list[int]]:
    """Whether zeros of the original tensor, which is overwritten, are zeros of the weight, and the dims along which a
    slice of zeros makes the weight something else than finite."""
    some = torch.randint(2, original.shape, generator=torch.Generator().manual_seed(0)).to(original)
    some.select(1, 0).fill_(1.0)  # no neuron is empty yet
    original.copy_(some)
    zeros_stay = bool((getattr(module, attribute)[some == 0] == 0).all())
    empty = []
    for dim in range(original.dim()):
        original.fill_(1.0)
        original.select(dim, 0).zero_()
        if not torch.isfinite(getattr(module, attribute)).all():
            empty.append(dim)
    return zeros_stay, empty


def _reach(module: nn.Module, path: str):
    value = module
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _owners(net: nn.Module) -> dict[int, list[str]]:
    """id of a parameter -> its names, one for each module that holds it."""
    owners: dict[int, list[str]] = {}
    for prefix, module in net.named_modules():  # a module that is used twice is one module
        for name, param in module._parameters.items():
            if param is not None:
                owners.setdefault(id(param), []).append(plain_name(f"{prefix}.{name}".strip(".")))
    return owners


def _finished(layer: Layer, owners: dict[int, list[str]], first: bool, last: bool) -> Layer:
    """The layer with its role in the net and what stands in the way of masking it."""
    role = getattr(layer.module, "role", None)
    if role is None:
        reads_input = first and layer.role != "attention"  # which reads what an embedding or another layer gives
        role = "head" if last else "stem" if reads_input else layer.role
    elif role not in ROLES:
        raise UsageError(f"a layer's role is {role!r}; known roles: {', '.join(ROLES)}")
    names = owners.get(id(layer.parameter), [])
    if len(names) < 2 or layer.obstacle is not None:
        return replace(layer, role=role)
    own = f"{layer.name}.{layer.attribute}".strip(".")
    shared = ", ".join(name for name in names if name not in (own, layer.name))
    aliases = tuple(alias for name in names for alias in (name, name.rpartition(".")[0]))
    return replace(layer, role=role, asked=True, obstacle=f"shared with {shared}", aliases=aliases)


def _other(net: nn.Module, name: str, param: nn.Parameter, owners: dict[int, list[str]]) -> Layer:
    """A parameter of two or more dims that belongs to no kind of layer known here."""
    prefix, _, attribute = name.rpartition(".")
    module = net.get_submodule(prefix)
    name = plain_name(name)
    embedding = isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    obstacle = f"a parameter of {type(module).__name__}"
    asked = param.is_floating_point()
    if embedding:
        name, obstacle = plain_name(prefix), "an embedding"
        if module.sparse:
            obstacle, asked = "an embedding with sparse gradients", False
    return Layer(
        name,
        "embedding" if embedding else "parameter",
        module,
        attribute,
        asked=asked,
        obstacle=obstacle,
        aliases=tuple(owners[id(param)]),
    )
