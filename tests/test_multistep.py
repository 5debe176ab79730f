"""Linear multistep samplers: textbook weights, order with exact and with own start values, stability limits."""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch

from canvaslab.diffusion import Mixture, adams_bashforth, dpmpp_2m, euler, ghvb, last, noise, sample, unipc
from canvaslab.diffusion.multistep import adams_weights, blended_weights, exponential_weights

F64 = torch.float64


def linear(rate):
    """The denoiser whose ODE is dx/dsigma = rate * x."""
    return lambda x, sigma: x - sigma * rate * x


def run(order, beta, n, exact, rate=1.3):
    """Error at sigma = 1 of n even steps from sigma = 2 on x' = rate x, after ``exact`` steps on the exact solution."""
    grid = torch.arange(n + exact, -1, -1, dtype=F64) / n + 1
    def truth(s):
        return torch.exp(rate * (s - 1))[None, None]
    step, x = ghvb(order, beta), truth(grid[0])
    for i, (s, t) in enumerate(pairwise(grid)):
        x, _ = step(linear(rate), truth(s) if i <= exact else x, s, t)
    return abs(x.item() - 1.0)


def order_seen(order, beta, n, exact):
    return math.log2(run(order, beta, n, exact(n)) / run(order, beta, 2 * n, exact(2 * n)))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("beta", [1.0, 0.8, 0.5])
def test_order_with_exact_start_values(order, beta):
    """Momentum keeps the order. It forgets its start as (1 - beta)^n, so it is given n exact values to settle."""
    assert abs(order_seen(order, beta, 80, exact=lambda n: n) - order) < 0.15


@pytest.mark.parametrize("order, seen", [(1, 1), (2, 2), (3, 2), (4, 2)])
def test_an_euler_start_caps_the_order_at_two(order, seen):
    assert abs(order_seen(order, 1.0, 160, exact=lambda n: 0) - seen) < 0.1


@pytest.mark.parametrize("n, weights", [(1, [1]), (2, [3 / 2, -1 / 2]), (3, [23 / 12, -16 / 12, 5 / 12]),
                                        (4, [55 / 24, -59 / 24, 37 / 24, -9 / 24])])  # fmt: skip
def test_weights_are_the_textbooks_on_even_grids(n, weights):
    levels = [torch.tensor(5.0 + i, dtype=F64) for i in range(n)]
    torch.testing.assert_close(torch.tensor(adams_weights(levels, torch.tensor(4.0))), torch.tensor(weights).float())


def test_weights_integrate_polynomials_exactly_on_uneven_grids():
    levels = [torch.tensor(v, dtype=F64) for v in (3.0, 4.1, 7.0, 7.5)]
    t = torch.tensor(2.2, dtype=F64)
    w = adams_weights(levels, t)
    for degree in range(4):
        got = (t - levels[0]) * sum(a * s**degree for a, s in zip(w, levels, strict=True))
        torch.testing.assert_close(got, (t ** (degree + 1) - levels[0] ** (degree + 1)) / (degree + 1))


def papers_coefficients(k, b):
    """M_k of the paper, over beta, newest velocity first."""
    rows = {
        1: [b],
        2: [(2 + b) / 2, -(2 - b) / 2],
        3: [(18 + 5 * b) / 12, -(24 - 8 * b) / 12, (6 - b) / 12],
        4: [(46 + 9 * b) / 24, -(78 - 19 * b) / 24, (42 - 5 * b) / 24, -(10 - b) / 24],
    }
    return [c / b for c in rows[k]]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("beta", [1.0, 0.8, 0.5, 0.2])
def test_even_steps_are_the_papers_formula(order, beta):
    grid, x0 = torch.arange(9, 0, -1, dtype=F64), torch.tensor([[0.3, -1.0]], dtype=F64)
    def denoise(x, s):
        return torch.tanh(x) + 0.1 * s
    ours = [x for x, _ in sample(denoise, x0, grid, ghvb(order, beta))]
    x, v = x0, []
    for n, (s, t) in enumerate(pairwise(grid)):
        slope = (x - denoise(x, s)) / s
        v.insert(0, slope if n == 0 else (1 - beta) * v[0] + beta * slope)
        c = papers_coefficients(min(order, n + 1), beta)
        x = x + (t - s) * sum(a * b for a, b in zip(c, v, strict=False))
        torch.testing.assert_close(ours[n], x)


def limit(order, beta):
    """The largest -h lambda up to which 1500 steps of x' = lambda x do not grow; every candidate is a sample."""
    rates = torch.arange(0.02, 4, 0.02, dtype=F64)[:, None]
    grid = torch.arange(1501, 0, -1, dtype=F64)  # h = -1
    sizes = torch.stack([x.abs() for x, _ in sample(linear(rates), torch.ones_like(rates), grid, ghvb(order, beta))])
    stable = sizes[-40:].amax(0) <= sizes[:40].amax(0)
    return rates[stable.cumprod(0).bool()].max().item()


@pytest.mark.parametrize("order, beta, papers", [(1, 1.0, 2.0), (2, 1.0, 1.0), (2, 0.8, 1.2), (2, 0.5, 1.5),
                                                 (4, 1.0, 0.30), (4, 0.8, 0.35), (4, 0.5, 0.40)])  # fmt: skip
