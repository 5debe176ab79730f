"""Laws of the diffusion room: one clock, scalings, sampler orders, the exact mixture."""

import math
import pickle
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from canvaslab.diffusion import (
    EDM,
    X0,
    Denoiser,
    Eps,
    Flow,
    Mixture,
    SampleNoise,
    V,
    ancestral,
    denoising_loss,
    dpmpp_2m,
    euler,
    given,
    guided,
    heun,
    last,
    noise,
    sample,
)  # fmt: skip
from canvaslab.diffusion import denoise as denoise_room
from canvaslab.diffusion.denoise import DiscreteTime, gaussian_loss
from canvaslab.nets import MLP

F64 = torch.float64
LEVELS = noise.sigma_from_alpha_bar(noise.ddpm_alpha_bar())
SCALINGS = {"eps": Eps(), "x0": X0(), "v": V(), "flow": Flow(), "edm": EDM(0.5)}
STEPS = {"euler": lambda: euler, "heun": lambda: heun, "ancestral": ancestral, "dpmpp_2m": dpmpp_2m}


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def two_modes():
    return Mixture(torch.tensor([[-1.0, 0.2], [0.7, -0.4]], dtype=F64), 0.4, torch.tensor([0.3, 0.7]))


class ExactNet(nn.Module):
    """The network that a perfect training with these scalings would end in."""

    def __init__(self, exact, scalings):
        super().__init__()
        self.exact, self.scalings = exact, scalings

    def forward(self, scaled, told, cond=None):
        sigma = told / (1 - told) if isinstance(self.scalings, Flow) else (4 * told).exp()
        c = self.scalings(sigma[:, None])
        x = scaled / c.into
        return (self.exact(x, sigma) - c.skip * x) / c.out


# --- the clock ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", ["alpha_bar", "logsnr", "flow_time"])
def test_conversions_round_trip(clock):
    sigma = torch.logspace(-3, 3, 61, dtype=F64)
    there, back = getattr(noise, f"{clock}_from_sigma"), getattr(noise, f"sigma_from_{clock}")
    torch.testing.assert_close(back(there(sigma)), sigma, rtol=1e-9, atol=0)


def test_clocks_describe_the_same_point():
    """VP, VE and straight paths are one path up to scale: signal to noise is 1 / sigma^2 in each."""
    sigma = torch.logspace(-2, 2, 9, dtype=F64)
    ab, t, logsnr = noise.alpha_bar_from_sigma(sigma), noise.flow_time_from_sigma(sigma), noise.logsnr_from_sigma(sigma)
    for ratio in (ab / (1 - ab), ((1 - t) / t) ** 2, logsnr.exp()):
        torch.testing.assert_close(ratio, sigma**-2)


@pytest.mark.parametrize(
    "grid", [noise.karras(9), noise.geometric(9), noise.straight(9), noise.cosine(9), noise.straight(9, shift=3.0)]
)
def test_grids_decrease_to_zero_in_float64(grid):
    assert grid.dtype == F64 and len(grid) == 10 and grid[-1] == 0 and (grid.diff() < 0).all()


def test_grids_are_even_in_their_own_clock():
    for even in (noise.karras(9)[:-1] ** (1 / 7), noise.geometric(9)[:-1].log(), noise.cosine(9)[:-1].atan(),
                 noise.flow_time_from_sigma(noise.straight(9))):  # fmt: skip
        steps = even.diff()
        torch.testing.assert_close(steps, steps[:1].expand_as(steps))


def test_shift_lowers_logsnr_and_moves_flow_time():
    grid, factor = noise.straight(8), 3.0
    moved = noise.shifted(grid, factor)
    change = noise.logsnr_from_sigma(moved[:-1]) - noise.logsnr_from_sigma(grid[:-1])
    torch.testing.assert_close(change, torch.full_like(change, -2 * math.log(factor)))
    t = noise.flow_time_from_sigma(grid)
    torch.testing.assert_close(noise.flow_time_from_sigma(moved), factor * t / (1 + (factor - 1) * t))


