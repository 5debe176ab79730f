"""Exercises of notebook 02: a score network, v to eps, weights in eps, levels drawn evenly, the worst ratio.

Data N(0, d^2) have the denoiser x d^2 / (d^2 + sigma^2) and the score -x / (d^2 + sigma^2); the rest are identities.
"""

import torch

from ..diffusion import V, mixture, noise
from ..diffusion.denoise import gaussian_loss
from ..lab.exercises import Exercise, Wrong, same

F64 = torch.float64
LEVELS = torch.tensor([0.02, 0.3, 1.0, 3.0, 40.0], dtype=F64)


def _points(n=5, seed=1):
    return torch.randn(n, 2, dtype=F64, generator=torch.Generator().manual_seed(seed))


score_rule = Exercise("A network that predicts the score", "score_rule(sigma)")


def _four(answer, sigma=LEVELS):
    """skip, out, into, noise, each shaped like sigma."""
    given = tuple(answer(sigma))
    if len(given) != 4:
        raise Wrong(f"it gives {len(given)} things where four are wanted: skip, out, into, noise")
    given = [torch.as_tensor(part) for part in given]
    if any(part.shape != sigma.shape for part in given):
        raise Wrong(f"the shapes are {[tuple(part.shape) for part in given]} for sigma of shape {tuple(sigma.shape)}")
    return given


@score_rule.must("D = x where the score is zero: skip is 1 at every level",
                 "Tweedie: D = x + sigma^2 score. What stands before x there? A tensor of ones: torch.ones_like(sigma)")
def _(answer):
    return same(_four(answer)[0], torch.ones(5))


@score_rule.must("for data of variance 1 the network's input has variance 1",
                 "x = x0 + sigma eps has variance 1 + sigma^2: into divides by its root")
def _(answer):
    return same(_four(answer)[2] ** 2 * (1 + LEVELS**2), torch.ones(5))


@score_rule.must("the score points from x towards the data, and so does D - x: out is positive",
                 "mind the sign: eps points away from the data, the score towards them")
def _(answer):
    return bool((_four(answer)[1] > 0).all())


@score_rule.must("what the exact denoiser of a mixture asks of the network is the mixture's score",
                 "D = x + sigma^2 score: with out = sigma the network would predict -eps, one sigma short")
def _(answer):
    world, x = mixture.Mixture(_points(3, 2), 0.2), _points()
    for sigma in LEVELS:
        skip, out, _, _ = _four(answer, sigma)
        same((world(x, sigma) - skip * x) / out, world.score(x, sigma), 1e-6)
    return True


@score_rule.must("the network is told something that differs from level to level",
                 "noise is how the network learns the level, log(sigma) / 4 for example")
def _(answer):
    told = _four(answer)[3]
    return bool(told.isfinite().all()) and told.unique().numel() == 5


eps_from_v = Exercise("The noise from v", "eps_from_v(v, z, alpha_bar)")


def _turned(alpha_bar):
    """x0, eps, and the point z and target v that they make."""
    x0, eps = _points(seed=1), _points(seed=2)
    keep, lose = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    return x0, eps, keep * x0 + lose * eps, keep * eps - lose * x0


def _finds_eps(answer, alpha_bar):
    alpha_bar = torch.as_tensor(alpha_bar, dtype=F64)
    _, eps, z, v = _turned(alpha_bar)
    return same(answer(v, z, alpha_bar), eps, 1e-6)


@eps_from_v.must("without noise, alpha_bar = 1, v itself is eps",
                 "at alpha_bar = 1 the point z is x0, so only v knows eps: what must its factor be there?")
def _(answer):
    return _finds_eps(answer, 1.0)


@eps_from_v.must("in pure noise, alpha_bar = 0, the point z itself is eps",
                 "(z, v) is (x0, eps), rotated; you rotate on instead of back: look at the sign of z's part")
def _(answer):
    return _finds_eps(answer, 0.0)


@eps_from_v.must("at alpha_bar = 0.01, 0.5 and 0.99 it finds the eps that was drawn",
                 "the factors' squares sum to 1, as a cosine's and a sine's: roots of alpha_bar and of 1 - alpha_bar")
def _(answer):
    return all(_finds_eps(answer, alpha_bar) for alpha_bar in (0.01, 0.5, 0.99))


@eps_from_v.must("each row may have its own alpha_bar, (B, 1)", "use tensor operations only, such as alpha_bar.sqrt()")
def _(answer):
    return _finds_eps(answer, torch.linspace(0.1, 0.9, 5)[:, None])


weight_in_eps = Exercise("What a loss weighs in eps", "weight_in_eps(name, s)")


