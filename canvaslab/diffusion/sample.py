"""Samplers. A step moves x from noise level s to t < s: ``step(denoise, x, s, t) -> (x_next, x0_hat)``.

``sample`` walks a grid with one step function and yields after each step, so that a notebook can animate, score or
stop a trajectory. All samplers know only ``denoise(x, sigma)``: conditioning and guidance are closures over it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .denoise import Denoise, at_least_float32

Step = Callable[[Denoise, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def euler(denoise: Denoise, x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """First order: keep x0_hat and the noise direction, change the noise level. This is DDIM with eta = 0.

    Song et al. 2021 (DDIM), eq. 12; in sigma it is one linear interpolation between x0_hat and x. Order 1.
    """
    x0 = denoise(x, s)
    return torch.lerp(x0, x, t / s), x0


def heun(denoise: Denoise, x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Second order with two evaluations a step (one when t = 0). Karras et al. 2022, algorithm 1."""
    y, x0 = euler(denoise, x, s, t)
    if t == 0:
        return y, x0
    slope = ((x - x0) / s + (y - denoise(y, t)) / t) / 2
    return x + (t - s) * slope, x0


def ancestral(eta: float = 1.0, noise: Callable[[Tensor], Tensor] = torch.randn_like) -> Step:
    """The stochastic sampler: a step to below t, then fresh noise up to t. eta = 1 is DDPM, eta = 0 is ``euler``.

    The fresh noise has std eta * t * sqrt(1 - t^2 / s^2) (Song et al. 2021, DDIM, eq. 16, in sigma). ``noise(x)``
    draws standard normal numbers like x; ``SampleNoise`` gives each sample its own stream.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1] (0: DDIM, 1: DDPM), got {eta}")

    def step(denoise: Denoise, x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        up = eta * t * (1 - (t / s).square()).sqrt()
        down = (t.square() - up.square()).clamp_min(0).sqrt()
        y, x0 = euler(denoise, x, s, down)
        return (y + up * noise(x) if up > 0 else y), x0

    return step


def dpmpp_2m() -> Step:
    """DPM-Solver++(2M): second order with one evaluation a step. Lu et al. 2022, algorithm 2, on the sigma clock.

    Remembers the last x0_hat, and forgets it where a trajectory does not go on from the level at which it ended.
    """
    last_x0 = last_h = last_t = None

    def step(denoise: Denoise, x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal last_x0, last_h, last_t
        x0 = denoise(x, s)
        if s != last_t:
            last_x0 = None
        h = (s / t).log()  # step in half-logSNR; infinite on the last one, which is first order
        blend = x0 if last_x0 is None or t == 0 else x0 + (x0 - last_x0) * (h / (2 * last_h))
        last_x0, last_h, last_t = x0, h, t
        return torch.lerp(blend, x, t / s), x0

    return step


@torch.no_grad()  # a decorator, not a `with`: a `with` would stay open in the caller between yields
def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, step: Step = euler) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(x, x0_hat)`` after each step of the grid. Nothing runs until it is iterated.

    denoise: a callable of the contract. x: (B, ...) noise to start from, at level sigmas[0], that is
    ``sigmas[0] * randn``. sigmas: decreasing grid, usually ending in 0. step: ``euler``, ``heun``,
    ``ancestral(eta)``, ``dpmpp_2m()`` or your own. Errors: ValueError when the grid does not decrease to >= 0.
    Of a half-precision x only what ``denoise`` sees and what is yielded is half: levels and steps are float32.
    """
    if sigmas.ndim != 1 or len(sigmas) < 2 or not (sigmas.diff() < 0).all() or sigmas[-1] < 0:
        raise ValueError(f"sigmas must be a 1-D grid of two or more levels that decrease to >= 0, got {sigmas}")
    if step in (ancestral, dpmpp_2m):
        raise ValueError(f"{step.__name__} makes a step: pass step={step.__name__}(), with its brackets")
    dtype, exact = x.dtype, at_least_float32(x)

    def widened(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x.to(dtype), sigma).to(exact)

    x = x.to(exact)
    for s, t in pairwise(sigmas.to(x)):
        x, x0 = step(denoise if dtype == exact else widened, x, s, t)
        yield x.to(dtype), x0.to(dtype)


def last(steps: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The final x of a trajectory: ``last(sample(...))``."""
    final = deque(steps, maxlen=1)
    if not final:
        raise ValueError("the trajectory is empty: it was already used up; call sample(...) again")
    return final[0][0]


class SampleNoise:
    """Standard normal noise with one stream for each sample, so that a sample does not depend on its batch.

    ``noise = SampleNoise(seeds)``; ``noise.start(shape)`` gives (B, *shape) and ``noise(x)`` more like x. Numbers are
    drawn on the CPU and moved, so that every device sees the same.
    """

    def __init__(self, seeds: Sequence[int]):
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def start(self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device="cpu") -> Tensor:
        """(B, *shape) standard normal numbers, sample i from its own stream."""
        return torch.stack([torch.randn(tuple(shape), generator=g, dtype=dtype) for g in self.generators]).to(device)

    def __call__(self, x: Tensor) -> Tensor:
        """Standard normal numbers like x, whose first axis must be the seeds'."""
        if len(x) != len(self.generators):
            raise ValueError(f"x has {len(x)} samples, but there are {len(self.generators)} seeds")
        return self.start(x.shape[1:], x.dtype, x.device)
