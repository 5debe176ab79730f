"""Exercises of notebook 01: the score, one step, a whole path in closed form, the loss's floor, a sampler's order.

A Gaussian with standard deviation d is the data set whose every quantity is known: its denoiser is
x d^2 / (d^2 + sigma^2), and its path scales with sqrt(d^2 + sigma^2).
"""

import math
from itertools import pairwise

import torch

from ..diffusion import euler, heun, mixture
from ..lab.exercises import Exercise, Wrong, same

score = Exercise("The score from a denoiser", "score(denoise, x, sigma)")


def _gaussian(d):
    return lambda x, sigma, cond=None: x * d**2 / (d**2 + torch.as_tensor(sigma).to(x) ** 2)


def _points(n=5):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def _t(*numbers):
    """Numbers as () tensors, so that math.sqrt, torch.sqrt and ** 0.5 all take them."""
    return torch.tensor(numbers, dtype=torch.float64).unbind()


@score.must("the score points from x to its guess",
            "uphill, to where data are likelier: from x to the guess is guess - x, not x - guess")
def _(answer):
    toward = answer(lambda x, sigma, cond=None: x + 1, _points(), *_t(1.0))
    return bool((torch.as_tensor(toward) > 0).all())


@score.must("the same distance to the guess means less when there is more noise",
            "the formula on the slide divides by something that grows with sigma")
def _(answer):
    low, high = (answer(lambda x, sigma, cond=None: x + 1, _points(), sigma) for sigma in _t(0.5, 2.0))
    return bool((high < low).all())


@score.must("for data N(0, d^2) it is the slope of log N(0, d^2 + sigma^2): -x / (d^2 + sigma^2)",
            "divide by the variance of the noise, sigma ** 2, not by its standard deviation")
def _(answer):
    for d, sigma in (_t(1.0, 0.5), _t(0.3, 2.0), _t(2.0, 0.1)):
        same(answer(_gaussian(d), _points(), sigma), -_points() / (d**2 + sigma**2))
    return True


@score.must("on a mixture it equals the gradient that autograd finds",
            "call denoise(x, sigma) on the very x and sigma that were given")
def _(answer):
    three = mixture.Mixture(torch.tensor([[0.0, 1], [1, 0], [-1, -1]], dtype=torch.float64), 0.2)
    x = _points().requires_grad_()
    (slope,) = torch.autograd.grad(three.log_prob(x, 0.4).sum(), x)
    return same(answer(three, x.detach(), *_t(0.4)), slope)


euler_step = Exercise("One step of the sampler", "euler_step(denoise, x, s, t)")


@euler_step.must("a step that goes nowhere, t = s, leaves x where it is",
                 "x is (guess) + (what the noise added); at t = s all of the noise stays")
def _(answer):
    (s,) = _t(2.0)
    return same(answer(_gaussian(1.0), _points(), s, s), _points())


@euler_step.must("a step to t = 0 ends on the guess",
                 "the part x - guess is noise of level s; at level t it is t / s of that, so nothing at t = 0")
def _(answer):
    s, zero = _t(2.0, 0.0)
    return same(answer(lambda x, sigma, cond=None: x / 3, _points(), s, zero), _points() / 3)


@euler_step.must("if all data are one point a, one step from a + s eps lands on a + t eps",
                 "the noise shrinks in proportion to its level: keep t / s of x - guess, neither its root nor its "
                 "square")
def _(answer):
    a, eps = torch.tensor([1.0, -2.0], dtype=torch.float64), _points()
    s, t = _t(3.0, 1.2)
    return same(answer(lambda x, sigma, cond=None: a.expand_as(x), a + s * eps, s, t), a + t * eps)


@euler_step.must("for data N(0, 1) the step from 2 to 1 multiplies x by 0.6",
                 "ask denoise at the level s where x is, not at the level t where it goes")
def _(answer):
    return same(answer(_gaussian(1.0), _points(), *_t(2.0, 1.0)), 0.6 * _points())


whole_path = Exercise("A whole path in one line", "whole_path(x, s, t, d)")


@whole_path.must("no step, t = s, changes nothing", "the answer is x times a factor which is 1 at t = s")
def _(answer):
    return same(answer(_points(), *_t(2.0, 2.0, 0.7)), _points())


@whole_path.must("towards less noise, points come closer to the mean of the data, 0",
                 "from s to t: what belongs to t, where the path ends, stands above the line")
def _(answer):
    return bool((answer(_points(), *_t(2.0, 0.5, 1.0)).abs() < _points().abs()).all())


@whole_path.must("data without spread, d = 0: the noise shrinks in proportion, x t / s",
                 "d^2 + t^2 is a variance; points scale with its root")
def _(answer):
    return same(answer(_points(), *_t(4.0, 1.0, 0.0)), _points() / 4)


