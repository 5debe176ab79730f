"""Guidance makes a denoiser out of denoisers; samplers take no condition and no scale. w = 1 is no guidance."""

import math

import torch
from torch import Tensor

from .denoise import Denoise, widest


def given(denoise: Denoise, cond: Tensor) -> Denoise:
    """The denoiser with its condition filled in: ``(x, sigma) -> denoise(x, sigma, cond)``."""

    def conditioned(x: Tensor, sigma: Tensor, another: Tensor | None = None) -> Tensor:
        _only_one(another)
        return denoise(x, sigma, cond)

    return conditioned


def _only_one(cond: Tensor | None) -> None:
    """These denoisers keep the contract's third argument, but their condition is chosen when they are made."""
    if cond is not None:
        raise ValueError("cond was given to a denoiser whose condition is filled in: give it to given(denoise, cond)")


def guided(weak: Denoise, strong: Denoise, w: float) -> Denoise:
    """weak + w (strong - weak), for x0_hat.

    Classifier-free guidance when weak has no condition (Ho & Salimans 2022, eq. 6, whose scale is w - 1);
    autoguidance when weak is a worse model (Karras et al. 2024, arXiv 2406.02507). At w = 1 the weak one is not called.
    """
    if w == 1:
        return strong

    def denoise(x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        _only_one(cond)
        return weak(x, sigma).lerp(strong(x, sigma), w)

    return denoise


def between(inside: Denoise, outside: Denoise, lo: float, hi: float) -> Denoise:
    """``inside`` at noise levels lo <= sigma <= hi, ``outside`` at all others: a guidance interval.

    With ``inside = guided(...)`` and ``outside`` the plain conditional denoiser, guidance acts only where it helps
    (Kynkäänniemi et al. 2024). Where one sigma serves the whole batch, only one of the two is called.
    """
    if not 0 <= lo < hi:
        raise ValueError(f"between needs 0 <= lo < hi, two noise levels, got lo={lo}, hi={hi}")

    def denoise(x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        _only_one(cond)
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        here = (sigma >= lo) & (sigma <= hi)
        if bool(here.all()) or not bool(here.any()):
            return (inside if here.all() else outside)(x, sigma)
        return torch.where(here.view(-1, *[1] * (x.ndim - 1)), inside(x, sigma), outside(x, sigma))

    return denoise


def apg(
    weak: Denoise, strong: Denoise, w: float, *, eta: float = 0.0, radius: float = math.inf, momentum: float = 0.0
) -> Denoise:
    """Adaptive projected guidance: ``guided`` without the part of its push that only makes x0_hat longer.

    The push strong - weak is (1) added to ``momentum`` (-1 to 0 damps it) times the sum of the pushes before,
    (2) shortened to norm ``radius``, (3) split along and across strong(x); the part along it counts ``eta`` times.
    eta = 1, radius = inf, momentum = 0 is ``guided``. Norms are those of each whole sample, in data units.
    Sadat et al. 2025 (APG), written for x0_hat. The sum remembers: build a fresh one for each trajectory.
    """
    if not -1 < momentum < 1 or radius <= 0:
        raise ValueError(f"apg needs -1 < momentum < 1 and radius > 0, got momentum={momentum}, radius={radius}")
    if w == 1:
        return strong
    total: Tensor | float = 0.0

    def denoise(x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        nonlocal total
        _only_one(cond)
        towards = strong(x, sigma)
        total = push = towards - weak(x, sigma) + momentum * total
        push = _shorten(push, radius)
        return towards + (w - 1) * (push - (1 - eta) * _along(push, towards))

    return denoise


def _shorten(push: Tensor, radius: float) -> Tensor:
    """Each sample scaled down to norm ``radius`` if it is longer."""
    norm = push.flatten(1).norm(dim=1).clamp_min(torch.finfo(push.dtype).tiny)
    return push * (radius / norm).clamp_max(1).view(-1, *[1] * (push.ndim - 1))


def _along(push: Tensor, direction: Tensor) -> Tensor:
    """The part of each sample that is parallel to ``direction``; in float64, since both may be nearly parallel."""
    exact = widest(push.device)
    unit = torch.nn.functional.normalize(direction.flatten(1).to(exact), dim=1)
    share = (push.flatten(1).to(exact) * unit).sum(1, keepdim=True)
    return (share * unit).to(push.dtype).view_as(push)
