"""What a file of a trained net holds, whatever its format."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpss.errors import DataError, LpssError
from lpss.export.net import ReadyNet
from lpss.train.description import Description
from lpss.train.weights import weight_key


@dataclass(frozen=True)
class Contents:
    """A net's state dict, its masks (layer name -> bool, in the shape of the weight) and how it is built.

    source: the file or folder that it is from, for messages.
    """

    state: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    description: Description
    source: str

    def masked(self) -> Iterator[tuple[str, str]]:
        """(layer, key of its weight in the state dict) of each mask whose weight is there, zero off the mask."""
        for layer, mask in self.masks.items():
            key = weight_key(layer, mask, self.state)
            if key is not None and not self.state[key][~mask].any():
                yield layer, key

    def in_order(self) -> "Contents":
        """The same in the order of the net, which files do not keep. Raises as `build` does."""
        state = {key: self.state[key] for key in self.build().model.state_dict()}
        places = {key: place for place, key in enumerate(state)}
        layers = sorted(self.masks, key=lambda layer: places.get(weight_key(layer, self.masks[layer], state), -1))
        return replace(self, state=state, masks={layer: self.masks[layer] for layer in layers})

    def build(self) -> ReadyNet:
        """The net with these weights, in eval mode. Raises DataError where they are not its own."""
        try:
            model = self.description.build()
            model.load_state_dict(self.state)
            if not all(mask.dtype == torch.bool for mask in self.masks.values()):
                raise TypeError("its masks are not boolean")
        except (LpssError, RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split()[:50])
            raise DataError(f"{self.source}: the net in it cannot be built: {reason}") from None
        return ReadyNet(model, self.masks, self.description).eval()
