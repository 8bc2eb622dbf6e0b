"""Loss and accuracy of a net on a split."""

import torch
from torch import nn
from torch.nn import functional as F


@torch.no_grad()
def evaluate(net: nn.Module, batches) -> tuple[float, float]:
    """(mean cross-entropy, accuracy in 0..1) over batches of (x, y); reads the device once."""
    training = net.training
    net.eval()
    loss = correct = 0.0
    count = 0
    for x, y in batches:
        logits = net(x).float()
        loss = loss + F.cross_entropy(logits, y, reduction="sum").double()
        correct = correct + (logits.argmax(1) == y).sum()
        count += len(y)
    net.train(training)
    loss, correct = torch.stack([loss, correct.double()]).tolist()
    return loss / count, correct / count
