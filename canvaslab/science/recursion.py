"""What a model loses or invents when it learns from its own samples: strays by kind, balance of modes, data by copy.

The experiment with a filter between generations: Aithal et al. 2024, "Understanding Hallucinations in Diffusion Models
through Mode Interpolation".
"""

from typing import NamedTuple

import torch
from torch import Tensor

from . import hallucinate as hal


class Strays(NamedTuple):
    """Masks (B,) that do not overlap: between two nearest modes; round one mode, but too wide; anywhere else."""

    between: Tensor
    blurred: Tensor
    elsewhere: Tensor


def strays(x: Tensor, modes: Tensor, std: float, beyond: float = 6.0, around: float = 0.25) -> Strays:
    """Sort what lies off the support, by where it lies.

    x: (B, D). modes: (K, D), two or more. A stray is farther than ``beyond`` stds from every mode. It is *blurred*
    within ``around`` of the smallest gap between modes from one of them, *between* if it is farther and lies nearer
    than half of that to a segment that joins two nearest modes, and *elsewhere* if neither. Counts by place are counts
    by place: a mode that is blurred very widely also fills the segments. Errors: ValueError where the two ranges meet.
    """
    reach = around * float(torch.pdist(modes).min())
    if reach <= beyond * std:
        raise ValueError(f"{beyond:g} stds are {beyond * std:.3g} and {around:g} of the gap {reach:.3g}: no room for "
                         "blur between the two; take modes farther apart, or another beyond or around")  # fmt: skip
    away = hal.distance_to_modes(x, modes)
    off, near = away > beyond * std, away <= reach
    on_line = hal.distance_to_segments(x, modes, hal.neighbours(modes)) < reach / 2
    return Strays(off & ~near & on_line, off & near, off & ~near & ~on_line)


def mode_shares(x: Tensor, modes: Tensor) -> Tensor:
    """Share of the samples x (B, D) whose nearest mode is each of modes (K, D): (K,), sums to 1; zeros without any."""
    nearest = torch.cdist(x, modes, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
    return torch.bincount(nearest, minlength=len(modes)).double() / max(1, len(x))


class OwnData:
    """Batches for `ManyMLP`: copy k draws from its own data set only, with replacement.

    data: (copies, N, dim). size: rows for each copy. ``batches(step)`` is (copies * size, dim), copy 0 first, as
    `ManyMLP` wants it, and depends on (seed, step) only, so a run can stop and resume.
    """

    def __init__(self, data: Tensor, size: int, seed: int = 0):
        if data.ndim != 3 or size < 1:
            raise ValueError(f"OwnData got data {tuple(data.shape)} and size {size}; accepted: (copies, N, dim), and "
                             "one row or more")  # fmt: skip
        self.data, self.size, self.seed = data, size, seed

    def __call__(self, step: int) -> Tensor:
        copies, n, _ = self.data.shape
        rng = torch.Generator().manual_seed(1000003 * self.seed + step)
        rows = torch.randint(n, (copies, self.size), generator=rng).to(self.data.device)
        return self.data[torch.arange(copies, device=rows.device)[:, None], rows].flatten(0, 1)
