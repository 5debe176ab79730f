"""A small image denoiser that ships trained, for every notebook that needs one and is not about training it."""

from collections.abc import Callable

from torch import Tensor

from .denoise import EDM, Denoiser


def pretrained_denoiser(part: str = "model", *, say: bool = True) -> tuple[Denoiser, Callable[[Tensor], Tensor]]:
    """The class-conditional Fashion-MNIST denoiser that notebook 04 trained at the laptop tier, and its way to grey.

    part: "model", averaged weights at the end of training; "early", those after 4 % of the steps; "half EMA" and
    "half last", averaged and last weights half way; "last", the last weights of all.
    Returns (denoise, to_unit): denoise(x, sigma, cond) for x (B, 1, 28, 28) with mean 0 and std .5, cond (B,) labels
    0 to 9 or -1 for none, in eval mode on the CPU; to_unit(x) gives grey values in [0, 1].
    Errors: as `load_shipped`; ValueError, which lists the parts, if there is no such part.
    """
    from ..lab.shipped import load_shipped
    from ..nets import UNet

    made = load_shipped("04_model", say=say)
    if part not in made["nets"]:
        raise ValueError(f"there is no part {part!r}; the parts: {', '.join(made['nets'])}")
    mean, std = made["mean"], made["std"]
    denoise = Denoiser(UNet(size=28, widths=(24, 48), blocks=1, classes=10), EDM(sigma_data=0.5))
    denoise.load_state_dict(made["nets"][part])
    return denoise.requires_grad_(False).eval(), lambda x: (x.cpu() / 0.5 * std + mean).clamp(0, 1)
