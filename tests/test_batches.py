"""Laws of Batches: which rows make batch n depends on the seed and n, and on nothing else."""

import pickle

import pytest
import torch

from canvaslab.data import Batches

X = torch.arange(103) * 10
Y = torch.arange(103) * 10 + 1


def test_a_batch_is_a_function_of_seed_and_number():
    walked = Batches((X, Y), 8, seed=3)
    in_order = [walked(n) for n in range(40)]
    for n in (39, 0, 25, 12, 11, 39):
        fresh, jumping = Batches((X, Y), 8, seed=3)(n), walked(n)
        for expected, *others in zip(in_order[n], fresh, jumping, strict=True):
            assert all(torch.equal(expected, other) for other in others)


def test_resuming_needs_only_the_step_even_in_the_middle_of_an_epoch():
    whole = [Batches(X, 10, seed=1)(n)[0] for n in range(25)]
    stopped = pickle.loads(pickle.dumps(Batches(X, 10, seed=1)))
    assert torch.equal(torch.cat(whole[13:]), torch.cat([stopped(n)[0] for n in range(13, 25)]))


def test_an_epoch_shows_each_row_at_most_once_and_drops_the_rest():
    batches = Batches(X, 8, seed=0)
    assert len(batches) == 12
    for epoch in range(5):
        rows = torch.cat([batches.rows(n) for n in range(12 * epoch, 12 * (epoch + 1))])
        assert len(rows.unique()) == 96


def test_over_many_epochs_every_row_gets_its_share():
    batches = Batches(X, 8, seed=5)
    rows = torch.cat([batches.rows(n) for n in range(12 * 400)])
    seen = torch.bincount(rows, minlength=103).double()
    # Each row is present in an epoch with probability 96 / 103, so 400 epochs give 372.8 with a spread of 5.0.
    assert (seen - 400 * 96 / 103).abs().max() < 5 * 5.0


def test_epochs_and_seeds_do_not_repeat_each_other():
    orders = {tuple(Batches(X, 103, seed)(epoch)[0].tolist()) for seed in range(6) for epoch in range(6)}
    assert len(orders) == 36


def test_rows_of_a_tuple_stay_together():
    pictures = torch.arange(103 * 4).view(103, 1, 2, 2)
    for n in range(30):
        x, y, picture = Batches((X, Y, pictures), 7, seed=2)(n)
        assert torch.equal(y, x + 1)
        assert torch.equal(picture[:, 0, 0, 0], x // 10 * 4)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shards_joined_are_the_big_batch(world):
    big = Batches((X, Y), 6 * world, seed=4)
    parts = [Batches((X, Y), 6, seed=4).shard(rank, world) for rank in range(world)]
    assert {len(part) for part in parts} == {len(big)}
    for n in (0, 1, len(big) - 1, len(big), 3 * len(big) + 2):
        for whole, *pieces in zip(big(n), *(part(n) for part in parts), strict=True):
            assert torch.equal(whole, torch.cat(pieces))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_rows():
    assert torch.equal(Batches(X.cuda(), 8, seed=3)(17)[0].cpu(), Batches(X, 8, seed=3)(17)[0])
    assert Batches((X.cuda(), Y), 8)(0)[1].device.type == "cpu"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Batches(X, 104), "batch size is 104, with 103 rows of data; accepted: 1 to 103"),
        (lambda: Batches(X, 0), "accepted: 1 to 103"),
        (lambda: Batches(X, 60).shard(0, 2), "in each of 2 processes"),
        (lambda: Batches(X, 8).shard(2, 2), "rank is 2 of 2 processes"),
        (lambda: Batches((X, Y[:-1]), 8), r"\[103, 102\] rows"),
        (lambda: Batches((X, None), 8), "got Tensor, NoneType"),
        (lambda: Batches((), 8), "got nothing"),
        (lambda: Batches(X, 8, seed=-1), "seed is -1"),
        (lambda: Batches(X, 8)(-1), "batch -1"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
