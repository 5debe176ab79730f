"""Diffusion on one clock: noise levels, denoisers, samplers, guidance and exact answers."""

from . import noise
from .denoise import EDM, X0, Denoise, Denoiser, Eps, Flow, Scalings, V, denoising_loss
from .guide import given, guided
from .mixture import Mixture
from .sample import SampleNoise, ancestral, dpmpp_2m, euler, heun, last, sample

__all__ = [
    "EDM", "X0", "Denoise", "Denoiser", "Eps", "Flow", "Mixture", "SampleNoise", "Scalings", "V", "ancestral",
    "denoising_loss", "dpmpp_2m", "euler", "given", "guided", "heun", "last", "noise", "sample",
]  # fmt: skip
