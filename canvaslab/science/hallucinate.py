"""Samples outside the support, and scores that find them. Every score takes any ``denoise``, images included.

A score is one number a sample, (B,), higher for samples that are more likely hallucinated. Mode interpolation and the
trajectory variance: Aithal et al. 2024, "Understanding Hallucinations in Diffusion Models through Mode Interpolation".
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..diffusion.denoise import Denoise, like
from ..diffusion.sample import Step, euler, sample

# --- scores ------------------------------------------------------------------------------------------------------


class Trace(NamedTuple):
    """A sampling run with its predictions: x (B, ...), x0_hats (T, B, ...) in sampling order, sigmas (T,) of them."""

    x: Tensor
    x0_hats: Tensor
    sigmas: Tensor


def record(denoise: Denoise, x: Tensor, sigmas: Tensor, step: Step = euler, keep: int | None = None) -> Trace:
    """Sample, and keep what the denoiser predicted on the way.

    x: (B, ...) noise at level sigmas[0]. sigmas: decreasing grid, (T + 1,). step: any sampler of ``diffusion``.
    keep: only the last so many predictions (images are large); default all T. Returns a ``Trace``.
    """
    total = len(sigmas) - 1
    first = 0 if keep is None else max(0, total - keep)
    x0_hats = []
    for n, (state, x0_hat) in enumerate(sample(denoise, x, sigmas, step)):
        x = state
        if n >= first:
            x0_hats.append(x0_hat)
    return Trace(x, torch.stack(x0_hats), sigmas[first:-1])


def _per_sample(values: Tensor) -> Tensor:
    """(T, B, ...) -> (T, B): the mean over whatever one sample is made of."""
    return values.flatten(2).mean(2) if values.ndim > 2 else values


def trajectory_variance(x0_hats: Tensor, start: int = -10, stop: int | None = None) -> Tensor:
    """The paper's score: the variance of x0_hat over the steps start .. stop of the trajectory, (B,).

    Hal(x) = 1 / |T2 - T1| sum over i = T1 .. T2 of (x0_hat_i - mean_i x0_hat_i)^2, then the mean over coordinates.
    x0_hats: (T, B, ...) in sampling order. start, stop: a slice of the steps; the default is the last ten. Unit: data
    squared. How well it works depends on the window. Errors: ValueError for a window of fewer than two steps.
    Source: Aithal et al. 2024, section 5, "trajectory variance".
    """
    window = x0_hats[start:stop]
    if len(window) < 2:
        raise ValueError(f"steps {start}:{stop} of {len(x0_hats)} hold {len(window)}; a variance needs two or more")
    return _per_sample(window.var(0, correction=1, keepdim=True))[0]  # T1 .. T2 are |T2 - T1| + 1 terms


def normalised_change(x0_hats: Tensor, sigmas: Tensor, last: int = 40) -> Tensor:
    """Sum over the last steps of |change of x0_hat|^2 / sigma^2, the mean over coordinates, (B,). No unit.

    A step of the sampler that adds noise moves x by about sigma * sqrt(2 log(s / t)), and x0_hat by the Jacobian times
    that. Divided by sigma^2, the steps count alike, and the sum is the squared Jacobian gathered over log(sigma); so
    a long window costs little, where the plain variance is swamped by its noisiest steps.
    x0_hats: (T, B, ...). sigmas: (T,), the level at which each was predicted. last: how many changes, at most T - 1.
    """
    if len(sigmas) != len(x0_hats) or last < 1:
        raise ValueError(f"{len(x0_hats)} predictions, {len(sigmas)} sigmas and last={last}: give one sigma for each "
                         "prediction, and last from 1")  # fmt: skip
    change = _per_sample(x0_hats[-last - 1 :].diff(dim=0).square())
    level = sigmas[-last - 1 :][1:].to(change)
    return (change / level[:, None].square()).sum(0)


@torch.no_grad()
def jacobian(
    denoise: Denoise, x: Tensor, sigma: Tensor | float, probes: int | None = None, step: float = 0.1
) -> Tensor:
    """|d x0_hat / dx|^2 (Frobenius) over the number of coordinates, at x and noise level sigma, (B,). No unit.

    0 where the denoiser ignores x, 1 for the identity, far above 1 where it has to jump between modes. By central
    differences of half-width ``step * sigma``: along every coordinate (probes=None), or along so many random signs
    (E |J v|^2 = |J|^2), the same for every sample so that a score does not depend on its batch. For images take
    probes=8 or so: 2 * probes calls. x: (B, ...) samples, used as they are. sigma: () or (B,), well below the gap
    between modes.
    """
    size = x[0].numel()
    if probes is None:
        vectors = torch.eye(size, dtype=x.dtype, device=x.device)
    else:
        rng = torch.Generator().manual_seed(0)
        vectors = (torch.randint(2, (probes, size), generator=rng) * 2.0 - 1).to(x)
    h, total = step * like(sigma, x), x.new_zeros(len(x))
    for vector in vectors.view(-1, *x.shape[1:]):
        slope = (denoise(x + h * vector, sigma) - denoise(x - h * vector, sigma)) / (2 * h)
        total += slope.square().flatten(1).sum(1)
    return total / size / (1 if probes is None else probes)


@torch.no_grad()
def renoising(denoise: Denoise, x: Tensor, sigma: Tensor | float, draws: int = 8, seed: int = 0) -> Tensor:
    """Mean squared distance from x to what is predicted after noising it again, over draws and coordinates, (B,).

    (x - denoise(x + sigma * eps, sigma))^2: a sample of the data comes back, one between modes is pulled away.
    x: (B, ...). sigma: () or (B,), the level to go back to. draws: how many eps, the same for every sample so
    that a score does not depend on its batch; every second one is the mirror image of the one before, so that few
    draws prefer no direction. Unit: data squared.
    """
    rng = torch.Generator().manual_seed(seed)
    halves = [torch.randn(x.shape[1:], generator=rng).to(x) for _ in range((draws + 1) // 2)]
    total = x.new_zeros(len(x))
    for eps in [one for half in halves for one in (half, -half)][:draws]:
        total += (denoise(x + like(sigma, x) * eps, sigma) - x).square().flatten(1).mean(1)
    return total / draws


def worst_of(scores: Tensor) -> Tensor:
    """The worst of several scores (S, B) > 0, each in its own units: (B,), no unit.

    Each is compared with the other samples of the batch, by how far its logarithm lies above their median in units of
    their median distance from it; the largest of these counts. So no score's unit matters, and no sample needs to be
    known as good; the batch should be mostly good, and the same kind of batch for a threshold to carry over.
    Use: ``worst_of(torch.stack([jacobian(denoise, x, sigma, probes=4) for sigma in (0.3, 1.0, 3.0)]))``: in pictures
    different mistakes show at different noise levels. Errors: ValueError for scores that are not (S, B) and positive.
    """
    if scores.ndim != 2 or not bool((scores > 0).all()):
        raise ValueError(f"scores has shape {tuple(scores.shape)}; accepted: (scores, samples), all above 0")
    off = scores.log() - scores.log().median(1, keepdim=True).values
    return (off / off.abs().median(1, keepdim=True).values.clamp_min(1e-12)).amax(0)


# --- how good a score is -----------------------------------------------------------------------------------------


class Roc(NamedTuple):
    """lost (K,): share of good samples thrown away; removed (K,): share of bad ones; auc: area under the curve."""

    lost: Tensor
    removed: Tensor
    auc: float


def _two_kinds(bad: Tensor) -> None:
    if bad.dtype != torch.bool or not 0 < int(bad.sum()) < len(bad):
        raise ValueError(f"bad must be a mask that marks some samples and not all; it marks {int(bad.sum())} "
                         f"of {len(bad)} ({bad.dtype})")  # fmt: skip


def roc(score: Tensor, bad: Tensor) -> Roc:
    """The ROC of a score (B,) against the mask of bad samples (B,), by scikit-learn. Needs both kinds."""
    from sklearn.metrics import auc, roc_curve

    _two_kinds(bad)
    lost, removed, _ = roc_curve(bad.cpu().numpy(), score.double().cpu().numpy())
    return Roc(torch.from_numpy(lost), torch.from_numpy(removed), float(auc(lost, removed)))


def threshold(score: Tensor, bad: Tensor, kept: float = 0.96) -> float:
    """The score below or at which a share ``kept`` of the good samples lies: calibrate it on one seed."""
    _two_kinds(bad)
    good = score[~bad].sort().values
    return float(good[max(0, math.ceil(kept * len(good)) - 1)])


class Verdict(NamedTuple):
    """kept: share of good samples at or below the threshold; removed: share of bad ones above it."""

    kept: float
    removed: float


def judge(score: Tensor, bad: Tensor, at: float) -> Verdict:
    """What a threshold, perhaps of another seed, does here."""
    _two_kinds(bad)
    above = score > at
    return Verdict(1 - float(above[~bad].double().mean()), float(above[bad].double().mean()))


def removed_at(score: Tensor, bad: Tensor, kept: float = 0.96) -> float:
    """Share of bad samples removed when a share ``kept`` of the good ones stays, threshold set on these samples."""
    return judge(score, bad, threshold(score, bad, kept)).removed


# --- where samples lie among modes -------------------------------------------------------------------------------


def distance_to_modes(x: Tensor, modes: Tensor) -> Tensor:
    """Distance from each x (B, D) to its nearest mode (K, D), (B,), in data units."""
    return torch.cdist(x, modes, compute_mode="donot_use_mm_for_euclid_dist").min(1).values


def hallucinated(x: Tensor, modes: Tensor, std: float, beyond: float = 6.0) -> Tensor:
    """Mask (B,) of samples farther than ``beyond`` stds from every mode.

    A Gaussian of dimension 1 or 2 puts 2e-9 or 1.5e-8 of its mass beyond 6.
    """
    return distance_to_modes(x, modes) > beyond * std


def neighbours(modes: Tensor) -> Tensor:
    """Pairs of nearest modes, (P, 2) indices: no third mode lies in or on the ball whose diameter they span.

    On a line: consecutive modes; on a square grid: its edges without the diagonals (the Gabriel graph).
    """
    squared = torch.cdist(modes.double(), modes.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    inside = squared[:, None, :] + squared[None, :, :] <= squared[:, :, None] * (1 + 1e-6)  # i, j, third
    blocked = inside.sum(2) > 2  # i and j themselves lie on the ball
    return torch.triu(~blocked, diagonal=1).nonzero()


def distance_to_segments(x: Tensor, modes: Tensor, pairs: Tensor) -> Tensor:
    """Distance from each x (B, D) to the nearest of the segments between ``pairs`` (P, 2) of modes, (B,)."""
    start, along = modes[pairs[:, 0]], modes[pairs[:, 1]] - modes[pairs[:, 0]]
    share = ((x @ along.T - (start * along).sum(1)) / along.square().sum(1)).clamp(0, 1)  # (B, P)
    foot = start + share[..., None] * along
    return (x[:, None] - foot).norm(dim=2).min(1).values


def fit_ratio(x: Tensor, modes: Tensor, std: float) -> float:
    """Median distance to the nearest mode over that of the data: 1 for a perfect model, above it for a blurred one.

    Before a sample between modes is called interpolation, the net must have fitted the modes: ask for at most 1.15.
    """
    from scipy.stats import chi

    return float(distance_to_modes(x, modes).median()) / (std * float(chi(modes.shape[1]).median()))
