"""Exercises of notebook 03: the midpoint step, Adams-Bashforth on uneven grids, growth, fresh noise, a paired effect.

A denoiser that returns x - sigma c has the slope c everywhere; data N(0, d^2) have the path sqrt(d^2 + sigma^2).
"""

import math
from itertools import pairwise

import torch

from ..diffusion import heun
from ..lab.exercises import Exercise, Wrong, same

F64 = torch.float64


def _t(*numbers):
    """Numbers as () tensors."""
    return torch.tensor(numbers, dtype=F64).unbind()


def _points(n=5):
    return torch.randn(n, 2, dtype=F64, generator=torch.Generator().manual_seed(1))


def _gaussian(x, sigma, cond=None):
    return x / (1 + torch.as_tensor(sigma).to(x) ** 2)


midpoint = Exercise("Second order by the midpoint", "midpoint(denoise, x, s, t)")


def _moved(answer, slope=3.0, s=2.0, t=0.5):
    """How far x moves where every slope is `slope`, in units of (t - s) slope."""
    x, (s, t) = _points(), _t(s, t)
    end = torch.as_tensor(answer(lambda x, sigma, cond=None: x - sigma * slope, x, s, t))
    if end.shape != x.shape:
        raise Wrong(f"it gives shape {tuple(end.shape)} where x has {tuple(x.shape)}; return the new point alone")
    return (end - x) / ((t - s) * slope)


@midpoint.must("where the slope is 3 everywhere, x does not move farther than 3 (t - s)",
               "the full step starts from x: the point in the middle is only where you ask for the slope")
def _(answer):
    return bool((_moved(answer) < 1.001).all())


@midpoint.must("... and not less far either",
               "a slope is (x - D(x, level)) / level, with the level and the point where it was asked")
def _(answer):
    return same(_moved(answer), torch.ones(5, 2))


@midpoint.must("the denoiser is asked between s and t, once",
               "Euler and Heun ask at s and t; the midpoint is at sqrt(s t) or (s + t) / 2, and x must be moved there")
def _(answer):
    asked = []

    def denoise(x, sigma, cond=None):
        asked.append(float(sigma))
        return _gaussian(x, sigma)

    answer(denoise, _points(), *_t(2.0, 0.5))
    return sum(0.51 < level < 1.99 for level in asked) == 1


@midpoint.must("on a Gaussian its error falls at least with the square of the steps: order 1.8 or more",
               "move x to the middle by an Euler step before asking there; with the old x, or off the middle, the "
               "order stays 1")
def _(answer):
    def error(n):
        x = torch.ones(1, 1, dtype=F64)
        levels = torch.logspace(1, -2, n + 1, base=2, dtype=F64)
        for s, t in pairwise(levels):
            x = answer(_gaussian, x, s, t)
        return float((x - math.sqrt((1 + levels[-1] ** 2) / (1 + levels[0] ** 2))).abs())

    ratio = error(40) / error(80)  # (s + t) / 2 has order 3 here: on a Gaussian its leading error vanishes
    if not ratio > 2**1.8:
        raise Wrong(f"with half the step the error is {ratio:.3g} times smaller; order 2 is about 4 times")
    return True


ab2_step = Exercise("Adams-Bashforth on uneven steps", "ab2_step(x, f, f_last, last, s, t)")


def _weights(answer, last, s, t):
    """The weights of f and f_last in one step, divided by t - s."""
    zero, one, (last, s, t) = *_t(0.0, 1.0), _t(last, s, t)
    new = torch.as_tensor(answer(zero, one, zero, last, s, t)) / (t - s)
    return new, torch.as_tensor(answer(zero, zero, one, last, s, t)) / (t - s)


@ab2_step.must("with two equal slopes it is Euler's step", "the weights of f and f_last must sum to 1, times t - s")
def _(answer):
    x, f, (last, s, t) = _points(), _points() + 1, _t(5.0, 4.0, 2.5)
    return same(answer(x, f, f, last, s, t), x + (t - s) * f)


@ab2_step.must("on even steps the weights are 3/2 and -1/2",
               "the slope goes on changing as it did: take f plus half of its last change, not minus")
def _(answer):
    new, old = _weights(answer, 3.0, 2.0, 1.0)
    return same(new, torch.tensor(1.5)) and same(old, torch.tensor(-0.5))


@ab2_step.must("in a step half as long as the last the old slope counts no more than in an even one",
               "the ratio is this step over the last one, (t - s) / (s - last); yours seems to be upside down")
def _(answer):
    return abs(_weights(answer, 4.0, 2.0, 1.0)[1]) < 0.501


@ab2_step.must("slopes that are linear in sigma are integrated exactly, on any levels",
               "3/2 and -1/2 are for even steps: the slope at the middle of this step is f + (t - s)/2 times "
               "(f - f_last)/(s - last)")
def _(answer):
    x = _points()
    for last, s, t in ((10.0, 7.0, 1.0), (3.0, 1.0, 0.9), (1.0, 0.9, 0.0)):
        def slope(sigma):
            return 2 * sigma - 0.7

        exact = x + (t**2 - s**2) - 0.7 * (t - s)
        same(answer(x, *_t(slope(s), slope(last), last, s, t)), exact, 1e-6)
    return True