def test_ddpm_grid_starts_where_training_ended():
    levels = noise.sigma_from_alpha_bar(noise.ddpm_alpha_bar())
    grid = noise.trailing(levels, 10)
    assert grid[0] == levels[-1] and torch.equal(noise.trailing(levels, 1000)[:-1], levels.flip(0))
    steps = torch.arange(999, 0, -100, dtype=F64)
    torch.testing.assert_close(DiscreteTime(levels)(grid[:-1]), steps, rtol=0, atol=1e-6)


@pytest.mark.parametrize("law", [noise.LogNormal(-1.0, 1.2), noise.LogUniform(), noise.LogitNormal(), noise.Cosine(),
                                 noise.UniformFlow()])  # fmt: skip
def test_stratified_laws_are_the_plain_law_with_less_spread(law):
    plain = type(law)(**{**law.__dict__, "stratified": False})
    g = torch.Generator().manual_seed(0)
    exact = plain(200_000, generator=g, dtype=F64).log()
    means = torch.stack([law(64, generator=g, dtype=F64).log().mean() for _ in range(50)])
    rough = torch.stack([plain(64, generator=g, dtype=F64).log().mean() for _ in range(50)])
    assert abs(means.mean() - exact.mean()) < 4 * exact.std() / 64**0.5 / 50**0.5
    assert means.std() < rough.std() / 2
    assert abs(torch.cat([law(64, generator=g, dtype=F64).log() for _ in range(50)]).std() / exact.std() - 1) < 0.05


def test_laws_know_their_formula():
    u = noise.LogNormal(-1.0, 1.2)(4000, dtype=F64, generator=torch.Generator().manual_seed(1)).log()
    assert abs(u.mean() + 1.0) < 0.01 and abs(u.std() - 1.2) < 0.01
    levels = torch.tensor([1.0, 2.0, 4.0])
    drawn = noise.Discrete(levels)(3000, generator=torch.Generator().manual_seed(0))
    assert all(900 < (drawn == level).sum() < 1100 for level in levels)


@pytest.mark.parametrize("make", [lambda: noise.karras(0), lambda: noise.geometric(3, lo=5, hi=1),
                                  lambda: noise.straight(3, t_max=1.0), lambda: noise.shifted(noise.karras(3), 0),
                                  lambda: noise.trailing(torch.ones(3).cumsum(0), 4),
                                  lambda: noise.trailing(torch.tensor([3.0, 2.0, 1.0]), 2)])  # fmt: skip
def test_impossible_grids_are_refused(make):
    with pytest.raises(ValueError, match="got|cannot|must"):
        make()


# --- scalings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eps", "x0", "v", "flow"])
def test_the_network_learns_each_papers_own_target(name):
    x0, eps, s = randn(5, 2), randn(5, 2, seed=1), randn(5, 1, seed=2).exp()
    c = SCALINGS[name](s)
    alpha, beta = (1 + s**2).rsqrt(), s * (1 + s**2).rsqrt()
    want = {"eps": eps, "x0": x0, "v": alpha * eps - beta * x0, "flow": eps - x0}[name]
    torch.testing.assert_close((x0 - c.skip * (x0 + s * eps)) / c.out, want)


@pytest.mark.parametrize("name", SCALINGS)
def test_the_loss_is_each_papers_own(name):
    """Ours in network space against the textbook formula, written with the paper's own point and weight."""
    net = nn.Linear(3, 2).double()

    def told(scaled, n):
        return net(torch.cat([scaled, n[:, None]], 1))

    model = Denoiser(ExactNet(None, None), SCALINGS[name])
    model.net.forward = lambda scaled, n, cond=None: told(scaled, n)
    x0, eps, s = randn(6, 2), randn(6, 2, seed=1), randn(6, 1, seed=2).exp()
    alpha, beta, t, n = (1 + s**2).rsqrt(), s * (1 + s**2).rsqrt(), s / (1 + s), (s.log() / 4)[:, 0]
    vp = alpha * x0 + beta * eps
    if name == "edm":  # Karras et al. 2022, eq. 8 with table 1
        r = (s**2 + 0.25).sqrt()
        d = 0.25 / r**2 * (x0 + s * eps) + s * 0.5 / r * told((x0 + s * eps) / r, n)
        want = (s**2 + 0.25) / (s * 0.5) ** 2 * (d - x0) ** 2
    elif name == "flow":
        want = (told((1 - t) * x0 + t * eps, t[:, 0]) - (eps - x0)) ** 2
    else:
        want = (told(vp, n) - {"eps": eps, "x0": x0, "v": alpha * eps - beta * x0}[name]) ** 2
    torch.testing.assert_close(denoising_loss(model, x0, s[:, 0], SCALINGS[name], eps=eps), want.mean(1))


