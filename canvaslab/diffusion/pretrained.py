"""A small image denoiser that ships trained, for every notebook that needs one and is not about training it."""

from collections.abc import Callable

from torch import Tensor

from .denoise import EDM, Denoiser


def pretrained_denoiser(part: str = "model", *, say: bool = True) -> tuple[Denoiser, Callable[[Tensor], Tensor]]:
    """The class-conditional Fashion-MNIST denoiser that notebook 04 trained at the laptop tier, and its way to grey.

    part: "model", averaged weights at the end of training; "early", those after 4 % of the steps; "half.EMA" and
    "half.last", averaged and last weights half way; "last", the last weights of all.
    Returns (denoise, to_unit): denoise(x, sigma, cond) for x (B, 1, 28, 28) with mean 0 and std .5, cond (B,) labels
    0 to 9 or -1 for none, in eval mode on the CPU; to_unit(x) gives grey values in [0, 1].
    Errors: as `load_shipped`.
    """
    from ..lab.shipped import load_shipped, part_of
    from ..nets import UNet

    tensors = load_shipped("04_model", say=say)
    mean, std = tensors.pop("data.mean"), tensors.pop("data.std")
    weights = {key: t.float() for key, t in part_of(tensors, part).items()}
    denoise = Denoiser(UNet(size=28, widths=(24, 48), blocks=1, classes=10), EDM(sigma_data=0.5))
    denoise.load_state_dict(weights)
    return denoise.requires_grad_(False).eval(), lambda x: (x.cpu() / 0.5 * std + mean).clamp(0, 1)