def test_stability_limits(order, beta, papers):
    assert abs(limit(order, beta) - papers) < 0.05


@pytest.mark.parametrize("order", [2, 3, 4])
def test_less_beta_is_more_stable(order):
    limits = [limit(order, beta) for beta in (1.0, 0.8, 0.5, 0.2)]
    assert all(b > a for a, b in pairwise(limits)), limits


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_step_to_zero_and_a_short_grid(order):
    mix = Mixture(torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=F64), 0.1)
    x = 3 * torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    ((y, x0),) = sample(mix, x, torch.tensor([3.0, 0.0]), ghvb(order, 0.7))
    assert torch.equal(y, x0)
    assert last(sample(mix, x, noise.karras(12, 0.01, 3.0), adams_bashforth(order))).isfinite().all()


@pytest.mark.parametrize("order, beta", [(0, 1.0), (5, 1.0), (2, 0.0), (2, 1.1)])
def test_unknown_orders_and_betas_are_refused(order, beta):
    with pytest.raises(ValueError, match="ghvb needs order"):
        ghvb(order, beta)


def test_exponential_weights_integrate_polynomials_of_log_sigma_exactly():
    """Against numerical quadrature: x(t) = t/s x(s) + t * integral from t to s of f(log u) / u^2 du."""
    from scipy.integrate import quad

    levels = [torch.tensor(v, dtype=F64) for v in (1.1, 1.9, 2.4, 5.0)]
    t = torch.tensor(0.4, dtype=F64)
    for degree in range(4):
        w = exponential_weights(levels, levels[0], t)
        got = sum(a * float(s.log()) ** degree for a, s in zip(w, levels, strict=True))
        want = 0.4 * quad(lambda u, d=degree: math.log(u) ** d / u**2, 0.4, 1.1, epsabs=1e-12)[0]
        assert abs(got - want) < 1e-9


def walk(step, n):
    """n geometric steps on three Gaussians, from sigma = 10 to .1."""
    means = torch.tensor([[0.0, 1], [1, -0.5], [-1, -0.5]], dtype=F64)
    start = 10 * torch.randn(40, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    return last(sample(Mixture(means, 0.3), start, torch.logspace(1, -1, n + 1, dtype=F64), step))


@cache
def exact_end():
    return walk(unipc(4, correct=False), 1500)


def far_from_exact(step, n):
    return (walk(step(), n) - exact_end()).square().mean().sqrt().item()


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("correct", [False, True])
def test_unipc_has_its_order_and_the_corrector_one_more(order, correct):
    """The first step is of first order (second with the corrector) and by itself caps what is seen at one more."""
    errors = [far_from_exact(lambda: unipc(order, correct), n) for n in (40, 80)]
    assert math.log2(errors[0] / errors[1]) > min(order + correct, 3) - 0.3


def test_the_blend_has_order_3():
    errors = [far_from_exact(lambda: unipc(blend=True), n) for n in (40, 80)]
    assert math.log2(errors[0] / errors[1]) > 2.7


def test_the_blend_of_two_guesses_lies_between_dpmpp_2m_and_the_polynomial():
    levels, t = list(torch.tensor([1.0, 1.6], dtype=F64)), torch.tensor(0.7, dtype=F64)
    mixed, exact = blended_weights(levels, levels[0], t), exponential_weights(levels, levels[0], t)
    x, older, newer = torch.randn(3, 4, dtype=F64)
    solver, guesses = dpmpp_2m(), iter((older, newer))
    solver(lambda x, sigma: next(guesses), x, levels[1], levels[0])
    theirs, _ = solver(lambda x, sigma: next(guesses), x, levels[0], t)
    ours = t * x + exact[0] * newer + exact[1] * older
    assert torch.allclose(t * x + mixed[0] * newer + mixed[1] * older, (theirs + ours) / 2)


def test_one_guess_is_euler_and_two_are_near_dpmpp_2m():
    assert far_from_exact(lambda: unipc(1, False), 20) == pytest.approx(far_from_exact(lambda: euler, 20), rel=1e-6)
    assert far_from_exact(lambda: unipc(2, False), 40) == pytest.approx(far_from_exact(dpmpp_2m, 40), rel=0.2)
    assert far_from_exact(unipc, 40) < 0.3 * far_from_exact(dpmpp_2m, 40)


def test_unipc_ends_on_the_guess_and_forgets_another_trajectory():
    x, grid = torch.randn(5, 2, dtype=F64), noise.karras(6, 0.1, 10)
    cloud = Mixture(torch.eye(2, dtype=F64), 0.2)
    step = unipc(3)
    first, again = (last(sample(cloud, x, grid, step)) for _ in range(2))
    assert torch.equal(first, again)
    (end,) = sample(cloud, x, torch.tensor([2.0, 0.0], dtype=F64), unipc())
    assert torch.equal(*end)
    with pytest.raises(ValueError, match="got order=4, correct=True"):
        unipc(4)
    with pytest.raises(ValueError, match="blend goes with order=2"):
        unipc(3, blend=True)