def test_edm_input_and_target_have_unit_variance():
    x0, eps = 0.5 * randn(200_000, 1), randn(200_000, 1, seed=1)
    for s in torch.tensor([0.05, 0.5, 5.0], dtype=F64):
        c = EDM(0.5)(s)
        x = x0 + s * eps
        assert abs((c.into * x).std() - 1) < 0.01 and abs(((x0 - c.skip * x) / c.out).std() - 1) < 0.01


@pytest.mark.parametrize("name", SCALINGS)
def test_loss_of_the_exact_gaussian_denoiser(name):
    exact = Mixture(torch.zeros(1, 1, dtype=F64), 0.5)
    sigma = torch.tensor([0.1, 0.7, 3.0], dtype=F64)
    x0 = exact.draw(300_000, torch.Generator().manual_seed(0))
    eps = randn(*x0.shape)
    seen = torch.stack([denoising_loss(exact, x0, s, SCALINGS[name], eps=eps).mean() for s in sigma])
    torch.testing.assert_close(seen, gaussian_loss(sigma, 0.5, SCALINGS[name]), rtol=0.02, atol=0)


def test_denoisers_pickle_and_reject_odd_sigmas():
    model = Denoiser(nn.Identity(), EDM(0.3))
    assert pickle.loads(pickle.dumps(model)).scalings == EDM(0.3)
    with pytest.raises(ValueError, match=r"accepted: \(\) or \(4,\)"):
        model(torch.zeros(4, 2), torch.ones(3))


# --- samplers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("step, order", [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_order_of_convergence(name, step, order):
    """The error at fixed end points falls as steps^-order, for every parameterisation of the same denoiser."""
    denoise = Denoiser(ExactNet(two_modes(), SCALINGS[name]), SCALINGS[name])
    x = 10 * randn(64, 2)

    def end(n, make):
        return last(sample(denoise, x, noise.geometric(n, 0.01, 10.0)[:-1], make()))

    truth = end(1200, lambda: heun)
    errors = [(end(n, STEPS[step]) - truth).norm().item() for n in (41, 81, 161)]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert abs(slopes[-1] - order) < 0.25, (errors, slopes)


@pytest.mark.parametrize("step", STEPS)
def test_one_step_to_zero_returns_the_prediction(step):
    (y, x0), = sample(two_modes(), 3 * randn(4, 2), torch.tensor([3.0, 0.0]), STEPS[step]())
    assert torch.equal(y, x0) and y.isfinite().all()


@pytest.mark.parametrize("step", STEPS)
def test_a_gaussian_is_carried_to_its_own_distribution(step):
    """Against the closed form: from N(0, s^2 + d^2) the samplers must end at N(0, d^2)."""
    torch.manual_seed(0)
    exact = Mixture(torch.zeros(1, 1, dtype=F64), 0.5)
    x = (10**2 + 0.5**2) ** 0.5 * randn(40_000, 1)
    out = last(sample(exact, x, noise.geometric(200, 0.002, 10.0), STEPS[step]()))
    assert abs(out.std() / 0.5 - 1) < (0.03 if step == "euler" else 0.02)


def test_eta_zero_is_euler_and_flow_euler_is_ddim():
    x, grid = 10 * randn(8, 2), noise.karras(7, 0.01, 10.0)
    assert torch.equal(last(sample(two_modes(), x, grid, ancestral(0.0))), last(sample(two_modes(), x, grid)))
    net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2)).double()
    velocity = lambda z, t, cond=None: net(torch.cat([z, t[:, None]], 1))  # noqa: E731
    model = Denoiser(nn.Identity(), Flow())
    model.net.forward = velocity
    t = torch.linspace(0.999, 0, 21, dtype=F64)
    z = start = randn(4, 2)
    with torch.no_grad():
        for a, b in pairwise(t):
            z = z + (b - a) * velocity(z, a.expand(4))
    torch.testing.assert_close(last(sample(model, start / (1 - 0.999), noise.straight(20))), z, rtol=0, atol=1e-9)


