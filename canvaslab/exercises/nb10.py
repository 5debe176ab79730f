"""Exercises of notebook 10: two points exactly, the paper's score, a threshold, a slope by differences."""

import torch

from ..diffusion import Mixture
from ..lab.exercises import Exercise, Wrong, same
from ..science import hallucinate as hal

F64 = torch.float64


def _randn(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


two_points = Exercise("The exact denoiser of two points", "two_points(x, sigma, gap)")


@two_points.must("the two modes are mirror images, so the answer is odd in x",
                 "measure x from the midpoint: at x = 0 both modes are as likely, and the mean of them is 0")
def _(answer):
    x = torch.linspace(-2, 2, 9, dtype=F64)
    return same(answer(-x, 0.8, 1.4), -torch.as_tensor(answer(x, 0.8, 1.4)))


@two_points.must("with little noise it says which mode: plus or minus half the gap",
                 "the modes lie at -gap / 2 and gap / 2: that is what x0_hat tends to, far from the midpoint")
def _(answer):
    x = torch.tensor([-1.0, -0.3, 0.2, 0.9], dtype=F64)
    return same(answer(x, 0.02, 1.4), 0.7 * x.sign())


@two_points.must("with much noise it says the mean of both: a jump is only there at low noise",
                 "sign(x) is the answer at sigma -> 0 only; the odds of the two modes depend smoothly on x / sigma^2")
def _(answer):
    return bool(torch.as_tensor(answer(torch.tensor([0.5, 1.0], dtype=F64), 5.0, 1.4)).abs().max() < 0.1)


@two_points.must("its slope at the midpoint is gap^2 / (4 sigma^2)",
                 "each squared distance is divided by 2 sigma^2; subtract the two, and tanh takes half of that")
def _(answer):
    h = 1e-4
    for sigma, gap in ((0.5, 1.0), (1.0, 3.0)):
        x = torch.tensor([-h, h], dtype=F64)
        low, high = torch.as_tensor(answer(x, sigma, gap)).unbind()
        same((high - low) / (2 * h), gap**2 / (4 * sigma**2))
    return True


@two_points.must("it equals the posterior mean of an equal mixture of two points, everywhere",
                 "E[x0 | x] is the odds-weighted mean of the two modes: gap / 2 times tanh of half the log-odds")
def _(answer):
    x = 2 * _randn(50)
    for sigma, gap in ((0.4, 1.0), (1.5, 2.5)):
        law = Mixture(torch.tensor([[-gap / 2], [gap / 2]], dtype=F64))
        same(answer(x, sigma, gap), law(x[:, None], sigma)[:, 0], 1e-5)
    return True


paper_variance = Exercise("The paper's score", "paper_variance(x0_hats, start, stop)")


@paper_variance.must("it gives one number a sample, (B,)",
                     "x0_hats is (T, B, D): the variance goes over time, axis 0, and then the mean over coordinates")
def _(answer):
    return same(torch.as_tensor(answer(_randn(20, 6, 3), 5, 15)).shape[0], 6) and torch.as_tensor(
        answer(_randn(20, 6, 3), 5, 15)).ndim == 1  # fmt: skip


@paper_variance.must("a prediction that never moves scores 0, wherever it stands",
                     "a sample is compared with itself over time, not with its neighbours: var over axis 0")
def _(answer):
    return same(answer(_randn(6, 3).expand(20, 6, 3), 5, 15), torch.zeros(6))


@paper_variance.must("data twice as large score four times as high",
                     "the paper takes the variance; its root, the standard deviation, only doubles")
def _(answer):
    hats = _randn(20, 6, 3)
    return same(answer(2 * hats, 5, 15), 4 * torch.as_tensor(answer(hats, 5, 15)))


@paper_variance.must("what happens outside start:stop does not count",
                     "cut the window first: x0_hats[start:stop]")
def _(answer):
    hats = _randn(20, 6, 3)
    loud = hats.clone()
    loud[:5], loud[15:] = 100.0, -100.0
    return same(answer(loud, 5, 15), answer(hats, 5, 15))


@paper_variance.must("it is the paper's formula, with one term fewer below than above",
                     "the sum of squares is divided by |T2 - T1|, one less than the number of steps; that is var(0)")
def _(answer):
    hats = _randn(20, 6, 3)
    return same(answer(hats, 5, 15), hal.trajectory_variance(hats, 5, 15))


cut = Exercise("A threshold that keeps 96 %", "cut(score, bad)")


def _scored(n=5000):
    bad = torch.arange(n) % 50 == 0
    return _randn(n) + 4 * bad, bad


@cut.must("96 % of the good samples score at or below it",
          "higher means more suspicious, so what is kept lies below: the 0.96 quantile, not the 0.04 one")
def _(answer):
    score, bad = _scored()
    kept = float((score[~bad] <= float(answer(score, bad))).double().mean())
    if abs(kept - 0.96) > 0.03:
        raise Wrong(f"it keeps {kept:.1%} of the good samples")
    return True


@cut.must("bad samples have no say: however large their scores, the threshold stays",
          "take the quantile of score[~bad], not of all: what the threshold keeps is counted among the good")
def _(answer):
    score, bad = _scored()
    bad = bad | (torch.arange(len(score)) % 50 == 1)
    worse = torch.where(bad, score + 100, score - 0)
    lower = torch.where(bad, score - 100, score - 0)
    return same(float(answer(worse, bad)), float(answer(lower, bad)))


@cut.must("scores on another scale give the same samples",
          "a quantile follows any increasing map; a mean plus some standard deviations does not")
def _(answer):
    score, bad = _scored()
    plain, bent = score <= float(answer(score, bad)), score.exp() <= float(answer(score.exp(), bad)) * (1 + 1e-9)
    return float((plain != bent).double().mean()) < 1e-3


slope2 = Exercise("The Jacobian without derivatives", "slope2(denoise, x, sigma)")


@slope2.must("a denoiser that ignores x has none: 0, one number a sample",
             "compare the answers a little to the right and to the left: the same answer means 0; sum over coordinates")
def _(answer):
    return same(answer(lambda x, sigma, cond=None: torch.ones_like(x), _randn(7, 3), 0.5), torch.zeros(7))


@slope2.must("the identity has 1 in any dimension",
             "divide by the whole distance between the two points, 2 h, and by the number of coordinates")
def _(answer):
    return all(same(answer(lambda x, sigma, cond=None: x, _randn(7, d), 0.5), torch.ones(7)) for d in (1, 2, 5))


@slope2.must("a map that mixes coordinates is measured whole: (x1, x2) -> (x1 - x2, x2 - x1) has 2",
             "nudge one coordinate at a time: along (1, ..., 1) these two cancel, and the score is blind")
def _(answer):
    return same(answer(lambda x, sigma, cond=None: x - x.flip(1), _randn(7, 2), 0.5), torch.full((7,), 2.0))


@slope2.must("for data N(0, d^2) it is (d^2 / (d^2 + sigma^2))^2",
             "square the slopes before you add them, and ask denoise at the sigma that was given")
def _(answer):
    for d, sigma in ((1.0, 0.5), (0.4, 1.0)):
        got = answer(lambda x, s, cond=None, d=d: x * d**2 / (d**2 + torch.as_tensor(s) ** 2), _randn(5, 3), sigma)
        same(got, torch.full((5,), (d**2 / (d**2 + sigma**2)) ** 2))
    return True


@slope2.must("on a mixture it agrees with the library's",
             "take a step well below sigma, or the difference is no slope: 0.01 sigma will do")
def _(answer):
    law, x = Mixture(torch.tensor([[0.0, 0.0], [1.0, 0.5]], dtype=F64), 0.1), _randn(30, 2, seed=4)
    return same(answer(law, x, 0.5), hal.jacobian(law, x, 0.5, step=1e-3), 0.02)


EXERCISES = (two_points, paper_variance, cut, slope2)
