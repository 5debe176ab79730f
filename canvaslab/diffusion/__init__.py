"""Diffusion on one clock: noise levels, denoisers, samplers, guidance and exact answers; diffusers both ways."""

from . import interop, noise
from .denoise import EDM, X0, Denoise, Denoiser, Eps, Flow, Scalings, V, denoising_loss
from .guide import apg, between, given, guided
from .interop import from_diffusers, to_diffusers
from .mixture import Mixture
from .multistep import adams_bashforth, ghvb, unipc
from .pretrained import pretrained_denoiser
from .sample import SampleNoise, ancestral, dpmpp_2m, euler, heun, last, sample

__all__ = [
    "EDM", "X0", "Denoise", "Denoiser", "Eps", "Flow", "Mixture", "SampleNoise", "Scalings", "V", "adams_bashforth",
    "ancestral", "apg", "between", "denoising_loss", "dpmpp_2m", "euler", "from_diffusers", "ghvb", "given", "guided",
    "heun", "interop", "last", "noise", "pretrained_denoiser", "sample", "to_diffusers", "unipc",
]  # fmt: skip