@pytest.mark.parametrize("step", STEPS)
def test_batch_size_does_not_change_a_sample(step):
    def run(seeds):
        stream = SampleNoise(seeds)
        x = 10 * stream.start((2,), F64)
        make = (lambda: ancestral(1.0, stream)) if step == "ancestral" else STEPS[step]
        return last(sample(two_modes(), x, noise.karras(9, 0.01, 10.0), make()))

    torch.testing.assert_close(torch.cat([run([0, 1, 2]), run([3])]), run([0, 1, 2, 3]), rtol=1e-12, atol=1e-12)


def test_sample_is_lazy_and_leaks_no_grad_mode():
    calls = []
    steps = sample(lambda x, s: calls.append(s) or torch.zeros_like(x), randn(2, 2), noise.karras(4))
    assert not calls
    next(steps)
    assert torch.is_grad_enabled() and len(calls) == 1


@pytest.mark.parametrize("grid", [torch.tensor([1.0]), torch.tensor([1.0, 2.0]), torch.tensor([1.0, -1.0])])
def test_wrong_grids_are_refused(grid):
    with pytest.raises(ValueError, match="decrease to >= 0"):
        last(sample(two_modes(), randn(2, 2), grid))


def test_used_up_trajectories_and_wrong_eta_and_seeds():
    steps = sample(two_modes(), randn(2, 2), noise.karras(3))
    last(steps)
    with pytest.raises(ValueError, match="used up"):
        last(steps)
    with pytest.raises(ValueError, match="eta must lie"):
        ancestral(1.5)
    with pytest.raises(ValueError, match="3 samples, but there are 2 seeds"):
        SampleNoise([0, 1])(torch.zeros(3, 2))


# --- guidance ----------------------------------------------------------------------------------------------------


def test_guidance_in_closed_form():
    weak, strong = Mixture(torch.zeros(1, 2, dtype=F64), 0.5), Mixture(torch.zeros(1, 2, dtype=F64), 0.2)
    x, s = randn(4, 2), torch.tensor(0.7, dtype=F64)
    gain = [d**2 / (d**2 + 0.49) for d in (0.5, 0.2)]
    torch.testing.assert_close(guided(weak, strong, 3.0)(x, s), (gain[0] + 3 * (gain[1] - gain[0])) * x)
    assert guided(weak, strong, 1) is strong


def test_a_condition_restricts_the_mixture():
    means = torch.tensor([[-1.0], [0.0], [2.0]], dtype=F64)
    mix = Mixture(means, 0.1, torch.tensor([1.0, 2.0, 3.0]), labels=torch.tensor([0, 0, 1]))
    x, s = randn(6, 1), torch.tensor(0.8, dtype=F64)
    torch.testing.assert_close(given(mix, torch.full((6,), 1))(x, s), Mixture(means[2:], 0.1)(x, s))
    torch.testing.assert_close(given(mix, torch.full((6,), -1))(x, s), mix(x, s))
    with pytest.raises(ValueError, match="no labels"):
        two_modes()(randn(1, 2), 1.0, torch.tensor([0]))


def test_guided_denoisers_keep_the_contract():
    mix = Mixture(torch.tensor([[-1.0], [2.0]], dtype=F64), 0.1, labels=torch.tensor([0, 1]))
    x0, sigma = randn(6, 1), torch.full((6,), 0.8, dtype=F64)
    both = guided(given(mix, torch.full((6,), -1)), given(mix, torch.zeros(6)), 2.0)
    assert denoising_loss(both, x0, sigma, EDM()).isfinite().all()
    for filled in (both, given(mix, torch.zeros(6))):
        with pytest.raises(ValueError, match="filled in"):
            filled(x0, sigma, torch.zeros(6))
    with pytest.raises(ValueError, match=r"accepted: \[0, 1\]"):
        mix(x0, sigma, torch.full((6,), 2))


def test_a_step_maker_without_brackets_and_a_reused_one():
    x, grid = 10 * randn(8, 2), noise.karras(6, 0.01, 10.0)
    with pytest.raises(ValueError, match=r"dpmpp_2m\(\)"):
        last(sample(two_modes(), x, grid, dpmpp_2m))
    step = dpmpp_2m()
    assert torch.equal(last(sample(two_modes(), x, grid, step)), last(sample(two_modes(), x, grid, step)))


