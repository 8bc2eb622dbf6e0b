import pytest
import torch

from lpss.sparse.select import below_row_mean, random_among, random_k, share, top_k, top_k_rows, without_empty_rows

SCORE = torch.tensor([[0.3, 0.8, 0.1, 0.5], [0.9, 0.2, 0.7, 0.4]])
AMONG = torch.tensor([[1, 0, 1, 1], [0, 1, 1, 1]]).bool()


def bits(mask):
    return ["".join(str(int(x)) for x in row) for row in mask]


@pytest.mark.parametrize(
    "k, expected",
    [
        (0, ["0000", "0000"]),
        (1, ["0000", "0010"]),
        (2, ["0001", "0010"]),
        (3, ["0001", "0011"]),
        (6, ["1011", "0111"]),
        (99, ["1011", "0111"]),
        (-1, ["0000", "0000"]),
    ],
)
def test_top_k(k, expected):
    chosen = top_k(SCORE, k, AMONG)
    assert bits(chosen) == expected and chosen.dtype == torch.bool


def test_top_k_takes_negative_scores_and_any_shape():
    score = -torch.arange(8.0).view(2, 2, 2)
    assert bits(top_k(score, 3, torch.ones_like(score).bool()).flatten(1)) == ["1110", "0000"]
    assert not top_k(score, 3, torch.zeros_like(score).bool()).any()


@pytest.mark.parametrize(
    "k, expected",
    [
        ([0, 0], ["0000", "0000"]),
        ([1, 1], ["0001", "0010"]),
        ([2, 0], ["1001", "0000"]),
        ([1, 2], ["0001", "0011"]),
        ([9, 3], ["1011", "0111"]),
    ],
)
def test_top_k_rows(k, expected):
    assert bits(top_k_rows(SCORE, torch.tensor(k), AMONG)) == expected


def test_top_k_rows_of_equal_scores_takes_as_many_and_the_same_each_time():
    score, everywhere = torch.zeros(2, 80), torch.ones(2, 80).bool()
    chosen = top_k_rows(score, torch.tensor([3, 70]), everywhere)
    assert chosen.sum(1).tolist() == [3, 70]
    assert torch.equal(chosen, top_k_rows(score, torch.tensor([3, 70]), everywhere))


def test_below_row_mean():
    magnitude = torch.tensor([[4.0, 1.0, 0.9, 0.0], [0.3, 0.2, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]])
    active = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]).bool()
    # row means of the active: 5.9 / 3 and 0.2; what is not active counts for nothing and is never chosen
    assert bits(below_row_mean(magnitude, active, 0.4)) == ["0000", "0000", "0000"]
    assert bits(below_row_mean(magnitude, active, 0.47)) == ["0010", "0000", "0000"]
    assert bits(below_row_mean(magnitude, active, 0.75)) == ["0110", "0010", "0000"]
    assert bits(below_row_mean(magnitude, active, 0.0)) == ["0000", "0000", "0000"]


def test_below_row_mean_never_empties_a_row():
    magnitude = torch.rand(200, 8, generator=torch.Generator().manual_seed(0))
    active = magnitude > 0.5
    active[:, 0] = True
    assert (active & ~below_row_mean(magnitude * active, active, 0.99)).any(1).all()


@pytest.mark.parametrize(
    "fraction, counts, expected",
    [
        (0.95, [2, 1], [1, 1]),
        (0.5, [1, 1, 1, 1], [0, 1, 0, 1]),
        (1.0, [3, 0, 2], [3, 0, 2]),
        (0.0, [5, 5], [0, 0]),
        (1.05, [10, 10], [10, 11]),
        (0.1, [3] * 8, [0, 0, 0, 1, 0, 0, 1, 0]),
        (2.0, [1, 0], [2, 0]),
    ],
)
def test_share(fraction, counts, expected):
    assert share(fraction, torch.tensor(counts)).tolist() == expected


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.95, 1.05])
def test_share_keeps_every_running_sum(fraction):
    counts = torch.randint(4, (300,), generator=torch.Generator().manual_seed(0))
    got = share(fraction, counts).cumsum(0)
    wanted = counts.cumsum(0).double() * fraction
    assert ((wanted - got) < 1).all() and ((wanted - got) > -1e-6).all()
    assert (share(fraction, counts)[counts == 0] == 0).all()


@pytest.mark.parametrize("k", [0, 1, 7, 24])
def test_random_k_counts(k):
    mask = random_k(torch.Size([2, 3, 4]), k, torch.Generator().manual_seed(0))
    assert mask.shape == (2, 3, 4) and int(mask.sum()) == k


def test_random_k_depends_on_its_generator_alone():
    masks = []
    for seed, noise in ((5, 1), (5, 2), (6, 1)):
        torch.manual_seed(noise)
        masks.append(random_k(torch.Size([8, 8]), 20, torch.Generator().manual_seed(seed)))
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    state = torch.get_rng_state()
    random_k(torch.Size([8]), 2, torch.Generator())
    assert torch.equal(state, torch.get_rng_state())


def test_random_k_is_uniform():
    generator = torch.Generator().manual_seed(0)
    hits = sum(random_k(torch.Size([2, 4]), 2, generator).float() for _ in range(2000))
    assert ((hits / 2000 - 0.25).abs() < 0.04).all()


def test_rows_without_an_entry_get_their_best_and_as_many_of_the_smallest_go_elsewhere():
    active = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]]).bool()
    score = torch.tensor([[3.0, 1, 2], [1, 5, 2], [0.1, 9, 9], [0, 0, 4]])
    expected = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]).bool()  # the only one of a row stays
    assert torch.equal(without_empty_rows(active, score), expected)
    full = torch.tensor([[1, 0], [0, 1]]).bool()
    assert without_empty_rows(full, torch.rand(2, 2)) is full
    one = torch.tensor([[1, 0], [0, 0]]).bool()  # nothing can be spared
    assert without_empty_rows(one, torch.tensor([[1.0, 2], [3, 4]])).sum() == 2


@pytest.mark.parametrize("k", [0, 1, 5, 40, 99, 100, 200])
def test_random_among_draws_as_many_as_there_is_room_for(k):
    free = torch.zeros(20, 30, dtype=torch.bool)
    free.view(-1)[torch.randperm(600, generator=torch.Generator().manual_seed(1))[:100]] = True
    chosen = random_among(free, k, torch.Generator().manual_seed(2))
    assert int(chosen.sum()) == min(k, 100) and not chosen[~free].any() and chosen.shape == free.shape
    assert torch.equal(chosen, random_among(free, k, torch.Generator().manual_seed(2)))


def test_random_among_draws_every_pair_as_often():
    """Without replacement: 2 of 8 free places in 60; each of 28 pairs 1 time in 28."""
    free = torch.zeros(60, dtype=torch.bool)
    free[torch.tensor([3, 7, 20, 21, 22, 40, 58, 59])] = True
    generator, counts = torch.Generator().manual_seed(0), {}
    for _ in range(5600):
        pair = tuple(random_among(free, 2, generator).nonzero().flatten().tolist())
        counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 28
    statistic = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert 8 < statistic < 60  # chi-square with 27 degrees of freedom
