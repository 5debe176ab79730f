"""Evaluations and CPU time until a sampler is within a given error of the exact solution, ours and diffusers'.

One denoiser (notebook 04's trained one, conditional), one start, one answer: the solution of the same ordinary
differential equation from sigma = 40 in 200 steps of Heun. diffusers' schedulers get the exact noise level of each
step and the exact scaling, which their users' integer timesteps only approach.
"""
import itertools
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from canvaslab.diffusion import (
    adams_bashforth,
    dpmpp_2m,
    euler,
    heun,
    interop,
    last,
    noise,
    pretrained_denoiser,
    sample,
    unipc,
)

HI, LO = 40.0, 0.03
STEPS = (6, 8, 10, 12, 15, 19)
LEVELS = noise.karras(1000, LO, HI)[:-1].flip(0)
GRIDS = {"Karras": noise.karras, "geometric": noise.geometric}
OURS: dict[str, tuple[Callable, Callable]] = {  # name -> (what makes a step, grid)
    f"{name}, {grid}": (step, GRIDS[grid]) for grid in GRIDS for name, step in {
        "euler": lambda: euler, "heun": lambda: heun, "dpmpp_2m": dpmpp_2m,
        "adams_bashforth(3)": lambda: adams_bashforth(3), "unipc": unipc,
        "unipc(3)": lambda: unipc(3), "unipc(blend)": lambda: unipc(blend=True)}.items()}
SPACINGS = {"Karras": {"use_karras_sigmas": True}, "geometric": {"use_exponential_sigmas": True}}
THEIRS: dict[str, tuple[str, dict]] = {
    "DDIM": ("DDIMScheduler", {"timestep_spacing": "trailing", "clip_sample": False}),
    **{f"{name}, {grid}": (f"{scheduler}Scheduler", spacing | more) for grid, spacing in SPACINGS.items()
       for name, scheduler, more in (
           ("Euler", "EulerDiscrete", {}), ("Heun", "HeunDiscrete", {}), ("LMS", "LMSDiscrete", {}),
           ("DPM-Solver++ 2M", "DPMSolverMultistep", {}), ("UniPC", "UniPCMultistep", {}),
           ("DPM-Solver++ 3M", "DPMSolverMultistep", {"solver_order": 3}),
           ("UniPC 3", "UniPCMultistep", {"solver_order": 3}))}}


def run_ours(step: Callable, grid: Callable, denoise: Callable, start: Tensor, n: int) -> Tensor:
    return last(sample(denoise, HI * start, grid(n, LO, HI), step()))


def run_theirs(name: str, settings: dict, denoise: Callable, start: Tensor, n: int) -> Tensor:
    """A scheduler's own loop, with a denoiser in place of the network that predicts the noise."""
    import diffusers
    scheduler = getattr(diffusers, name)(1000, trained_betas=interop._betas(LEVELS), **settings)
    scheduler.set_timesteps(n)
    x = start * scheduler.init_noise_sigma
    ve = name.startswith(("Euler", "Heun", "LMS"))  # x is then the data plus sigma times noise, unscaled
    for i, t in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[i] if hasattr(scheduler, "sigmas") else LEVELS[int(t)]
        if ve:
            scheduler.scale_model_input(x, t)
        scale = 1.0 if ve else float((1 + sigma**2) ** 0.5)
        eps = (x * scale - denoise(x * scale, sigma.to(x))) / sigma.to(x)
        x = scheduler.step(eps, t, x).prev_sample
    return x


def at_error(curve: list[tuple[float, float]], error: float) -> float:
    """Cost at which the error first falls to ``error``, between measured points on log axes; nan if it never does.

    curve: (cost, error) in order of cost."""
    for (c0, e0), (c1, e1) in itertools.pairwise(curve):
        if e0 > error >= e1:
            return math.exp(math.log(c0) + (math.log(c1) - math.log(c0)) * math.log(e0 / error) / math.log(e0 / e1))
    return curve[0][0] if curve and curve[0][1] <= error else math.nan


@torch.no_grad()
def measure(error: float, seed: int, images: int = 20, steps: tuple[int, ...] = STEPS) -> dict:
    """name -> evaluations and milliseconds of CPU an image at ``error``: median over images of the RMS over
    pixels, in grey values 0 to 1. A mean would show the one image in thirty that falls to the other side of a ridge.
    The time is the least of three runs."""
    net, to_unit = pretrained_denoiser(say=False)
    labels, generator = torch.arange(images) % 10, torch.Generator().manual_seed(seed)
    start = torch.randn(images, 1, 28, 28, generator=generator)
    calls = 0

    def denoise(x, sigma):
        nonlocal calls
        calls += 1
        return net(x, sigma, labels)

    solvers = {f"canvaslab {name}": lambda x, n, s=ours: run_ours(*s, denoise, x, n) for name, ours in OURS.items()}
    solvers |= {f"diffusers {name}": lambda x, n, t=theirs: run_theirs(*t, denoise, x, n)
                for name, theirs in THEIRS.items()}
    exact = to_unit(last(sample(denoise, HI * start, noise.karras(max(200, 4 * max(steps)), LO / 10, HI), heun)))
    points: dict[str, list] = {name: [] for name in solvers}
    for n in steps:  # the solvers in turn, so that load on the machine meets all alike
        for name, solve in solvers.items():
            spent = []
            for _ in range(3):
                calls, began = 0, time.process_time()
                x = solve(start, n)
                spent.append(time.process_time() - began)
            errors = (to_unit(x) - exact).square().mean((1, 2, 3)).sqrt()
            points[name].append((calls, min(spent) / images, errors.median().item()))
    return {name: {"evaluations": at_error([(c, e) for c, _, e in curve], error),
                   "ms": 1000 * at_error([(s, e) for _, s, e in curve], error), "points": curve}
            for name, curve in points.items()}