def test_a_mixture_moves_with_all_it_has():
    mix = Mixture(torch.tensor([[-1.0], [2.0]]), 0.1, torch.tensor([1.0, 1e-30]), labels=torch.tensor([0, 1]))
    there = mix.to(F64)
    x, cond = randn(5, 1), torch.ones(5)
    assert there.means.dtype == there.std.dtype == there.logw.dtype == F64 and mix.means.dtype == torch.float32
    torch.testing.assert_close(there(x, 0.5, cond), Mixture(there.means[1:], 0.1)(x, 0.5), rtol=1e-6, atol=1e-6)
    assert torch.equal(mix.to("cpu")(x.float(), 0.5), mix(x.float(), 0.5))


HALVES = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", STEPS)
def test_half_precision_visits_the_levels_of_the_grid_and_ends_near_float32(name, dtype):
    """A thousand levels lie closer together than half precision tells apart."""
    mixture, asked = two_modes().to(torch.float32), []

    def halved(x, sigma):
        assert x.dtype == dtype
        asked.append(sigma)
        return mixture(x.float(), sigma).to(dtype)

    grid = noise.geometric(1000, 0.5, 1.0)
    assert grid[:-1].to(dtype).unique().numel() < 1000
    start = randn(64, 2).to(dtype)
    torch.manual_seed(0)
    ends = last(sample(halved, start, grid, STEPS[name]()))
    torch.testing.assert_close(torch.stack(asked).unique().flip(0), grid[:-1].float())
    torch.manual_seed(0)
    exact = last(sample(mixture, start.float(), grid, STEPS[name]()))
    assert ends.dtype == dtype and ((ends.float() - exact).abs() < 0.05).all()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rule", [EDM(0.5, DiscreteTime(LEVELS)), EDM(0.5)], ids=["discrete", "edm"])
def test_a_network_in_half_precision_is_told_the_noise_exactly_and_costs_no_overflow(rule, dtype):
    told = []

    def net(x, noise, cond):
        told.append(noise)
        assert x.dtype == dtype
        return x

    x = randn(len(LEVELS), 2).to(dtype)
    out = Denoiser(net, rule)(x, LEVELS)
    exact = rule(LEVELS)
    torch.testing.assert_close(told[0].double(), exact.noise, rtol=1e-4, atol=0.05)
    want = exact.skip[:, None] * x.double() + exact.out[:, None] * (exact.into[:, None] * x.double())
    assert out.dtype == dtype and out.isfinite().all()
    torch.testing.assert_close(out.double(), want, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_net_in_half_precision_runs_and_agrees_with_float32(dtype):
    torch.manual_seed(0)
    net = MLP(2, 32)
    nn.init.normal_(net.head.weight, std=0.1)
    exact, half = Denoiser(net), Denoiser(deepcopy(net).to(dtype))
    x, sigma = randn(16, 2).float(), torch.logspace(-2, 2, 16)
    torch.testing.assert_close(half(x.to(dtype), sigma).float(), exact(x, sigma), rtol=0.05, atol=0.05)


def test_discrete_time_without_float64_finds_every_level(monkeypatch):
    """Apple's mps has no float64: the table is made on the CPU and compared in float32."""
    dtypes = [denoise_room.widest(torch.device(name)) for name in ("mps", "cpu", "cuda")]
    assert dtypes == [torch.float32, F64, F64]
    monkeypatch.setattr(denoise_room, "widest", lambda device: torch.float32)
    index = DiscreteTime(LEVELS)(LEVELS.float())
    torch.testing.assert_close(index, torch.arange(1000.0), rtol=0, atol=0.02)
    assert (index.diff() > 0).all()


def test_logit_normal_time_is_a_normal_logit_of_flow_time():
    """Its definition, Esser et al. 2024, by inverting the clock."""
    t = noise.flow_time_from_sigma(noise.LogitNormal(-0.4, 0.7)(20_000, dtype=F64))
    logit = t.logit()
    assert abs(logit.mean() + 0.4) < 0.01 and abs(logit.std() - 0.7) < 0.01
    plain = noise.LogitNormal()
    assert (plain.mean, plain.std) == (0.0, 1.0)


@pytest.mark.parametrize("law, quantile", [
    (noise.LogUniform(0.01, 100.0), lambda u: 0.01 * 1e4**u),
    (noise.LogitNormal(0.5, 2.0), lambda u: (0.5 + 2 * torch.special.ndtri(u)).exp()),
    (noise.Cosine(0.01, 50.0), lambda u: (math.atan(0.01) + u * (math.atan(50.0) - math.atan(0.01))).tan()),
    (noise.UniformFlow(0.9), lambda u: 0.9 * u / (1 - 0.9 * u)),
])  # fmt: skip
def test_laws_have_the_quantiles_of_their_formula(law, quantile):
    drawn = law(20_000, dtype=F64, generator=torch.Generator().manual_seed(0)).sort().values
    at = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=F64)
    torch.testing.assert_close(drawn[(at * 20_000).long()], quantile(at), rtol=2e-3, atol=0)


