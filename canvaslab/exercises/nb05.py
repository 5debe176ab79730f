"""Exercises of notebook 05: the part across, guidance in an interval, a tilted Gaussian, and what guidance makes of it.

Two Gaussians around 0, N(0, s^2) with the label and N(0, S^2) without, are the smallest world with guidance: the
tilted density and the end of the guided path both have closed forms, and they differ.
"""

import torch

from ..diffusion import guided, heun, last, mixture, sample
from ..lab.exercises import Exercise, Wrong, same

across = Exercise("The part across", "across(push, towards)")


def _pushes(n=4):
    return torch.randn(2, n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def _dot(a, b):
    return (a * b).sum(1)


@across.must("a push along the prediction has no part across: nothing is left",
             "take the part *along* towards away from the push; what is left is across")
def _(answer):
    _, towards = _pushes()
    return bool(torch.as_tensor(answer(-3 * towards, towards)).abs().max() < 1e-9)


@across.must("what is left stands at right angles to the prediction, in every sample by itself",
             "each row has its own direction: sum over the last axis only, with keepdim=True")
def _(answer):
    push, towards = _pushes()
    left = torch.as_tensor(answer(push, towards))
    if left.shape != push.shape:
        raise Wrong(f"it gives shape {tuple(left.shape)} for pushes of shape {tuple(push.shape)}")
    return bool(_dot(left, towards).abs().max() < 1e-9)


@across.must("a push that already is across stays as it is",
             "only the part along is taken away; nothing is rescaled and no sign changes")
def _(answer):
    push, towards = _pushes()
    push = push - (_dot(push, towards) / _dot(towards, towards))[:, None] * towards
    return same(answer(push, towards), push)


@across.must("how long the prediction is does not matter, only where it points",
             "divide by the squared length of towards: once for each time that it stands above the line")
def _(answer):
    push, towards = _pushes()
    return same(answer(push, 5 * towards), answer(push, towards))


weight = Exercise("Guidance in an interval", "weight(sigma, w, lo, hi)")


@weight.must("between lo and hi the weight is w",
             "torch.where(condition, a, b) takes a where the condition holds")
def _(answer):
    return same(answer(torch.tensor([0.4, 1.0, 2.9]), 4.0, 0.3, 3.0), torch.full((3,), 4.0))


@weight.must("outside the plain conditional model is used",
             "no guidance is w = 1; w = 0 would be the model without its label")
def _(answer):
    return same(answer(torch.tensor([0.01, 0.2, 3.1, 40.0]), 4.0, 0.3, 3.0), torch.ones(4))


@weight.must("both ends belong to the interval",
             "at sigma = lo and at sigma = hi guidance is still on: use >= and <=")
def _(answer):
    return same(answer(torch.tensor([0.3, 3.0]), 2.0, 0.3, 3.0), torch.full((2,), 2.0))


tilted_variance = Exercise("The tilted density of two Gaussians", "tilted_variance(s, S, w)")


def _t(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).unbind()


WORLDS = ((0.5, 1.0, 3.0), (1.0, 1.5, 2.0), (0.8, 3.0, 5.0))


@tilted_variance.must("w = 1 is the conditional density itself: s^2", "at w = 1 the wide Gaussian has the power 0")
def _(answer):
    return all(same(answer(*_t(s, wide, 1.0)), torch.tensor(s) ** 2) for s, wide, _ in WORLDS)


@tilted_variance.must("if the label says nothing, S = s, tilting changes nothing",
                      "the powers add up to 1: with s = S it is the same Gaussian again, so a factor such as 1 / w "
                      "cannot be all")
def _(answer):
    return all(same(answer(*_t(s, s, w)), torch.tensor(s) ** 2) for s, _, w in WORLDS)


@tilted_variance.must("a larger w makes it narrower, and it stays a variance: positive",
                      "in the exponent stand precisions, 1 / s^2 and 1 / S^2, not variances: those add with the "
                      "weights w and 1 - w")
def _(answer):
    for s, wide, w in WORLDS:
        now, more = (torch.as_tensor(answer(*_t(s, wide, v))) for v in (w, w + 1))
        if not (0 < more < now):
            return False
    return True


@tilted_variance.must("its logarithm is w log N(x; 0, s^2) + (1 - w) log N(x; 0, S^2), up to a constant",
                      "add up what multiplies -x^2 / 2 on both sides; what the guided *path* makes is another "
                      "number (exercise 4)")
def _(answer):
    x = torch.tensor([0.0, 1.3], dtype=torch.float64)
    for s, wide, w in WORLDS:
        log = -w * x**2 / (2 * s**2) - (1 - w) * x**2 / (2 * wide**2)
        same(-(x[1] ** 2) / (2 * torch.as_tensor(answer(*_t(s, wide, w)))), log[1] - log[0])
    return True


guided_variance = Exercise("What the guided path makes of it", "guided_variance(s, S, w)")


@guided_variance.must("w = 1 is no guidance: s^2", "without guidance the path ends in the conditional density")
def _(answer):
    return all(same(answer(*_t(s, wide, 1.0)), torch.tensor(s) ** 2) for s, wide, _ in WORLDS)


@guided_variance.must("w = 0 is the model without its label: S^2",
                      "at w = 0 only the wide Gaussian acts; check the powers of s and of S")
def _(answer):
    return all(same(answer(*_t(s, wide, 0.0)), torch.tensor(wide) ** 2) for s, wide, _ in WORLDS)


@guided_variance.must("each further step of w by 1 multiplies the variance by the same s^2 / S^2",
                      "the path's speeds add with weights w and 1 - w, so the *logarithms* of what they do to x add: "
                      "s and S enter as powers")
def _(answer):
    for s, wide, w in WORLDS:
        same(torch.as_tensor(answer(*_t(s, wide, w + 1))) / answer(*_t(s, wide, w)), torch.tensor(s / wide) ** 2)
    return True


@guided_variance.must("it is what 400 steps of Heun's method measure",
                      "a variance, not a standard deviation: square the factor by which the path shrinks x")
def _(answer):
    for s, wide, w in WORLDS[:2]:
        narrow, both = (mixture.Mixture(torch.zeros(1, 1, dtype=torch.float64), std) for std in (s, wide))
        top = torch.full((1, 1), 200.0, dtype=torch.float64)
        levels = torch.cat([torch.logspace(2.30103, -3, 400, dtype=torch.float64), torch.zeros(1)])
        end = last(sample(guided(both, narrow, w), top, levels, heun))
        same(answer(*_t(s, wide, w)), (end[0, 0]) ** 2, 0.02)
    return True


EXERCISES = (across, weight, tilted_variance, guided_variance)
