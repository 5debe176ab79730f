"""Exercises of notebook 12: components, the support, the one rule that ties the columns, a score of scores."""

import itertools

import numpy as np
import torch

from ..data import shapes
from ..lab.exercises import Exercise, same

components = Exercise("Count the things in a picture", "components(on)")


def _rng():
    return np.random.default_rng(0)


@components.must("a blank picture holds nothing",
                 "the background is no component: label() gives it 0, and the count that it returns leaves it out")
def _(answer):
    return int(answer(np.zeros((6, 6), dtype=bool))) == 0


@components.must("a diagonal line is one thing",
                 "corners touch: by default label() joins edges only, so give it a 3 x 3 structure of ones")
def _(answer):
    return int(answer(np.eye(7, dtype=bool))) == 1


@components.must("two pictures with a gap between them hold what they hold together",
                 "count components, not pixels or rows: the answer of a picture that is all on is 1")
def _(answer):
    left, right = (_rng().random((9, 5 + k)) < 0.25 for k in (0, 1))
    apart = np.concatenate([left, np.zeros((9, 1), dtype=bool), right], 1)
    full = int(answer(np.ones((4, 4), dtype=bool)))
    return full == 1 and int(answer(apart)) == int(answer(left)) + int(answer(right))


@components.must("in pictures of the world it is the number of shapes, when they do not touch",
                 "label() returns two things: the labels and how many there are")
def _(answer):
    parts = shapes.shapes("shapes", "test", n=40)
    seen = shapes.count(parts.x).shapes.sum((1, 2))
    gap = np.zeros((16, 1), dtype=bool)  # pull the columns apart, so that neighbours cannot touch
    for x, number in zip(parts.x[:, 0].numpy() > 0, seen.tolist(), strict=True):
        pulled = np.concatenate([x[:, :8], gap, x[:, 8:16], gap, x[:, 16:]], 1)
        if int(answer(pulled)) != number:
            return False
    return True


possible = Exercise("The judge", "possible(seen, fragments)")


def _world(*parts, fragments=0):
    """seen (1, 3, 3) and fragments (1, 3) of a picture that holds (column, kind) parts."""
    seen, left = torch.zeros(1, 3, 3, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int64)
    for column, kind in parts:
        seen[0, column, kind] += 1
    left[0, 1] = fragments
    return seen, left


@possible.must("any set of kinds, each once in its own column, is possible",
               "seen[:, k, k] is kind k in column k; `diagonal(dim1=1, dim2=2)` takes all three")
def _(answer):
    sets = [s for n in (1, 2, 3) for s in itertools.combinations(range(3), n)]
    return all(bool(answer(*_world(*((k, k) for k in s)))) for s in sets)


@possible.must("a blank picture is not possible", "the world drops blank pictures: at least one shape must be there")
def _(answer):
    return not bool(answer(*_world()))


@possible.must("a kind twice in its column is not possible", "each kind may be there once: check that none exceeds 1")
def _(answer):
    return not bool(answer(*_world((0, 0), (0, 0), (2, 2))))


@possible.must("a shape in another's column is not possible, even if it is there only once",
               "a triangle in the squares' column breaks the rules: what is off the diagonal must be 0")
def _(answer):
    return not bool(answer(*_world((1, 0)))) and not bool(answer(*_world((0, 0), (2, 1))))


@possible.must("a picture with a fragment is not possible", "fragments (N, column) must all be 0")
def _(answer):
    return not bool(answer(*_world((0, 0), fragments=1)))


@possible.must("it agrees with the library on 500 random tables",
               "each picture is judged by itself: reduce over axes 1 and 2")
def _(answer):
    rng = torch.Generator().manual_seed(0)
    seen = (torch.rand(500, 3, 3, generator=rng) < 0.25).long() + (torch.rand(500, 3, 3, generator=rng) < 0.05).long()
    left = (torch.rand(500, 3, generator=rng) < 0.1).long()
    return same(torch.as_tensor(answer(seen, left)).long(), shapes.Count(seen, left).possible.long())


there = Exercise("Three columns that may not all be empty", "there(odds)")


@there.must("what is certain stays certain: where one column surely holds its shape, the others are as before",
            "the shares need not sum to 1: three shapes can be there at once, so this is no softmax")
def _(answer):
    odds = torch.tensor([[40.0, 0.3, -1.2]], dtype=torch.float64)
    return same(answer(odds)[:, 1:], odds[:, 1:].sigmoid())


@there.must("with even odds all round each shape is there with probability 4/7, not 1/2",
            "seven of the eight sets are left, and four of them hold a given shape: divide by what is left")
def _(answer):
    return same(answer(torch.zeros(1, 3, dtype=torch.float64)), torch.full((1, 3), 4 / 7, dtype=torch.float64))


@there.must("it equals the sum over all seven sets of shapes",
            "the probability of a blank picture is the product of the three (1 - p), not of the three p")
def _(answer):
    odds = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sets = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3))[1:], dtype=torch.float64)  # (7, 3)
    weight = (odds @ sets.T).softmax(1)
    return same(answer(odds), weight @ sets)


alarm = Exercise("A hypothesis: one alarm is enough", "alarm(scores)")


def _scores(n=300):
    return torch.randn(3, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).exp()


@alarm.must("it gives one number a picture, (B,)", "reduce over the scores, axis 0, and keep the pictures")
def _(answer):
    return torch.as_tensor(answer(_scores())).shape == (300,)


@alarm.must("another unit for one score changes no order",
            "scores add up as they are, so the one with large numbers drowns the others: bring each to its own spread "
            "over the batch first")
def _(answer):
    plain, scaled = (torch.as_tensor(answer(s)) for s in (_scores(), _scores() * torch.tensor([[1.0], [1e4], [1e-3]])))
    return same(plain.argsort(), scaled.argsort())


@alarm.must("of two pictures, one extreme in a single score beats one that is a little high in all",
            "a mean dilutes the one alarm with the calm of the others: take the largest")
def _(answer):
    scores = _scores()
    scores[:, 0] = scores.median(1).values
    scores[1, 0] = 1.5 * scores[1].max()
    scores[:, 1] = scores.quantile(0.93, 1)
    made = torch.as_tensor(answer(scores))
    return bool(made[0] > made[1])


@alarm.must("raising a score of one picture never lowers its alarm", "more suspicious must mean higher: mind the sign")
def _(answer):
    scores = _scores()
    before = torch.as_tensor(answer(scores)).argsort().argsort()[5]
    scores[2, 5] *= 50
    return bool(torch.as_tensor(answer(scores)).argsort().argsort()[5] >= before) and bool(
        torch.as_tensor(answer(scores)).argsort().argsort()[5] > 250
    )


EXERCISES = (components, possible, there, alarm)