# --- the exact mixture -------------------------------------------------------------------------------------------


def test_mixture_density_agrees_with_torch_distributions():
    means, std, w = randn(5, 3), randn(5, seed=3).exp() / 3, randn(5, seed=4).exp()
    ours, x = Mixture(means, std, w), 2 * randn(40, 3, seed=5)
    for sigma in (0.0, 0.5):
        scale = (std**2 + sigma**2).sqrt()[:, None].expand(5, 3)
        torchs = MixtureSameFamily(Categorical(w), Independent(Normal(means, scale), 1))
        torch.testing.assert_close(ours.log_prob(x, sigma), torchs.log_prob(x))


def test_score_is_the_gradient_of_the_log_density_and_tweedie_holds():
    mix = Mixture(randn(5, 3), randn(5, seed=3).exp() / 3, randn(5, seed=4).exp())
    x = (2 * randn(40, 3, seed=5)).requires_grad_()
    for sigma in (0.05, 0.5, 5.0):
        grad, = torch.autograd.grad(mix.log_prob(x, sigma).sum(), x)
        torch.testing.assert_close(mix.score(x, sigma), grad, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(x + sigma**2 * grad, mix(x, sigma), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("std", [0.0, 0.05])
def test_finite_at_a_hundred_standard_deviations(dtype, std):
    mix = Mixture(torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=dtype), std)
    x = torch.tensor([[30.0, 0.0], [-100.0, 70.0], [0.5, 0.0]], dtype=dtype)
    for sigma in (0.01, 0.1, 80.0):
        for value in (mix(x, sigma), mix.score(x, sigma), mix.log_prob(x, sigma)):
            assert value.isfinite().all()
    torch.testing.assert_close(mix(x[:1], 0.01)[0, 0], torch.tensor(1 + 29 * std**2 / (std**2 + 1e-4), dtype=dtype))


def test_the_ideal_denoiser_of_a_data_set_recalls_it():
    images = randn(20, 1, 4, 4)
    ideal = Mixture(images, 0.0)
    out = last(sample(ideal, 80 * randn(30, 1, 4, 4, seed=1), noise.karras(40)))
    nearest = torch.cdist(out.flatten(1), images.flatten(1)).amin(1)
    assert nearest.max() < 1e-6


def test_draws_have_the_mixtures_moments():
    mix = two_modes()
    x = mix.draw(200_000, torch.Generator().manual_seed(0))
    w = torch.tensor([0.3, 0.7], dtype=F64)
    mean = w @ mix.means
    cov = 0.16 * torch.eye(2, dtype=F64) + (mix.means - mean).T @ torch.diag(w) @ (mix.means - mean)
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.01)
    torch.testing.assert_close(x.T.cov(), cov, rtol=0, atol=0.02)


@pytest.mark.parametrize("make", [lambda: Mixture(torch.zeros(3)), lambda: Mixture(torch.zeros(2, 1), -1.0),
                                  lambda: Mixture(torch.zeros(2, 1), 1.0, torch.tensor([1.0, 0.0])),
                                  lambda: Mixture(torch.zeros(2, 1), 1.0, labels=torch.zeros(3)),
                                  lambda: two_modes()(randn(4, 3), 1.0)])  # fmt: skip
def test_impossible_mixtures_are_refused(make):
    with pytest.raises(ValueError, match="accepted|must be|lives on"):
        make()
