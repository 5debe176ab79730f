"""Exercises of notebook 11: a Gaussian that eats itself, what is off the support, a threshold, what a filter hands on,
and how much fresh data it takes.
"""

import math

import torch

from ..lab.exercises import Exercise, Wrong, same

refit_variance = Exercise("A Gaussian that eats itself", "refit_variance(n, generations)")


def _number(x):
    try:
        x = float(x)
    except (TypeError, ValueError):
        raise Wrong(f"it gives a {type(x).__name__} where one number is wanted") from None
    if math.isnan(x):
        raise Wrong("it gives nan where a number is wanted")
    return x


@refit_variance.must("before the first refit the variance is 1", "generation 0 is the data themselves")
def _(answer):
    return same(_number(answer(10, 0)), torch.tensor(1.0))


@refit_variance.must("two samples lose half of the variance in one refit",
                     "the fitted variance is the mean square about the samples' own mean, which sits in their middle: "
                     "its expectation is (n - 1) / n of the true one")  # fmt: skip
def _(answer):
    return same(_number(answer(2, 1)), torch.tensor(0.5))


@refit_variance.must("five generations and then three more are eight",
                     "each generation takes a share of what is *left*: multiply, do not subtract")
def _(answer):
    return same(_number(answer(20, 5)) * _number(answer(20, 3)), torch.tensor(_number(answer(20, 8))), 1e-6)


@refit_variance.must("it is the mean over 20,000 chains that were really refitted, to 3 %",
                     "what one refit does to the variance on average, to the power of the generations")
def _(answer):
    rng = torch.Generator().manual_seed(0)
    mean, var = torch.zeros(20_000, 1), torch.ones(20_000, 1)
    for _ in range(4):
        x = mean + var.sqrt() * torch.randn(20_000, 8, generator=rng)
        mean, var = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    return same(_number(answer(8, 4)), var.mean(), 0.03)


off_support = Exercise("Off the support", "off_support(x, modes, std)")


def _mask(answer, x, modes, std=0.1):
    got = torch.as_tensor(answer(torch.tensor(x), torch.tensor(modes), std))
    if got.dtype != torch.bool or got.shape != (len(x),):
        raise Wrong(f"it gives {got.dtype} {tuple(got.shape)} where a mask, torch.bool ({len(x)},), is wanted")
    return got.tolist()


@off_support.must("a sample on one mode is on the support, however far the other modes are",
                  "the *nearest* mode decides: take the smallest of a sample's distances")
def _(answer):
    return _mask(answer, [[0.0, 0.0], [5.0, 0.0], [0.0, 0.3]], [[0.0, 0.0], [5.0, 0.0]]) == [False] * 3


@off_support.must("a sample half way between two modes is off", "farther than 6 std from every mode is True, not False")
def _(answer):
    return _mask(answer, [[2.5, 0.0], [0.0, 0.0]], [[0.0, 0.0], [5.0, 0.0]]) == [True, False]


@off_support.must("five stds to the right and five up are 7.1 stds away, so off",
                  "the distance is the root of the sum of squares, not the largest coordinate")
def _(answer):
    return _mask(answer, [[0.5, 0.5], [0.4, 0.4]], [[0.0, 0.0]]) == [True, False]


@off_support.must("twice the picture, the same mask: 6 std, not a number of units",
                  "compare the distance itself with 6 * std; std is an argument")
def _(answer):
    x, modes = [[0.5, 0.0], [0.7, 0.0], [3.0, 1.0]], [[0.0, 0.0], [4.0, 0.0]]
    doubled = _mask(answer, (2 * torch.tensor(x)).tolist(), (2 * torch.tensor(modes)).tolist(), 0.2)
    return _mask(answer, x, modes) == doubled == [False, True, True]


cut = Exercise("The threshold of a filter", "cut(score, share)")


def _scores(n=1000):
    return torch.rand(n, generator=torch.Generator().manual_seed(3)) ** 3