def _weighs(answer, name, want):
    return same(answer(name, LEVELS), want.expand(5))


@weight_in_eps.must("a network that predicts eps weighs an error in eps by 1, at every level",
                    "from the error in x0 to the error in eps, divide by s; so the weight is multiplied by s^2")
def _(answer):
    return _weighs(answer, "eps", torch.ones(5))


@weight_in_eps.must("one that predicts x0 weighs an error in eps by s^2",
                    "losses are squared errors, so factors of errors enter squared")
def _(answer):
    return _weighs(answer, "x0", LEVELS**2)


@weight_in_eps.must("for v it is 1 + s^2: the sum of the two before",
                    "1 + 1/s^2 is v's weight on an error in x0; on eps it is s^2 times that")
def _(answer):
    return _weighs(answer, "v", 1 + LEVELS**2)


@weight_in_eps.must("for flow it is (1 + s)^2", "F = eps - x0: an error e in eps is -s e in x0, and both are in F")
def _(answer):
    return _weighs(answer, "flow", (1 + LEVELS) ** 2)


even_levels = Exercise("Levels that share the loss evenly", "even_levels(n, spread)")


def _drawn(answer, spread, n=120_000):
    """logSNR of n drawn levels."""
    sigma = torch.as_tensor(answer(n, spread)).detach().to(F64)
    if sigma.shape != (n,) or not (sigma > 0).all():
        raise Wrong(f"it gives a tensor of shape {tuple(sigma.shape)}; wanted: ({n},) positive noise levels")
    return noise.logsnr_from_sigma(sigma)


def _shares(logsnr, spread=None):
    """Twelve shares of [-6, 6], of the draws or, with the data's spread, of v's loss; 1 is even."""
    weight = None if spread is None else gaussian_loss(noise.sigma_from_logsnr(logsnr), spread, V())
    found = torch.histogram(logsnr.cpu(), 12, range=(-6.0, 6.0), weight=weight)[0]
    return found / found.mean()


@even_levels.must("all levels lie at a logSNR between -6 and 6",
                  "sigma = exp(-logSNR / 2): from exp(-3), about 0.05, to exp(3), about 20")
def _(answer):
    return bool((_drawn(answer, 0.3).abs() < 6.01).all())


@even_levels.must("for data of spread 1 v's loss is 1 everywhere, so all logSNR are equally likely",
                  "even in sigma is not even in logSNR: draw the logarithm evenly, as noise.LogUniform does")
def _(answer):
    return same(_shares(_drawn(answer, 1.0)), torch.ones(12), 0.1)


@even_levels.must("for data of spread 0.3 the noisy half is not drawn less often than the clean half",
                  "the wrong way round: where the loss is small, draw more often. Divide by the loss")
def _(answer):
    return (_drawn(answer, 0.3) < 0).double().mean() > 0.48


@even_levels.must("for data of spread 0.3 twelve equal parts of [-6, 6] share v's loss evenly, to 12 %",
                  "v's loss goes from 1 where it is clean to spread^2 where it is noisy: draw in proportion to 1 / "
                  "denoise.gaussian_loss(sigma, spread, V())")
def _(answer):
    return same(_shares(_drawn(answer, 0.3), 0.3), torch.ones(12), 0.12)


worst_ratio = Exercise("A hypothesis: one parameterisation is never far from the best", "worst_ratio(error)")


def _errors():
    """Three parameterisations at four levels; the middle one is never the best and never bad."""
    return torch.tensor([[1.0, 2.0, 50.0, 300.0], [3.0, 4.0, 15.0, 2.0], [900.0, 40.0, 10.0, 1.0]], dtype=F64)


@worst_ratio.must("one number for each row, and 1 for a single row, which is its own best",
             "divide by the best, do not subtract it; the worst is taken over levels, the second axis")
def _(answer):
    same(torch.as_tensor(answer(_errors()[:1])), torch.ones(1))
    return torch.as_tensor(answer(_errors())).shape == (3,)


@worst_ratio.must("other units at one level (all errors there times 1000) change nothing",
             "compare at each level first, error / best of that level; only then look for the worst")
def _(answer):
    return same(answer(_errors() * torch.tensor([1.0, 1000.0, 1.0, 1e-3])), torch.as_tensor(answer(_errors())))


@worst_ratio.must("in an example it is 300, 3 and 900",
             "the hypothesis says *never*: the largest ratio counts, not the mean one")
def _(answer):
    return same(answer(_errors()), torch.tensor([300.0, 3.0, 900.0]))


EXERCISES = (score_rule, eps_from_v, weight_in_eps, even_levels, worst_ratio)
