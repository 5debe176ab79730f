"""Exercises of notebook 00: the noisy point, its names, the smallest denoiser, and what a claim needs."""

import math

import torch

from ..lab.exercises import Exercise, same

add_noise = Exercise("Add noise", "add_noise(x0, sigma, eps)")


@add_noise.must("with sigma = 0 nothing happens",
                "x0 stays whole, and sigma scales the noise: what is left when it is 0?")
def _(answer):
    x0, eps = torch.randn(2, 4, 3)
    return same(answer(x0, torch.zeros(4), eps), x0)


@add_noise.must("with x0 = 0 and sigma = 2 what is left is 2 eps",
                "sigma is a standard deviation: it multiplies eps as it is, neither squared nor under a root")
def _(answer):
    eps = torch.randn(4, 3)
    return same(answer(torch.zeros(4, 3), torch.full((4,), 2.0), eps), 2 * eps)


@add_noise.must("x0 keeps its size, however much noise comes on top",
                "this course adds noise and does not shrink the data (other papers do; notebook 02 translates)")
def _(answer):
    x0 = torch.randn(4, 3)
    return same(answer(x0, torch.full((4,), 0.8), torch.zeros(4, 3)), x0)


@add_noise.must("each image of a batch (B, C, H, W) gets its own sigma, (B,)",
                "give sigma one axis of length 1 for each axis that it lacks: sigma.view(-1, 1, 1, 1) for images; "
                "sigma.view(-1, *[1] * (x0.ndim - 1)) for everything")
def _(answer):
    x0, eps = torch.randn(2, 4, 1, 4, 4)
    sigma = torch.tensor([0.0, 0.5, 1.0, 3.0])
    return same(answer(x0, sigma, eps), x0 + torch.stack([s * e for s, e in zip(sigma, eps, strict=True)]))


clocks = Exercise("Two other names of a noise level", "clocks(sigma)")
SIGMAS = (0.01, 0.3, 1.0, 2.5, 40.0)


def _clocks(answer, sigma):
    alpha_bar, logsnr = answer(torch.tensor(sigma, dtype=torch.float64))
    return torch.as_tensor(alpha_bar), torch.as_tensor(logsnr)


@clocks.must("at sigma = 1 signal and noise are equal: alpha_bar = 1/2 and lambda = 0",
             "alpha_bar is the signal's share of the variance, lambda the logarithm of signal over noise")
def _(answer):
    alpha_bar, logsnr = _clocks(answer, 1.0)
    return same(alpha_bar, torch.tensor(0.5)) and same(logsnr, torch.tensor(0.0))


@clocks.must("twice the sigma is a quarter of the signal-to-noise ratio: lambda falls by 2 log 2",
             "the ratio is one of variances, 1 / sigma ** 2, and the logarithm is the natural one")
def _(answer):
    falls = [_clocks(answer, s)[1] - _clocks(answer, 2 * s)[1] for s in SIGMAS]
    return same(torch.stack(falls), torch.full((len(SIGMAS),), 2 * math.log(2)))


@clocks.must("alpha_bar / (1 - alpha_bar) is exp(lambda)",
             "for data of variance 1 the noisy point has variance 1 + sigma ** 2; which share of it is signal?")
def _(answer):
    for sigma in SIGMAS:
        alpha_bar, logsnr = _clocks(answer, sigma)
        same(alpha_bar, logsnr.sigmoid())
    return True


two_points = Exercise("The denoiser of the smallest data set", "two_points(x, sigma)")


@two_points.must("half-way between the points the guess is between them, and swapping left and right swaps the guess",
                 "where x came from either point with nearly equal chance, the mean is near 0 and not at one of "
                 "them: average, do not choose")
def _(answer):
    x, sigma = torch.tensor([[0.0], [0.05], [0.4]]), torch.tensor(0.7)
    there, mirrored = answer(x, sigma), answer(-x, sigma)
    return same(there[:1], torch.zeros(1, 1)) and same(mirrored, -there) and bool((there[1].abs() < 0.5).all())


@two_points.must("with a great deal of noise the best guess is the mean of the data, 0",
                 "from far away the two points are equally likely: their mean weighs both, and sigma must come "
                 "into it")
def _(answer):
    x = torch.tensor([[-2.0], [0.1], [3.0]])
    return same(answer(x, torch.tensor(1e5)), torch.zeros(3, 1))


@two_points.must("the odds of +1 against -1 are exp(2 x / sigma ** 2), from the two Gaussian densities",
                 "write the densities of x around +1 and around -1; in their ratio the squares cancel and "
                 "2 x / sigma ** 2 stays; the mean is P(+1) - P(-1)")
def _(answer):
    x = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)[:, None]
    for sigma in torch.tensor([0.6, 1.0, 2.0], dtype=torch.float64):
        odds = (2 * x / sigma**2).exp()
        same(answer(x, sigma), (odds - 1) / (odds + 1))
    return True


@two_points.must("with hardly any noise it stays finite and gives the nearer point",
                 "exp of a large number is infinite, and infinity over infinity is not a number: (a - b) / (a + b) of "
                 "two exponentials is a hyperbolic tangent, and torch has that")
def _(answer):
    return same(answer(torch.tensor([[0.9], [-1.1]]), torch.tensor(0.01)), torch.tensor([[1.0], [-1.0]]))


claim_holds = Exercise("What makes a claim hold", "claim_holds(measured, control, at_most)")


@claim_holds.must("a value above its bound does not hold", "at_most is the largest value that is accepted")
def _(answer):
    return bool(answer(0.5, 9.0, 1.0)) and bool(answer(1.0, 9.0, 1.0)) and not answer(2.0, 9.0, 1.0)


@claim_holds.must("a claim whose control meets the bound too shows nothing, so it does not hold",
                  "the control is measured where the claim is false: it must miss the bound")
def _(answer):
    return not answer(0.1, 0.5, 1.0) and not answer(0.5, 0.9, 1.0)


@claim_holds.must("a control exactly at the bound has met it",
                  "measured <= at_most counts as met, and so does control <= at_most: the control must lie above")
def _(answer):
    return not answer(0.1, 1.0, 1.0)


EXERCISES = (add_noise, clocks, two_points, claim_holds)