@cut.must("the order of the samples does not matter", "sort first, or use quantile")
def _(answer):
    return same(_number(answer(_scores().flip(0), 0.8)), torch.tensor(_number(answer(_scores(), 0.8))), 1e-6)


@cut.must("one absurd score, 1000 times the largest, leaves the cut where it was",
          "a share of the *samples*, not of the range of scores")
def _(answer):
    absurd = torch.cat([_scores(), torch.tensor([1000.0])])
    return abs(_number(answer(absurd, 0.9)) - _number(answer(_scores(), 0.9))) < 0.02


@cut.must("the share that passes, score <= cut, is the share asked for",
          "sort the scores; the cut is the one at that share of the way up, from the low end")
def _(answer):
    for share in (0.9, 0.96, 0.3):
        passed = float((_scores() <= _number(answer(_scores(), share))).double().mean())
        if abs(passed - share) > 0.0021:
            raise Wrong(f"asked for {share:.0%}, {passed:.1%} of the scores pass")
    return True


@cut.must("scores with a constant added move the cut by that constant", "no mean, no std, no root: an order statistic")
def _(answer):
    return same(_number(answer(_scores() + 7, 0.9)), torch.tensor(_number(answer(_scores(), 0.9)) + 7), 1e-4)


handed_on = Exercise("What a filter hands on", "handed_on(rate, removed, lost)")


@handed_on.must("a filter that does nothing hands on the rate it got", "with removed = lost = 0 the rate stays")
def _(answer):
    return same(_number(answer(0.2, 0.0, 0.0)), torch.tensor(0.2))


@handed_on.must("a filter that removes every stray hands on none", "what stays of the strays is rate * (1 - removed)")
def _(answer):
    return same(_number(answer(0.2, 1.0, 0.3)), torch.tensor(0.0))


@handed_on.must("of 200 strays and 800 good ones, 50 and 800 stay: 50 / 850",
                "divide by everything that stays, strays and good ones: the rate is a share of the *new* data set")
def _(answer):
    return same(_number(answer(0.2, 0.75, 0.0)), torch.tensor(50 / 850))


@handed_on.must("a random filter, removed = lost, changes nothing", "of the good ones a share 1 - lost stays")
def _(answer):
    return all(same(_number(answer(0.3, p, p)), torch.tensor(0.3)) for p in (0.1, 0.5, 0.9))


@handed_on.must("of 200 strays and 800 good ones, 50 and 720 stay: 50 / 770",
                "good ones stay with share 1 - lost, strays with share 1 - removed")
def _(answer):
    return same(_number(answer(0.2, 0.75, 0.1)), torch.tensor(50 / 770))


resting_rate = Exercise("A hypothesis: some fresh data is enough", "resting_rate(base, growth, fresh)")


@resting_rate.must("fresh data only: every generation is the first, and the rate is base",
                   "the old rate comes in with the factor growth * (1 - fresh), which is 0 here")
def _(answer):
    return same(_number(answer(0.02, 1.5, 1.0)), torch.tensor(0.02))


@resting_rate.must("no fresh data and growth 1.5: it never comes to rest, infinity",
                   "where the factor growth * (1 - fresh) is 1 or more, the rate grows without end: give "
                   "float('inf')")
def _(answer):
    return math.isinf(_number(answer(0.02, 1.5, 0.0))) and math.isinf(_number(answer(0.02, 2.0, 0.5)))


@resting_rate.must("it is where 3000 generations of rate = base + growth (1 - fresh) rate end",
                   "at rest the next rate equals this one: solve rate = base + growth (1 - fresh) rate")
def _(answer):
    for base, growth, fresh in ((0.02, 1.5, 0.5), (0.01, 0.8, 0.0), (0.05, 1.2, 0.2)):
        rate = 0.0
        for _ in range(3000):
            rate = base + growth * (1 - fresh) * rate
        same(_number(answer(base, growth, fresh)), torch.tensor(rate))
    return True


EXERCISES = (refit_variance, off_support, cut, handed_on, resting_rate)
