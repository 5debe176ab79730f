"""Agreement with diffusers' schedulers, on the same network and the same noises, in both precisions."""

import pytest
import torch
from torch import nn

from canvaslab.diffusion import EDM, X0, Denoiser, Eps, V, ancestral, dpmpp_2m, euler, heun, noise, sample
from canvaslab.diffusion.denoise import DiscreteTime

diffusers = pytest.importorskip("diffusers")
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3}
STEPS, SHAPE = 8, (2, 1, 8, 8)


class Net(nn.Module):
    """A small smooth convolutional network of a point and a time."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.into, self.out = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 1, 3, padding=1)
        self.time = nn.Linear(2, 16)

    def forward(self, x, t, cond=None):
        t = torch.as_tensor(t, dtype=x.dtype).expand(len(x))
        told = self.time(torch.stack([(t / 100).sin(), (t / 300).cos()], 1))
        return self.out(torch.tanh(self.into(x) + told[:, :, None, None]))


@pytest.fixture(params=TOLERANCE, ids=["float64", "float32"])
def setting(request):
    torch.manual_seed(1)
    return request.param, Net().to(request.param).eval(), torch.randn(SHAPE, dtype=request.param)


def exact_alphas(scheduler):
    """diffusers keeps its tables in float32: give both sides the same float64 ones."""
    for name in ("alphas_cumprod", "betas", "alphas", "alpha_t", "sigma_t", "lambda_t"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, getattr(scheduler, name).double())
    return noise.sigma_from_alpha_bar(scheduler.alphas_cumprod)


def trajectory(denoise, x, grid, step):
    return torch.stack([x for x, _ in sample(denoise, x, grid, step)])


def assert_same(ours, theirs, dtype):
    error = (ours - theirs).norm() / theirs.norm()
    assert error < TOLERANCE[dtype], f"relative difference {error:.2e}"


def vp(x, sigma):
    return x / (1 + sigma**2) ** 0.5


PREDICTIONS = {"epsilon": Eps, "v_prediction": V, "sample": X0}


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim(setting, prediction, eta):
    dtype, net, z = setting
    scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing", clip_sample=False, prediction_type=prediction)
    levels = exact_alphas(scheduler)
    scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(STEPS)
    grid = noise.trailing(levels, STEPS)
    noises = [torch.randn(SHAPE, dtype=dtype) for _ in range(STEPS)]
    stream = iter(noises)
    denoise = Denoiser(net, PREDICTIONS[prediction](DiscreteTime(levels)))
    start = z * (1 + grid[0] ** 2).sqrt().to(dtype)
    ours = trajectory(denoise, start, grid, ancestral(eta, lambda x: next(stream)))[-1]
    y = z
    with torch.no_grad():
        for t, e in zip(scheduler.timesteps, noises, strict=True):
            y = scheduler.step(net(y, t), t, y, eta=eta, variance_noise=e if eta else None).prev_sample
    assert_same(ours, y, dtype)


def test_ddpm(setting, monkeypatch):
    dtype, net, z = setting
    scheduler = diffusers.DDPMScheduler(timestep_spacing="trailing", clip_sample=False, variance_type="fixed_small")
    levels = exact_alphas(scheduler)
    scheduler.one = scheduler.one.double()
    scheduler.set_timesteps(STEPS)
    grid = noise.trailing(levels, STEPS)
    noises = [torch.randn(SHAPE, dtype=dtype) for _ in range(STEPS)]
    stream, theirs = iter(noises), iter(noises)
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, **k: next(theirs))
    start = z * (1 + grid[0] ** 2).sqrt().to(dtype)
    ours = trajectory(Denoiser(net, Eps(DiscreteTime(levels))), start, grid, ancestral(1.0, lambda x: next(stream)))[-1]
    y = z
    with torch.no_grad():
        for t in scheduler.timesteps:
            y = scheduler.step(net(y, t), t, y).prev_sample
    assert_same(ours, y, dtype)


def test_dpm_solver_plus_plus_2m(setting):
    dtype, net, z = setting
    scheduler = diffusers.DPMSolverMultistepScheduler(
        timestep_spacing="trailing", algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero"
    )
    levels = exact_alphas(scheduler)
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas = noise.trailing(levels, STEPS)  # the same levels in float64
    denoise = Denoiser(net, Eps(DiscreteTime(levels)))
    start = z * (1 + scheduler.sigmas[0] ** 2).sqrt().to(dtype)
    ours = trajectory(denoise, start, noise.trailing(levels, STEPS), dpmpp_2m())[-1]
    y = z
    with torch.no_grad():
        for t in scheduler.timesteps:
            y = scheduler.step(net(y, t), t, y).prev_sample
    assert_same(ours, y, dtype)


def test_heun(setting):
    dtype, net, z = setting
    scheduler = diffusers.HeunDiscreteScheduler(timestep_spacing="trailing")
    levels = exact_alphas(scheduler)
    scheduler.set_timesteps(STEPS)
    grid = noise.trailing(levels, STEPS)
    scheduler.sigmas = torch.cat([grid[:1], grid[1:-1].repeat_interleave(2), grid[-1:]])
    scheduler.timesteps = DiscreteTime(levels)(scheduler.sigmas[:-1]).round()
    denoise = Denoiser(net, Eps(DiscreteTime(levels)))
    y = start = z * grid[0].to(dtype)
    ours = trajectory(denoise, start, grid, heun)[-1]
    with torch.no_grad():
        for t in scheduler.timesteps:
            y = scheduler.step(net(scheduler.scale_model_input(y, t), t), t, y).prev_sample
    assert_same(ours, y, dtype)


@pytest.mark.parametrize("kind", ["euler", "dpmpp_2m"])
def test_edm(setting, kind):
    dtype, net, z = setting
    name = {"euler": "EDMEulerScheduler", "dpmpp_2m": "EDMDPMSolverMultistepScheduler"}[kind]
    scheduler = getattr(diffusers, name)(sigma_data=0.5, sigma_min=0.01, sigma_max=10.0)
    scheduler.set_timesteps(STEPS)
    grid = noise.karras(STEPS, 0.01, 10.0)
    torch.testing.assert_close(scheduler.sigmas.double(), grid, rtol=1e-5, atol=1e-6)
    scheduler.sigmas, scheduler.timesteps = grid, grid[:-1].log() / 4
    y = start = z * grid[0].to(dtype)
    step = euler if kind == "euler" else dpmpp_2m()
    ours = trajectory(Denoiser(net, EDM(0.5)), start, grid, step)[-1]
    with torch.no_grad():
        for t in scheduler.timesteps:
            y = scheduler.step(net(scheduler.scale_model_input(y, t).to(dtype), t), t, y).prev_sample.to(dtype)
    assert_same(ours, y, dtype)
