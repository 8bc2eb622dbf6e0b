"""Scores -> boolean masks: all index code of the sparse methods."""

from collections.abc import Mapping

import torch
from torch import Tensor


def top_k(score: Tensor, k: int, among: Tensor) -> Tensor:
    """True at the k largest scores where `among` is True (all of them where there are fewer)."""
    chosen = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
    k = min(int(k), int(among.sum()))
    if k > 0:
        ranked = score.flatten().masked_fill(~among.flatten(), -torch.inf)
        chosen[ranked.topk(k).indices] = True
    return chosen.view_as(score)


def top_k_of_all(
    scores: Mapping[str, Tensor], k: int, among: Mapping[str, Tensor] | None = None, at_least: int = 0
) -> dict[str, Tensor]:
    """Layer name -> True at the k largest scores of all layers together, where `among` is True (everywhere for None).

    `at_least`: how many each layer has of them, if it has as many (the layer's largest).
    """
    if among is None:
        among = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    sizes = [score.numel() for score in scores.values()]
    together = torch.cat([score.flatten() for score in scores.values()])
    candidates = torch.cat([among[name].flatten() for name in scores])
    first = torch.zeros_like(candidates)
    if at_least:
        first = torch.cat([top_k(score, at_least, among[name]).flatten() for name, score in scores.items()])
    chosen = first | top_k(together, k - int(first.sum()), among=candidates & ~first)
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), chosen.split(sizes), strict=True)}


def largest(
    scores: Mapping[str, Tensor], counts: Mapping[str, int], among: Mapping[str, Tensor], scope: str
) -> dict[str, Tensor]:
    """Layer name -> True at the largest scores where `among` is True: as many as `counts` says of each layer (scope
    `layer`), or as all of them together say, one at least in each (`global`)."""
    if scope == "global":
        return top_k_of_all(scores, sum(counts.values()), among=among, at_least=1)
    return {name: top_k(score, counts[name], among=among[name]) for name, score in scores.items()}


def top_k_rows(score: Tensor, k: Tensor, among: Tensor) -> Tensor:
    """True at the k[j] largest scores of each row j of `score` (rows, d) where `among` is True.

    Which of several equal scores are taken is undefined, but the same at every call on one machine.
    """
    k = torch.minimum(k, row_counts(among))
    most = int(k.max()) if len(k) else 0
    order = score.masked_fill(~among, -torch.inf).topk(most, dim=1).indices  # far cheaper than sorting whole rows
    leading = torch.arange(most, device=score.device) < k.unsqueeze(1)
    return torch.zeros_like(among).scatter_(1, order, leading)


def below_row_mean(magnitude: Tensor, active: Tensor, fraction: float) -> Tensor:
    """True at active entries below `fraction` x the mean magnitude of their row's active entries; all (rows, d).

    `magnitude` must be zero where `active` is False, as weights are.
    """
    mean = magnitude.sum(1, keepdim=True) / row_counts(active).clamp(min=1).unsqueeze(1)
    return active & (magnitude < fraction * mean)


def row_counts(chosen: Tensor) -> Tensor:
    """(rows,) int32: how many of each row of a bool tensor (rows, d) are True."""
    return chosen.sum(1, dtype=torch.int32)  # torch's own choice of int64 takes twice as long


def share(fraction: float, counts: Tensor) -> Tensor:
    """Whole numbers near fraction * counts (rows,), whose running sum is off by less than one everywhere.

    Rounding each row separately would bias the total if the counts are small.
    """
    running = (counts.double() * fraction).cumsum(0).add_(1e-9).floor_()
    return torch.diff(running, prepend=running.new_zeros(1)).long()


def random_k(shape: torch.Size, k: int, generator: torch.Generator) -> Tensor:
    """True at k entries drawn at random, on the CPU so that every device gets the same mask."""
    scores = torch.rand(shape, generator=generator)
    return top_k(scores, k, torch.ones(shape, dtype=torch.bool))


def random_scores(like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform in [0, 1), in the shape and on the device of `like`; drawn on the CPU: all devices get the same."""
    return torch.rand(like.shape, generator=generator).to(like.device)


def random_among(free: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """True at k entries drawn at random where `free` is True (all of them where there are fewer).

    Takes time in proportion to k, not to the size of `free`, as long as there is room; drawn on the CPU.
    """
    flat = free.flatten()
    room = int(flat.sum())
    if 4 * k > room:
        return top_k(random_scores(free, generator), k, among=free)
    chosen = torch.zeros_like(flat)
    missing = k
    while missing > 0:
        drawn = torch.randint(len(flat), (2 * missing * len(flat) // room + 8,), generator=generator).to(free.device)
        drawn = drawn[flat[drawn] & ~chosen[drawn]]
        values, place = drawn.unique(return_inverse=True)  # of each entry its first draw counts
        order = torch.arange(len(drawn), device=free.device)
        first = order.new_full(values.shape, len(drawn)).scatter_reduce_(0, place, order, "amin")
        taken = drawn[first.sort().values[:missing]]
        chosen[taken] = True
        missing -= len(taken)
    return chosen.view_as(free)


def without_empty_rows(active: Tensor, score: Tensor) -> Tensor:
    """`active` (rows, d) with the entry of largest score added to rows that have none, and as many entries of smallest
    score taken from rows that have others: their number stays the same where that is possible.
    """
    empty = ~active.any(1)
    if not bool(empty.any()):
        return active
    best = torch.zeros_like(active).scatter_(1, score.argmax(1, keepdim=True), True) & empty.unsqueeze(1)
    largest = score.masked_fill(~active, -torch.inf).argmax(1, keepdim=True)
    spare = active & ~torch.zeros_like(active).scatter_(1, largest, True)
    return (active | best) & ~top_k(-score, int(empty.sum()), among=spare)
