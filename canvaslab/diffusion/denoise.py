"""The contract of the whole library: ``denoise(x, sigma, cond=None) -> E[x0 | x]``, and networks that fulfil it.

``x`` has shape (B, ...), ``sigma`` () or (B,). What a network predicts (noise, data, velocity, flow) is four numbers
per noise level, never a kind of model: ``D(x) = skip * x + out * net(into * x, noise, cond)``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

Denoise = Callable[..., Tensor]


class Scalings(NamedTuple):
    """D(x, sigma) = skip * x + out * net(into * x, noise, cond). Four tensors with the shape of sigma."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on Apple's mps, which has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def at_least_float32(x: Tensor) -> torch.dtype:
    """The dtype of x, or float32 for half precision, in which neighbouring noise levels would be one."""
    return torch.promote_types(x.dtype, torch.float32)


def log_sigma(sigma: Tensor) -> Tensor:
    """What a network is told of the noise: log(sigma) / 4 (Karras et al. 2022, table 1)."""
    return sigma.log() / 4


@dataclass(frozen=True, eq=False)
class DiscreteTime:
    """sigma -> fractional index into T ascending training levels, for networks that were trained on timesteps.

    Interpolates in log(sigma); outside the levels the nearest end is used.
    """

    levels: Tensor

    def __call__(self, sigma: Tensor) -> Tensor:
        exact = widest(sigma.device)
        log_level = self.levels.cpu().double().log().to(exact).to(sigma.device)
        log_s = sigma.to(exact).log().contiguous()
        above = torch.searchsorted(log_level, log_s).clamp(1, len(log_level) - 1)
        below = above - 1
        part = (log_s - log_level[below]) / (log_level[above] - log_level[below])
        return (below + part.clamp(0, 1)).to(sigma.dtype)


@dataclass(frozen=True)
class EDM:
    """Preconditioning that keeps input and target at unit variance for data of std ``sigma_data``.

    Karras et al. 2022, table 1. The loss in network space is the x0-error times (s^2 + d^2) / (s d)^2.
    """

    sigma_data: float = 0.5
    noise: Callable[[Tensor], Tensor] = log_sigma

    def __call__(self, sigma: Tensor) -> Scalings:
        norm = (sigma.square() + self.sigma_data**2).sqrt()
        skip = (self.sigma_data / norm).square()
        return Scalings(skip, sigma * self.sigma_data / norm, 1 / norm, self.noise(sigma))


@dataclass(frozen=True)
class Eps:
    """The network predicts the noise eps from the variance-preserving point (Ho et al. 2020, eq. 14)."""

    noise: Callable[[Tensor], Tensor] = log_sigma

    def __call__(self, sigma: Tensor) -> Scalings:
        return Scalings(torch.ones_like(sigma), -sigma, (1 + sigma.square()).rsqrt(), self.noise(sigma))


@dataclass(frozen=True)
class X0:
    """The network predicts the clean data x0 from the variance-preserving point."""

    noise: Callable[[Tensor], Tensor] = log_sigma

    def __call__(self, sigma: Tensor) -> Scalings:
        one = torch.ones_like(sigma)
        return Scalings(torch.zeros_like(sigma), one, (1 + sigma.square()).rsqrt(), self.noise(sigma))


@dataclass(frozen=True)
class V:
    """The network predicts v = alpha eps - sqrt(1 - alpha^2) x0 (Salimans & Ho 2022, section 4)."""

    noise: Callable[[Tensor], Tensor] = log_sigma

    def __call__(self, sigma: Tensor) -> Scalings:
        alpha = (1 + sigma.square()).rsqrt()
        return Scalings(alpha.square(), -sigma * alpha, alpha, self.noise(sigma))


@dataclass(frozen=True)
class Flow:
    """The network predicts the velocity eps - x0 from the straight path's point, told t = sigma / (1 + sigma).

    Lipman et al. 2023; Liu et al. 2023 (rectified flow), with t = 0 at the data.
    """

    def __call__(self, sigma: Tensor) -> Scalings:
        alpha = 1 / (1 + sigma)
        return Scalings(alpha, -sigma * alpha, alpha, sigma * alpha)


def like(sigma: Tensor | float, x: Tensor) -> Tensor:
    """sigma, () or (B,), shaped to broadcast against x (B, ...). Other shapes: ValueError."""
    sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if sigma.ndim > 1 or (sigma.ndim == 1 and len(sigma) not in (1, len(x))):
        raise ValueError(f"sigma has shape {tuple(sigma.shape)} for a batch of {len(x)}; accepted: () or ({len(x)},)")
    return sigma.expand(len(x)).view(-1, *[1] * (x.ndim - 1))


class Denoiser(nn.Module):
    """A network and its scalings, as ``denoise(x, sigma, cond=None)``.

    ``net(x, noise, cond=None)`` gets x (B, ...) scaled to unit variance, in the dtype of x, and noise (B,). Scalings
    and noise are computed in that dtype, but at least in float32; the result is returned in the dtype of x, also when
    the network runs in lower precision.
    """

    def __init__(self, net: nn.Module, scalings: Callable[[Tensor], Scalings] | None = None):
        super().__init__()
        self.net, self.scalings = net, scalings or EDM()

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Tensor | None = None) -> Tensor:
        wide = x.to(at_least_float32(x))
        skip, out, into, noise = self.scalings(like(sigma, wide))
        output = self.net((into * wide).to(x.dtype), noise.flatten(), cond)
        return (skip * wide + out * output.to(wide.dtype)).to(x.dtype)


def denoising_loss(
    denoise: Denoise,
    x0: Tensor,
    sigma: Tensor,
    scalings: Callable[[Tensor], Scalings],
    cond: Tensor | None = None,
    eps: Tensor | None = None,
) -> Tensor:
    """Mean squared error per sample, (B,), in the space of the network: take ``.mean()`` and step.

    The x0-error divided by ``out`` is each paper's own unweighted loss: L_simple for ``Eps``, the v-loss for ``V``,
    conditional flow matching for ``Flow``, the EDM-weighted loss for ``EDM``.

    denoise: any callable of the contract. x0: clean data (B, ...). sigma: noise levels (B,). scalings: those of the
    denoiser. cond: passed on. eps: the noise to add, standard normal like x0; drawn when not given.
    """
    wide = x0.to(at_least_float32(x0))
    s = like(sigma, wide)
    x = (wide + s * (torch.randn_like(x0) if eps is None else eps)).to(x0.dtype)
    error = (denoise(x, sigma, cond) - x0) / scalings(s).out
    return error.square().flatten(1).mean(1)


def gaussian_loss(sigma: Tensor, data_std: float, scalings: Callable[[Tensor], Scalings]) -> Tensor:
    """The loss that the exact denoiser of a Gaussian with std ``data_std`` has at each sigma: a floor to compare with.

    The posterior variance of x0 is (sigma data_std)^2 / (sigma^2 + data_std^2); divided by out^2.
    """
    if data_std <= 0 or not math.isfinite(data_std):
        raise ValueError(f"data_std must be a positive number, got {data_std}")
    posterior = (sigma * data_std).square() / (sigma.square() + data_std**2)
    return posterior / scalings(sigma).out.square()
