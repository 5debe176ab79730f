"""Exercises of notebook 06: noise under pooling, the shifted clock, the sigmoid weight, the multiscale loss."""

import math

import torch
from torch.nn.functional import avg_pool2d

from ..lab.exercises import Exercise, Wrong, same

pooled_sigma = Exercise("Noise under pooling", "pooled_sigma(sigma, k)")


@pooled_sigma.must("pooling by 1 changes nothing", "what is the mean of one pixel?")
def _(answer):
    return all(same(answer(sigma, 1), torch.tensor(sigma)) for sigma in (0.3, 1.0, 4.0))


@pooled_sigma.must("pooling by 2 and again by 2 is pooling by 4",
                   "each pooling multiplies the noise by the same factor: powers, not differences")
def _(answer):
    return all(same(answer(answer(s, 2), 2), torch.as_tensor(answer(s, 4))) for s in (0.3, 1.0, 4.0))


@pooled_sigma.must("the mean of more pixels is less noisy, never more",
                   "the factor is below 1: divide where you multiplied")
def _(answer):
    return answer(1.0, 2) < answer(1.0, 1) and answer(1.0, 8) < answer(1.0, 4)


@pooled_sigma.must("it is the spread of k x k pooled noise, measured",
                   "a block of k x k holds k^2 pixels, and a mean of n has a spread of sigma / sqrt(n)")
def _(answer):
    eps = torch.randn(64, 1, 64, 64)
    return all(same(answer(3.0, k), 3.0 * avg_pool2d(eps, k).std(), 0.03) for k in (2, 4, 8))


shifted_time = Exercise("The shifted clock", "shifted_time(t, side, base)")


def _logsnr(t):
    return -2 * (math.pi / 2 * t).tan().log()


def _times():
    return torch.linspace(0.02, 0.98, 49, dtype=torch.float64)


@shifted_time.must("an image of the base's own side keeps the cosine clock: logSNR = -2 log tan(pi t / 2)",
                   "t = 1/2 is logSNR 0; start from -2 log tan(pi t / 2) and add what the side changes")
def _(answer):
    return same(answer(_times(), 32, 32), _logsnr(_times()))


@shifted_time.must("a larger image has a lower logSNR at the same time",
                   "the sign: large images need more noise, so add 2 log(base / side), which is negative")
def _(answer):
    return bool((answer(_times(), 128, 32) < answer(_times(), 64, 32)).all())


@shifted_time.must("doubling the side lowers the logSNR by the same number of nats at every time",
                   "shift the logSNR itself: scaling the time, or the logSNR, moves some times more than others")
def _(answer):
    drop = answer(_times(), 64, 32) - answer(_times(), 32, 32)
    return bool((drop - drop[0]).abs().max() < 1e-4)


@shifted_time.must("twice the side is 2 log 2 nats lower",
                   "sigma doubles with the side, and the logSNR is -2 log sigma: natural logarithm, and its factor 2")
def _(answer):
    return same(answer(_times(), 64, 32), _logsnr(_times()) - 2 * math.log(2)) and same(
        answer(_times(), 96, 32), _logsnr(_times()) - 2 * math.log(3))


eps_weight = Exercise("The sigmoid weight, for eps", "eps_weight(logsnr, bias)")


def _lambdas():
    return torch.linspace(-12, 12, 49, dtype=torch.float64)


@eps_weight.must("it is positive, and one half where logSNR is the bias",
                 "a sigmoid is one half where its argument is 0; no factor in front is left over")
def _(answer):
    given = [torch.as_tensor(answer(torch.tensor(b, dtype=torch.float64), b)) for b in (-3.0, 0.0, 2.0)]
    return all(same(w, torch.tensor(0.5)) for w in given) and bool((answer(_lambdas(), 1.0) > 0).all())


@eps_weight.must("it falls as the image gets cleaner",
                 "in units of eps the clean side counts little: which of the two signs belongs to logsnr?")
def _(answer):
    return bool((answer(_lambdas(), -1.0).diff() < 0).all())


@eps_weight.must("both forms are one loss: weight * exp(logsnr) = exp(bias) sigmoid(logsnr - bias)",
                 "errors in eps are errors in x0 over sigma, squared: exp(logsnr) times as large. Divide by that")
def _(answer):
    for bias in (-3.0, 0.0, 2.0):
        wanted = math.exp(bias) * torch.sigmoid(_lambdas() - bias)
        got = torch.as_tensor(answer(_lambdas(), bias)) * _lambdas().exp()
        if got.shape == wanted.shape and not torch.allclose(got, wanted, rtol=1e-3, atol=0):
            raise Wrong(f"at bias {bias:g} the two differ by a factor of up to {float((got / wanted).max()):.3g}")
        same(got, wanted)
    return True


multiscale = Exercise("The multiscale loss", "multiscale(error, sides)")


def _error(n=3, side=16):
    return torch.randn(n, 1, side, side, dtype=torch.float64)


@multiscale.must("at the image's own side alone it is the mean squared error over the side",
                 "L of one side s is the mean of the squares, weighed by 1 / s")
def _(answer):
    error = _error()
    return same(answer(error, (16,)), error.square().mean() / 16)


@multiscale.must("an error that cancels within each 2 x 2 block is not seen at half the side",
                 "pool the error first and square then: the mean of squares sees everything at every size")
def _(answer):
    error = _error()
    error = error - avg_pool2d(error, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return same(answer(error, (8,)), torch.tensor(0.0))


@multiscale.must("several sides add up", "sum over the sides; not the mean, and not only the last")
def _(answer):
    error = _error()
    return same(answer(error, (4, 8, 16)), sum(torch.as_tensor(answer(error, (s,))) for s in (4, 8, 16)))


@multiscale.must("an error that is the same everywhere counts 1/4 + 1/8 + 1/16 at sides 4, 8 and 16",
                 "1 / s with s the side of the pooled image: the small sides weigh most")
def _(answer):
    return same(answer(torch.ones(2, 1, 16, 16, dtype=torch.float64), (4, 8, 16)), torch.tensor(0.4375))


EXERCISES = (pooled_sigma, shifted_time, eps_weight, multiscale)
