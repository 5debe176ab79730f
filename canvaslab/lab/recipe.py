"""The recipe as a program, for one process or many.

    accelerate launch -m canvaslab.lab.recipe --data fashion-mnist --net s --folder runs/clothes

It trains a class-conditional denoiser of 32 x 32 images, and goes on from the checkpoint in its folder.
"""
import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusion import EDM, Denoiser
from ..diffusion.noise import LogNormal
from .optim import recipe_optimizer
from .train import EMA, train, warmup_flat_decay

SIGMA_DATA = 0.5
SCALINGS, LEVELS = EDM(SIGMA_DATA), LogNormal(-1.0, 1.2)


@dataclass(frozen=True)
class Task:
    """Images (N, C, size, size) uint8 with labels (N,), and the mean and std of their values in [0, 1]."""
    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    name: str
    mean: float
    std: float

    def scaled(self, x: Tensor) -> Tensor:
        """uint8 images as the denoiser sees them: mean 0, std 0.5."""
        return (x.float() / 255 - self.mean) / self.std * SIGMA_DATA

    def to_unit(self, x: Tensor) -> Tensor:
        """Back to values in [0, 1], on the CPU."""
        return (x.float().cpu() / SIGMA_DATA * self.std + self.mean).clamp(0, 1)


def task(name: str = "fashion-mnist", split: str = "train", size: int = 32) -> Task:
    """A data set of images with labels, padded with zeros to size x size. Errors: as `data.load`; larger images."""
    from ..data import load
    data = load(name, split)
    edge = size - data.x.shape[-1]
    if data.x.dtype != torch.uint8 or data.y is None or edge < 0 or edge % 2:
        with_ = "without" if data.y is None else "with"
        raise ValueError(f"{name} has {data.x.dtype} of {tuple(data.x.shape[1:])} {with_} labels; "
                         f"accepted: labelled uint8 images with sides of {size} or an even number less")
    x = F.pad(data.x, (edge // 2,) * 4)
    counts = torch.bincount(x.flatten(), minlength=256).double() / x.numel()  # mean and std without a float copy
    grey = torch.arange(256) / 255.0
    mean = float(counts @ grey.double())
    return Task(x, data.y, data.classes, name, mean, float((counts @ (grey.double() - mean).square()).sqrt()))


@dataclass(frozen=True)
class RecipeLoss:
    """The loss of notebook 04 on a batch (uint8 images, labels): noise of a lognormal level, the x0-error weighted as
    in EDM, and the share ``hide`` of the labels hidden as -1. mirror: flip half of the images left to right."""
    task: Task
    hide: float = 0.1
    mirror: bool = False

    def __call__(self, model, batch: tuple[Tensor, Tensor]) -> Tensor:
        x0, label = self.task.scaled(batch[0]), batch[1]
        coin = torch.rand(2, len(x0), device=x0.device)
        if self.mirror:
            x0 = torch.where(coin[0].view(-1, 1, 1, 1) < 0.5, x0.flip(3), x0)
        label = torch.where(coin[1] < self.hide, -1, label)
        sigma = LEVELS(len(x0), device=x0.device)
        s = sigma.view(-1, 1, 1, 1)
        error = (model(x0 + s * torch.randn_like(x0), sigma, label) - x0) / SCALINGS(s).out
        return error.square().mean()


def build(net: str, channels: int, classes: int, size: int = 32) -> nn.Module:
    """A network by its preset's name: a U-Net (xs, s, m, l, xl) or a transformer (dit-xs, dit-s, dit-l)."""
    from ..nets import transformer, unet
    kinds = {**dict.fromkeys(unet.PRESETS, unet), **dict.fromkeys(transformer.PRESETS, transformer)}
    if net not in kinds:
        raise ValueError(f"net={net!r} was given; accepted: {', '.join(kinds)}")
    make = unet.UNet if kinds[net] is unet else transformer.DiT
    return make(**{**kinds[net].PRESETS[net], "channels": channels, "classes": classes, "size": size})


def quick(device: torch.device) -> None:
    """Let torch take its time once, and less of it ever after, where shapes stay the same: on a GPU, cuDNN tries out
    its convolutions, and what is left in float32 is multiplied as TF32. For the whole process; elsewhere nothing."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


def fit(data: str | Task = "fashion-mnist", net: str = "s", steps: int = 2000, batch: int = 64,
        folder: str | Path | None = None, save_every: int = 500, seed: int = 0, compile: bool = False,
        progress: bool = True) -> Denoiser:
    """Train from a seed, or from the last checkpoint in ``folder``; returns the averaged denoiser, in eval mode.

    data: a name, or a `Task`. batch: images in a step, of all processes together. compile: worth it on a GPU, and for
    minutes of training only. The others as in `task`, `build` and `train`. The precision is `train`'s choice (bfloat16
    on a GPU), whatever accelerate is configured for. Errors: ValueError for a batch that the processes cannot share.
    """
    from accelerate import Accelerator

    from ..data import Batches
    acc = Accelerator(mixed_precision="no")
    if batch % acc.num_processes:
        raise ValueError(f"a batch of {batch} was given to {acc.num_processes} processes; give a multiple of them")
    quick(acc.device)
    with acc.main_process_first():  # one process downloads and decodes, the others read what it kept
        images = data if isinstance(data, Task) else task(data)
    torch.manual_seed(seed)
    model = Denoiser(build(net, images.x.shape[1], len(images.classes)), SCALINGS).to(acc.device)
    ema = EMA(model)
    if compile:
        model.compile(dynamic=False)
    batches = Batches((images.x.to(acc.device), images.y.to(acc.device)), batch // acc.num_processes, seed=seed)
    loss = RecipeLoss(images, mirror=images.x.shape[1] == 3)
    for _ in train(model, batches, loss, recipe_optimizer(model), steps, lr=warmup_flat_decay(steps), ema=ema,
                   checkpoint=folder, save_every=save_every, accelerator=acc, progress=progress):
        pass
    return ema.model


def main(words: Sequence[str] | None = None) -> None:
    """The command line: each argument of `fit` as an option."""
    parser = argparse.ArgumentParser(prog="python -m canvaslab.lab.recipe", description=__doc__)
    for name, default in (("data", "fashion-mnist"), ("net", "s"), ("steps", 2000), ("batch", 64), ("folder", None),
                          ("save-every", 500), ("seed", 0)):
        parser.add_argument(f"--{name}", type=type(default) if default is not None else str, default=default)
    parser.add_argument("--compile", action="store_true")
    given = vars(parser.parse_args(words))
    start = time.perf_counter()
    fit(**given)
    from accelerate.state import PartialState
    if PartialState().is_main_process:
        print(f"{given['steps']} steps of {given['batch']} images on {PartialState().num_processes} process(es), "
              f"{PartialState().device.type}: {time.perf_counter() - start:.1f} s; checkpoint in {given['folder']}")


if __name__ == "__main__":
    main()
