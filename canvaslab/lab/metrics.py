"""Distances between sets of samples, nearest neighbours, intervals."""
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = a.detach().flatten(1).cpu().double(), b.detach().flatten(1).cpu().double()
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"sets of {a.shape[1]} and of {b.shape[1]} dimensions were given; both must have the same")
    return a, b


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance between Gaussians fitted to two sets of features, in squared feature units.

    a (N, D), b (M, D), at least two rows each; float64 inside. |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)).
    It grows as N falls: compare only at equal N, and with `floor`. Source: Heusel et al. 2017, eq. 6.
    """
    a, b = _pair(a, b)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} rows were given; a covariance needs at least 2 in each")
    # the eigenvalues of A B are those of the symmetric root(A) B root(A), which is exact where A is singular
    values, vectors = torch.linalg.eigh(torch.cov(a.T).reshape(a.shape[1], -1))
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cov_b = torch.cov(b.T).reshape(b.shape[1], -1)
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + values.sum() + cov_b.trace() - 2 * cross)


class Interval(NamedTuple):
    """mean +- half."""
    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.half:.2g}"


def interval(values: Sequence[float] | Tensor) -> Interval:
    """Mean and half-width of its 95 % interval (Student's t) for independent values, e.g. one per seed.

    One value has no interval: half is infinite. Errors: ValueError for no values.
    """
    from scipy.stats import t
    values = values.detach().cpu() if isinstance(values, Tensor) else values
    values = torch.as_tensor(values, dtype=torch.float64).flatten().tolist()
    n = len(values)
    if not n:
        raise ValueError("interval needs at least one value, for example one per seed")
    mean = math.fsum(values) / n  # exact up to one rounding: the mean of equal values is that value
    if n < 2:
        return Interval(mean, math.inf)
    variance = math.fsum((x - mean) ** 2 for x in values) / (n - 1)
    return Interval(mean, float(t.ppf(0.975, n - 1)) * math.sqrt(variance / n))


def floor(real: Tensor, reference: Tensor, n: int, repeats: int = 5, seed: int = 0) -> Interval:
    """`frechet` of n real samples against the reference: what a perfect generator would score.

    real (N, D) features of real data, of which n are drawn for each repeat (disjoint while they last); reference
    (M, D). Returns mean and half-width over the repeats.
    """
    if n > len(real):
        raise ValueError(f"n={n} was asked of {len(real)} real samples; n must not exceed them")
    generator = torch.Generator().manual_seed(seed)
    together = max(1, len(real) // n)
    draws: list[Tensor] = []
    while len(draws) < repeats:
        draws += torch.randperm(len(real), generator=generator)[: together * n].chunk(together)
    return interval([frechet(real[rows.to(real.device)], reference) for rows in draws[:repeats]])


def wasserstein(a: Tensor, b: Tensor, p: float = 2) -> float:
    """Exact p-Wasserstein distance between two sets of equal size, in units of the points.

    a, b (N, D); (1/N min over matchings of sum |a_i - b_match(i)|^p)^(1/p). O(N^3): seconds for 2000 points.
    Source: Peyre & Cuturi 2019, section 2.2.
    """
    from scipy.optimize import linear_sum_assignment
    a, b = _pair(a, b)
    if len(a) != len(b):
        raise ValueError(f"sets of {len(a)} and {len(b)} points were given; a matching needs equal sizes")
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") ** p
    rows, columns = linear_sum_assignment(cost.numpy())
    return float(cost[rows, columns].mean() ** (1 / p))


def sliced_wasserstein(a: Tensor, b: Tensor, projections: int = 256, seed: int = 0, p: float = 2) -> float:
    """p-Wasserstein distance averaged over random directions, in units of the points: ((1/L) sum_l W_p^p)^(1/p).

    a, b (N, D) of equal size; projections: L. In one dimension it is the exact distance. In D dimensions a shift by
    d counts as about |d| / sqrt(D). Source: Bonneel et al. 2015.
    """
    a, b = _pair(a, b)
    if len(a) != len(b):
        raise ValueError(f"sets of {len(a)} and {len(b)} points were given; sorting needs equal sizes")
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(a.shape[1], projections, dtype=torch.float64, generator=generator)
    directions = directions / directions.norm(dim=0)
    gap = (a @ directions).sort(dim=0).values - (b @ directions).sort(dim=0).values
    return float(gap.abs().pow(p).mean() ** (1 / p))


class Nearest(NamedTuple):
    """distance (N, k) ascending, index (N, k) into the data."""
    distance: Tensor
    index: Tensor


@torch.no_grad()
def nearest(x: Tensor, data: Tensor, k: int = 1, chunk: int = 8192) -> Nearest:
    """The k nearest items of ``data`` (M, ...) to each item of ``x`` (N, ...), by Euclidean distance over all axes.

    Both in the same units (uint8 images too); ``chunk`` items of the data are compared at a time, on the device of x.
    """
    if x.shape[1:] != data.shape[1:] or not 1 <= k <= len(data):
        raise ValueError(f"x {tuple(x.shape)}, data {tuple(data.shape)}, k={k} were given; "
                         "items must have one shape, and k lie between 1 and the number of data")
    query = x.flatten(1).float()
    best = query.new_empty(len(x), 0)
    where = torch.empty(len(x), 0, dtype=torch.long, device=x.device)
    for first in range(0, len(data), chunk):
        part = data[first:first + chunk].to(x.device).flatten(1).float()
        rows = torch.arange(first, first + len(part), device=x.device).expand(len(x), -1)
        distance = torch.cdist(query, part, compute_mode="donot_use_mm_for_euclid_dist")
        best, order = torch.cat([best, distance], 1).topk(min(k, best.shape[1] + len(part)), largest=False)
        where = torch.cat([where, rows], 1).gather(1, order)
    return Nearest(best, where)
