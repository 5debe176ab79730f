"""Noise levels. One clock everywhere: a noisy point is ``x = x0 + sigma * eps``.

* A *conversion* turns another clock (alpha-bar, logSNR, flow time) into sigma and back, elementwise.
* A *grid* is a 1-D float64 tensor of decreasing sigmas that ends in 0: the levels a sampler visits.
* A *law* is a frozen dataclass, ``law(n) -> (n,)`` sigmas: the levels a training batch sees.

The variance-preserving path ``sqrt(ab) x0 + sqrt(1 - ab) eps``, the variance-exploding path ``x0 + sigma eps`` and
the straight path ``(1 - t) x0 + t eps`` are the same points up to a scale, which is 1 / sqrt(1 + sigma^2), 1 and
1 / (1 + sigma).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# --- conversions -------------------------------------------------------------------------------------------------


def sigma_from_alpha_bar(alpha_bar: Tensor) -> Tensor:
    """Noise level of the variance-preserving path: sqrt((1 - alpha_bar) / alpha_bar), for alpha_bar in (0, 1]."""
    return ((1 - alpha_bar) / alpha_bar).sqrt()


def alpha_bar_from_sigma(sigma: Tensor) -> Tensor:
    """Share of the variance that is signal, 1 / (1 + sigma^2), for unit-variance data."""
    return 1 / (1 + sigma.square())


def sigma_from_logsnr(logsnr: Tensor) -> Tensor:
    """sigma = exp(-lambda / 2), where lambda = log(alpha^2 / sigma^2) is the log signal-to-noise ratio in nats."""
    return (-logsnr / 2).exp()


def logsnr_from_sigma(sigma: Tensor) -> Tensor:
    """lambda = -2 log(sigma), in nats."""
    return -2 * sigma.log()


def sigma_from_flow_time(t: Tensor) -> Tensor:
    """sigma = t / (1 - t) of the straight path (1 - t) x0 + t eps, t in [0, 1): t = 0 is data."""
    return t / (1 - t)


def flow_time_from_sigma(sigma: Tensor) -> Tensor:
    """t = sigma / (1 + sigma) in [0, 1)."""
    return sigma / (1 + sigma)


# --- grids -------------------------------------------------------------------------------------------------------


def _end_at_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def _check(n: int, lo: float, hi: float) -> None:
    if n < 1 or not 0 < lo < hi:
        raise ValueError(f"a grid needs n >= 1 steps and 0 < lo < hi, got n={n}, lo={lo}, hi={hi}")


def karras(n: int, lo: float = 0.002, hi: float = 80.0, rho: float = 7.0) -> Tensor:
    """The n noise levels of EDM from ``hi`` down to ``lo``, then 0: (n + 1,) float64.

    Equal steps in sigma^(1/rho): rho = 7 spends most steps near the data. Karras et al. 2022, eq. 5.
    """
    _check(n, lo, hi)
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    return _end_at_zero((hi ** (1 / rho) + ramp * (lo ** (1 / rho) - hi ** (1 / rho))) ** rho)


def geometric(n: int, lo: float = 0.002, hi: float = 80.0) -> Tensor:
    """n noise levels with a constant ratio, from ``hi`` down to ``lo``, then 0: (n + 1,) float64."""
    _check(n, lo, hi)
    return _end_at_zero(torch.logspace(math.log10(hi), math.log10(lo), n, dtype=torch.float64))


def straight(n: int, t_max: float = 0.999, shift: float = 1.0) -> Tensor:
    """n equal steps of flow time from ``t_max`` down to 0: (n + 1,) float64.

    ``shift`` multiplies every sigma (in flow time: t -> shift t / (1 + (shift - 1) t), Esser et al. 2024, eq. 23),
    which spends more steps on coarse structure; it is how large images are treated.
    """
    if n < 1 or not 0 < t_max < 1:
        raise ValueError(f"a straight grid needs n >= 1 steps and 0 < t_max < 1, got n={n}, t_max={t_max}")
    return shifted(sigma_from_flow_time(torch.linspace(t_max, 0, n + 1, dtype=torch.float64)), shift)


def cosine(n: int, lo: float = 0.002, hi: float = 80.0) -> Tensor:
    """n noise levels at equal steps of the angle atan(sigma), from ``hi`` to ``lo``, then 0: (n + 1,) float64.

    On the variance-preserving path alpha = cos(angle): the cosine schedule of Nichol & Dhariwal 2021, eq. 17,
    without its small offset, cut at ``lo`` and ``hi``.
    """
    _check(n, lo, hi)
    return _end_at_zero(torch.linspace(math.atan(hi), math.atan(lo), n, dtype=torch.float64).tan())


def shifted(grid: Tensor, factor: float) -> Tensor:
    """The same grid with every sigma times ``factor`` (logSNR lowered by 2 log factor).

    An image of side d needs factor d / d0 to lose its coarse structure as fast as one of side d0 does
    (Hoogeboom et al. 2023, simple diffusion, section 3.1).
    """
    if factor <= 0:
        raise ValueError(f"factor must be positive, got {factor}")
    return grid * factor


def ddpm_alpha_bar(steps: int = 1000, lo: float = 1e-4, hi: float = 0.02) -> Tensor:
    """alpha-bar of the linear-beta schedule: (steps,) float64, decreasing. Ho et al. 2020, section 4."""
    return torch.cumprod(1 - torch.linspace(lo, hi, steps, dtype=torch.float64), 0)


def trailing(levels: Tensor, n: int) -> Tensor:
    """n of the T ascending training levels, evenly spaced from the noisiest down, then 0: (n + 1,) float64.

    The spacing that starts where training ended (Lin et al. 2024, table 2).
    """
    if not 1 <= n <= len(levels):
        raise ValueError(f"cannot take n={n} steps from {len(levels)} training levels; accepted: 1 to {len(levels)}")
    if not (levels.diff() > 0).all():
        raise ValueError("levels must ascend (the cleanest first); flip them, or pass sigma_from_alpha_bar(alpha_bar)")
    index = (len(levels) - torch.arange(n, dtype=torch.float64) * len(levels) / n).round().long() - 1
    return _end_at_zero(levels.double()[index])


# --- laws --------------------------------------------------------------------------------------------------------


def _uniform(n: int, stratified: bool, **kw) -> Tensor:
    """(n,) numbers in (0, 1); stratified: one in each n-th of the interval, in random order (lower variance)."""
    generator = kw.get("generator")
    u = torch.rand(n, **kw)
    if stratified:
        order = torch.randperm(n, generator=generator, device=kw.get("device"))
        u = (order.to(u) + u) / n
    tiny = torch.finfo(u.dtype).eps
    return u.clamp(tiny, 1 - tiny)


@dataclass(frozen=True)
class LogNormal:
    """log(sigma) ~ Normal(mean, std^2): the training law of EDM (Karras et al. 2022, table 1)."""

    mean: float = -1.2
    std: float = 1.2
    stratified: bool = True

    def __call__(self, n: int, **kw) -> Tensor:
        """(n,) sigmas; ``device``, ``dtype``, ``generator`` as for ``torch.rand``."""
        return (self.mean + self.std * torch.special.ndtri(_uniform(n, self.stratified, **kw))).exp()


@dataclass(frozen=True)
class LogUniform:
    """log(sigma) uniform between log(lo) and log(hi): every octave of noise gets the same share."""

    lo: float = 0.002
    hi: float = 80.0
    stratified: bool = True

    def __call__(self, n: int, **kw) -> Tensor:
        """(n,) sigmas; ``device``, ``dtype``, ``generator`` as for ``torch.rand``."""
        return self.lo * (self.hi / self.lo) ** _uniform(n, self.stratified, **kw)


@dataclass(frozen=True)
class LogitNormal(LogNormal):
    """logit(t) ~ Normal(mean, std^2) for flow time t (Esser et al. 2024): sigma = t / (1 - t) is ``LogNormal``."""

    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class UniformFlow:
    """t uniform on (0, t_max) for sigma = t / (1 - t): plain flow matching (Lipman et al. 2023)."""

    t_max: float = 0.999
    stratified: bool = True

    def __call__(self, n: int, **kw) -> Tensor:
        """(n,) sigmas; ``device``, ``dtype``, ``generator`` as for ``torch.rand``."""
        return sigma_from_flow_time(self.t_max * _uniform(n, self.stratified, **kw))


@dataclass(frozen=True)
class Cosine:
    """Uniform time on the cosine schedule: the angle atan(sigma) is uniform (Nichol & Dhariwal 2021)."""

    lo: float = 0.002
    hi: float = 80.0
    stratified: bool = True

    def __call__(self, n: int, **kw) -> Tensor:
        """(n,) sigmas; ``device``, ``dtype``, ``generator`` as for ``torch.rand``."""
        a, b = math.atan(self.lo), math.atan(self.hi)
        return (a + (b - a) * _uniform(n, self.stratified, **kw)).tan()


@dataclass(frozen=True, eq=False)
class Discrete:
    """One of the T given levels, each equally likely: DDPM's uniform timestep (Ho et al. 2020, algorithm 1)."""

    levels: Tensor

    def __call__(self, n: int, device=None, dtype=None, generator=None) -> Tensor:
        """(n,) sigmas; ``device``, ``dtype``, ``generator`` as for ``torch.rand``."""
        index = torch.randint(len(self.levels), (n,), generator=generator, device=device)
        return self.levels.to(device=index.device, dtype=dtype or torch.get_default_dtype())[index]
