"""Guidance makes a denoiser out of denoisers; samplers take no condition and no scale. w = 1 is no guidance."""

from torch import Tensor

from .denoise import Denoise


def given(denoise: Denoise, cond: Tensor) -> Denoise:
    """The denoiser with its condition filled in: ``(x, sigma) -> denoise(x, sigma, cond)``."""
    return lambda x, sigma: denoise(x, sigma, cond)


def guided(weak: Denoise, strong: Denoise, w: float) -> Denoise:
    """weak + w (strong - weak), for x0_hat.

    Classifier-free guidance when weak has no condition (Ho & Salimans 2022, eq. 6, whose scale is w - 1);
    autoguidance when weak is a worse model (Karras et al. 2024). At w = 1 the weak one is not called.
    """
    if w == 1:
        return strong

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return weak(x, sigma).lerp(strong(x, sigma), w)

    return denoise