heun_growth = Exercise("How much Heun's step grows", "heun_growth(z)")
Z = torch.linspace(-3, 0.5, 8, dtype=F64)


@heun_growth.must("no step, z = 0, changes nothing: the factor is 1", "the new x is the old one plus something with z")
def _(answer):
    return same(answer(torch.zeros(3, dtype=F64)), torch.ones(3))


@heun_growth.must("for small steps it follows the truth, exp(z), up to z^2 / 2",
                  "one slope is z, the other, at the tentative point, z (1 + z): take the mean of the two")
def _(answer):
    z = torch.tensor([-0.01, 0.01], dtype=F64)
    return same((torch.as_tensor(answer(z)) - 1 - z) / z**2, torch.full((2,), 0.5), 0.02)


@heun_growth.must("it is what the library's Heun does to x, for steps small and large",
                  "the truth, exp(z), never grows for z < 0, but a sampler's step is a polynomial in z")
def _(answer):
    found = []
    for z in Z:
        s, t = _t(2.0, 1.0)  # h = t - s = -1, so the rate is -z
        end, _ = heun(lambda x, sigma, rate=-z: x - sigma * rate * x, torch.ones(1, 1, dtype=F64), s, t)
        found.append(end.squeeze())
    return same(answer(Z), torch.stack(found), 1e-6)


split_noise = Exercise("Down, then up with fresh noise", "split_noise(s, t, eta)")


def _down_up(answer, s, t, eta):
    pair = tuple(answer(*_t(s, t, eta)))
    if len(pair) != 2:
        raise Wrong(f"it gives {len(pair)} things where two are wanted: down, up")
    return tuple(torch.as_tensor(part).to(F64) for part in pair)


@split_noise.must("eta = 0 is DDIM: all the way to t, and no fresh noise", "up is proportional to eta")
def _(answer):
    down, up = _down_up(answer, 2.0, 1.0, 0.0)
    return same(up, torch.tensor(0.0)) and same(down, torch.tensor(1.0))


@split_noise.must("what is left at level down and the fresh noise together have the variance of level t",
                  "variances add, standard deviations do not: down^2 + up^2 = t^2")
def _(answer):
    down, up = _down_up(answer, 2.0, 1.2, 0.7)
    return same(down**2 + up**2, torch.tensor(1.44))


@split_noise.must("half of eta is half of the fresh noise's standard deviation",
                  "eta multiplies up itself, not its square (DDIM paper, eq. 16)")
def _(answer):
    return same(2 * _down_up(answer, 2.0, 1.0, 0.4)[1], _down_up(answer, 2.0, 1.0, 0.8)[1])


@split_noise.must("eta = 1 is DDPM: with x0 known, x at t given x at s has variance t^2 (s^2 - t^2) / s^2",
                  "some of the noise at t is already known from x at s: the more, the closer t is to s. At t = s no "
                  "noise is fresh")
def _(answer):
    for s, t in ((2.0, 1.0), (5.0, 4.9), (1.0, 0.01)):
        same(_down_up(answer, s, t, 1.0)[1] ** 2, torch.tensor(t**2 * (s**2 - t**2) / s**2))
    return True


effect = Exercise("A hypothesis: does it help, and how sure is that?", "effect(a, b)")


def _mean_half(answer, a, b):
    pair = tuple(answer(torch.as_tensor(a, dtype=F64), torch.as_tensor(b, dtype=F64)))
    if len(pair) != 2:
        raise Wrong(f"it gives {len(pair)} things where two are wanted: the mean and half the interval's width")
    return tuple(torch.as_tensor(part).to(F64).squeeze() for part in pair)


@effect.must("it is positive where a is larger than b", "the effect of a against b is a minus b")
def _(answer):
    return same(_mean_half(answer, [3.0, 4.0, 5.5], [1.0, 2.0, 2.5])[0], torch.tensor(7 / 3))


@effect.must("when each seed gives the same difference, the interval is zero however much the seeds differ",
             "both runs of a seed start from the same noise: take the differences first, then their spread")
def _(answer):
    return same(_mean_half(answer, [1.0, 50.0, 9.0, 20.0], [0.5, 49.5, 8.5, 19.5])[1], torch.tensor(0.0))


@effect.must("100 times as many seeds make the interval about 10 times narrower",
             "the spread of a mean of n numbers is their spread over the root of n")
def _(answer):
    a = torch.randn(40_000, dtype=F64)
    wide, narrow = (_mean_half(answer, a[:n], 0 * a[:n])[1] for n in (400, 40_000))
    return 8 < wide / narrow < 12


@effect.must("with three seeds, 95 % of the intervals hold the truth, in 1500 experiments",
             "1.96 is for many seeds; three seeds want Student's t with two degrees of freedom, 4.30. metrics.interval "
             "knows it")
def _(answer):
    found = [_mean_half(answer, row, torch.zeros(3)) for row in torch.randn(1500, 3, dtype=F64)]
    return same(sum(bool(mean.abs() <= half) for mean, half in found) / 1500, torch.tensor(0.95), 0.02)


EXERCISES = (midpoint, ab2_step, heun_growth, split_noise, effect)
