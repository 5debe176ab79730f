"""Point sets in one and two dimensions, each with its exact mean and variance; mixtures also give their exact law."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from .dataset import Dataset, generator


class Draw(NamedTuple):
    """n points (n, dim) float64, their labels (n,), and the law's own mean and mean variance per axis."""

    x: Tensor
    y: Tensor
    mean: tuple[float, ...]
    variance: float
    classes: tuple[str, ...]
    mixture: dict | None = None


def _uniform(n: int, rng: Generator, *columns: int) -> Tensor:
    return torch.rand(n, *columns, generator=rng, dtype=torch.float64)


def _normal(n: int, rng: Generator, *columns: int) -> Tensor:
    return torch.randn(n, *columns, generator=rng, dtype=torch.float64)


def _choose(n: int, rng: Generator, count: int) -> Tensor:
    return torch.randint(count, (n,), generator=rng)


def moons(n: int, rng: Generator, noise: float = 0.1) -> Draw:
    """Two half circles of radius 1 that reach into each other, plus Gaussian noise."""
    y = _choose(n, rng, 2)
    angle = math.pi * _uniform(n, rng)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    x = torch.where(y[:, None] == 0, upper, lower) + noise * _normal(n, rng, 2)
    variance = (0.75 + 0.5625 - 1 / math.pi) / 2 + noise**2
    return Draw(x, y, (0.5, 0.25), variance, ("upper moon", "lower moon"))


def spiral(n: int, rng: Generator, noise: float = 0.02, turns: float = 1.5) -> Draw:
    """Two arms from the centre to radius 1, evenly filled along their length, plus Gaussian noise."""
    y = _choose(n, rng, 2)
    radius = _uniform(n, rng).sqrt()
    angle = 2 * math.pi * turns * radius
    arm = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    x = (1 - 2 * y[:, None]) * arm + noise * _normal(n, rng, 2)
    return Draw(x, y, (0.0, 0.0), 0.25 + noise**2, ("first arm", "second arm"))  # E radius^2 = 1/2


def checkerboard(n: int, rng: Generator, noise: float = 0.0) -> Draw:
    """The eight dark squares of a 4 x 4 board on [-2, 2]^2, evenly filled; sharp edges unless there is noise."""
    y = _choose(n, rng, 8)
    row = y // 2
    column = 2 * (y % 2) + row % 2
    corner = torch.stack([column, row], dim=1) - 2.0
    x = corner + _uniform(n, rng, 2) + noise * _normal(n, rng, 2)
    return Draw(x, y, (0.0, 0.0), 4 / 3 + noise**2, tuple(f"square {k}" for k in range(8)))


def rings(n: int, rng: Generator, noise: float = 0.05, radii: tuple[float, ...] = (1.0, 2.0, 3.0)) -> Draw:
    """Concentric circles with equally many points on each, plus Gaussian noise."""
    y = _choose(n, rng, len(radii))
    angle = 2 * math.pi * _uniform(n, rng)
    radius = torch.tensor(radii, dtype=torch.float64)[y]
    x = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1) + noise * _normal(n, rng, 2)
    variance = sum(r**2 for r in radii) / len(radii) / 2 + noise**2
    return Draw(x, y, (0.0, 0.0), variance, tuple(f"radius {r:g}" for r in radii))


def grid(n: int, rng: Generator, noise: float = 0.05, side: int = 5) -> Draw:
    """side x side narrow Gaussians, one apart, centred on the origin."""
    if side < 1:
        raise ValueError(f"side is {side}; accepted: integers from 1")
    line = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    means = torch.cartesian_prod(line, line).view(-1, 2)
    return _gaussians(n, rng, means, noise, torch.ones(len(means)))


def circle(n: int, rng: Generator, noise: float = 0.1, count: int = 8) -> Draw:
    """``count`` narrow Gaussians evenly spaced on a circle of radius 2."""
    if count < 1:
        raise ValueError(f"count is {count}; accepted: integers from 1")
    angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    return _gaussians(n, rng, 2 * torch.stack([angle.cos(), angle.sin()], dim=1), noise, torch.ones(count))


def two_peaks(n: int, rng: Generator, noise: float = 0.2) -> Draw:
    """On a line: equal Gaussians at -1 and +1."""
    return _gaussians(n, rng, torch.tensor([[-1.0], [1.0]]), noise, torch.ones(2))


def three_peaks(n: int, rng: Generator, noise: float = 0.2) -> Draw:
    """On a line: Gaussians at -2, 0 and +1.5 with weights .5, .3 and .2."""
    return _gaussians(n, rng, torch.tensor([[-2.0], [0.0], [1.5]]), noise, torch.tensor([0.5, 0.3, 0.2]))


def _gaussians(n: int, rng: Generator, means: Tensor, std: float, weights: Tensor) -> Draw:
    means, weights = means.double(), weights.double() / weights.sum()
    y = torch.multinomial(weights, n, replacement=True, generator=rng)
    x = means[y] + std * _normal(n, rng, means.shape[1])
    mean = weights @ means
    variance = float((weights @ (means - mean).square()).mean()) + std**2
    law = {"means": means, "std": std, "weights": weights, "labels": torch.arange(len(means))}
    return Draw(x, y, tuple(mean.tolist()), variance, tuple(f"mode {k}" for k in range(len(means))), law)


def points(
    draw: Callable[..., Draw], name: str, split: str, n: int = 2000, seed: int = 0, standardise: bool = True, **options
) -> Dataset:
    """n points of a set as float32 (n, dim), a function of (name, split, seed, n).

    standardise: shift and scale by one number so that the law (not the draw) has mean 0 and, averaged over the axes,
    variance 1; so train and test share one frame. The mixture, where there is one, is moved along.
    """
    if n < 1 or options.get("noise", 0) < 0:
        raise ValueError(f"n is {n} and noise {options.get('noise', 'the default')}; accepted: n from 1, noise from 0")
    made = draw(n, generator(seed, name, split), **options)
    shift = torch.tensor(made.mean if standardise else [0.0] * made.x.shape[1], dtype=torch.float64)
    scale = math.sqrt(made.variance) if standardise else 1.0
    law = made.mixture and {
        "means": ((made.mixture["means"] - shift) / scale).float(),
        "std": made.mixture["std"] / scale,
        "weights": made.mixture["weights"].float(),
        "labels": made.mixture["labels"],
    }
    x = ((made.x - shift) / scale).float()
    return Dataset(x, made.y, made.classes, ("point", "coordinate"), name, split, "drawn here", "canvaslab", law)
