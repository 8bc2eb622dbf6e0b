"""Loss and accuracy of a net on a split."""

import torch
from torch import nn
from torch.nn import functional as F

from lpss.train.distributed import SINGLE_PROCESS, Processes


@torch.no_grad()
def evaluate(net: nn.Module, batches, processes: Processes = SINGLE_PROCESS) -> tuple[float, float]:
    """(mean cross-entropy, accuracy in 0..1) over batches of (x, y), of all processes; reads the device once."""
    training = net.training
    net.eval()
    totals = torch.zeros(3, dtype=torch.float64, device=next(net.parameters()).device)  # loss, correct, rows
    for x, y in batches:
        logits = net(x).float()
        totals[0] += F.cross_entropy(logits, y, reduction="sum")
        totals[1] += (logits.argmax(1) == y).sum()
        totals[2] += len(y)
    net.train(training)
    loss, correct, rows = processes.all_reduce(totals).tolist()
    return loss / rows, correct / rows