@whole_path.must("at t = 0 the points are spread like the data: not all on one spot",
                 "d belongs under the root too: the noisy cloud has variance d^2 + sigma^2, and at sigma = 0 that of "
                 "the data")
def _(answer):
    return bool(torch.as_tensor(answer(_points(), *_t(3.0, 0.0, 1.5))).abs().max() > 0.1)


@whole_path.must("a cloud of variance d^2 + s^2 becomes one of variance d^2 + t^2",
                 "variances add, standard deviations do not: take the root after the sum")
def _(answer):
    d, s, t = _t(1.5, 3.0, 0.5)
    return same(answer(_points(), s, t, d).std() / _points().std(), math.sqrt((d**2 + t**2) / (d**2 + s**2)))


@whole_path.must("a walk of 2000 small Euler steps ends in the same place",
                 "dx / dsigma = x sigma / (d^2 + sigma^2): bring x to one side, then integrate from s to t")
def _(answer):
    d, x, levels = 0.8, _points(), torch.linspace(2.0, 0.3, 2001, dtype=torch.float64)
    for s, t in pairwise(levels):
        x = x + (t - s) * (x - _gaussian(d)(x, s)) / s
    return same(answer(_points(), *_t(2.0, 0.3, d)), x)


loss_floor = Exercise("The loss that no network can beat", "loss_floor(sigma, d)")


@loss_floor.must("without noise there is nothing to get wrong: 0 at sigma = 0",
                 "with no noise the guess is x itself, and its error is 0")
def _(answer):
    return same(answer(*_t(0.0, 1.3)), torch.tensor(0.0))


@loss_floor.must("it is a mean of squares: twice the units, four times the floor",
                 "you may have the root of it: a standard deviation where a variance is asked for")
def _(answer):
    return same(torch.as_tensor(answer(*_t(1.0, 2.0))) * 4, torch.as_tensor(answer(*_t(2.0, 4.0))))


@loss_floor.must("with endless noise the guess is the mean, and its error the data's variance, d^2",
                 "the denoiser knows the data: it is never worse than guessing their mean, however large sigma")
def _(answer):
    return same(answer(*_t(1e4, 1.3)), torch.tensor(1.69))


@loss_floor.must("it equals the squared error of 400,000 guesses of the exact denoiser, to 1 %",
                 "the error is keep (x - x0) - (1 - keep) x0 with keep = d^2 / (d^2 + sigma^2): two independent parts, "
                 "whose variances add")
def _(answer):
    for sigma, d in ((1.0, 1.0), (0.5, 2.0)):
        x0 = d * torch.randn(400_000, dtype=torch.float64)
        x = x0 + sigma * torch.randn(400_000, dtype=torch.float64)
        same(answer(*_t(sigma, d)), (_gaussian(d)(x, sigma) - x0).square().mean(), 0.01)
    return True


order = Exercise("A hypothesis: Heun's error falls with the square of the steps", "order(error)")


def _error(step):
    """error(n): how far n steps of a sampler from sigma = 2 to 1/4 end from the exact path, for data N(0, 1)."""

    def error(n):
        x = torch.ones(1, 1, dtype=torch.float64)
        levels = torch.logspace(1, -2, n + 1, base=2, dtype=torch.float64)
        for s, t in pairwise(levels):
            x, _ = step(_gaussian(1.0), x, s, t)
        return float((x - math.sqrt((1 + levels[-1] ** 2) / (1 + levels[0] ** 2))).abs())

    return error


def _number(x):
    x = torch.as_tensor(x)
    if x.numel() != 1 or not x.isfinite():
        raise Wrong(f"it gives {x.tolist()} where one finite number is wanted")
    return float(x)


@order.must("an error that falls has a positive order",
            "error(n) is about c / n ** p: mind the sign of p")
def _(answer):
    return _number(answer(lambda n: 5.0 / n)) > 0


@order.must("an error that does not fall has order 0",
            "a ratio of two errors is not yet the exponent: which p makes 2 ** p of it?")
def _(answer):
    return same(_number(answer(lambda n: 0.3)), torch.tensor(0.0))


@order.must("an error of exactly c / n ** p gives p, for any c and p",
            "divide the logarithm of the ratio of errors by the logarithm of the ratio of steps")
def _(answer):
    for c, p in ((1.0, 1.0), (0.02, 2.0), (7.0, 3.0)):
        same(_number(answer(lambda n, c=c, p=p: c / n**p)), torch.tensor(p), 0.02)
    return True


@order.must("Euler's order is near 1 and Heun's near 2, measured on a Gaussian",
            "take enough steps that only the leading term is left: 50 and 100, say, not 1 and 2")
def _(answer):
    return same(_number(answer(_error(euler))), torch.tensor(1.0), 0.07) and same(
        _number(answer(_error(heun))), torch.tensor(2.0), 0.07
    )


EXERCISES = (score, euler_step, whole_path, loss_floor, order)
