"""The arms of the training race: ours, and each peer's own net, loop and sampler.

Every arm has the same images and labels as tensors in memory (faster than any of the peers' own data pipelines) and
one thread. ``share()`` is the share of its CPU seconds that it has spent, which is what learning-rate schedules follow.
"""
import importlib.util
import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple
from unittest.mock import MagicMock

import torch
from torch import Tensor

from canvaslab.data import Batches
from canvaslab.diffusion import EDM, Denoiser, denoising_loss, dpmpp_2m, given, guided, last, noise, sample
from canvaslab.lab import EMA, cosine_decay, recipe_optimizer, train, warmup_flat_decay
from canvaslab.nets import UNet
from canvaslab.nets.unet import PRESETS

ABLATION = "ablation: our net, diffusers' loop"
MEAN, STD = 0.2860, 0.3530  # of Fashion-MNIST's training images in [0, 1]


class Arm(NamedTuple):
    """``steps`` trains one step when it is advanced; ``draw(labels (N,))`` gives images (N, 1, 28, 28) in [0, 1]."""
    steps: Iterator
    draw: Callable[[Tensor], Tensor]
    batch: int
    net: torch.nn.Module


class Peer(NamedTuple):
    """make(images in [0, 1], labels, seed, share, **settings) -> Arm; settings are those that were best here."""
    make: Callable[..., Arm]
    settings: dict
    needs: str = ""  # a module beyond those of canvaslab
    guided: bool = True  # class-conditional, sampled with guidance 2


def grey(x: Tensor) -> Tensor:
    return ((x + 1) / 2).clamp(0, 1)


def hidden(labels: Tensor, none: int) -> Tensor:
    """One label in ten replaced by ``none``."""
    return torch.where(torch.rand(len(labels)) < 0.1, none, labels)


def loop(net: torch.nn.Module, batches: Batches, loss: Callable, optimizer, lr: float, share: Callable[[], float],
         after: Callable[[], None] = lambda: None) -> Iterator[Tensor]:
    """What the training scripts of diffusers and of denoising-diffusion-pytorch both do."""
    for n in count():
        value = loss(*batches(n))
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scheduled(optimizer, lr, share)
        optimizer.step()
        optimizer.zero_grad()
        after()
        yield value.detach()


def scheduled(optimizer, lr: float, share: Callable[[], float]) -> None:
    """The rate of diffusers' training tutorial: a short warm-up, then half a cosine, here over the CPU seconds."""
    for group in optimizer.param_groups:
        group["lr"] = lr * cosine_decay(1000, warmup=0.05)(int(999 * min(1.0, share())))


def ours(x: Tensor, y: Tensor, seed: int, share: Callable[[], float], widths=PRESETS["s"]["widths"], batch=48, w=2.0,
         levels=10) -> Arm:
    """The recipe of notebook 04, with its best batch here: equally near as 32, and more images a second."""
    torch.manual_seed(seed)
    scalings, law = EDM(sigma_data=0.5), noise.LogNormal(mean=-1.0, std=1.2)
    model = Denoiser(UNet(size=28, widths=widths, classes=10), scalings)
    ema, schedule = EMA(model, gamma=12), warmup_flat_decay(1000)

    def loss(model, rows):
        x0, labels = rows
        return denoising_loss(model, x0, law(len(x0)), scalings, cond=hidden(labels, -1)).mean()

    def draw(labels):
        start = 40 * torch.randn(len(labels), 1, 28, 28)
        denoise = guided(given(ema.model, torch.full_like(labels, -1)), given(ema.model, labels), w)
        x = last(sample(denoise, start, noise.karras(levels, 0.03, 40), dpmpp_2m()))
        return (x / 0.5 * STD + MEAN).clamp(0, 1)

    steps = train(model, Batches(((x - MEAN) / STD * 0.5, y), batch, seed=seed), loss, recipe_optimizer(model), 10**9,
                  lr=lambda n: schedule(int(999 * min(1.0, share()))), ema=ema, progress=False)
    return Arm(steps, draw, batch, model)


class OurNet(UNet):
    """Our U-Net under the call of diffusers' ``UNet2DModel``."""
    def forward(self, x, t, labels):
        return (super().forward(x, torch.as_tensor(t / 250 - 2, dtype=x.dtype).expand(len(x)), labels),)


def diffusers_loop(x: Tensor, y: Tensor, seed: int, share: Callable[[], float], widths=(24, 48), own_net=True, batch=16,
                   lr=4e-4, w=2.0, levels=10, solver: dict | None = None) -> Arm:
    """diffusers' training tutorial: DDPMScheduler, AdamW, clipped gradients; sampled by its DPM-Solver."""
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
    torch.manual_seed(seed)
    x, noising = 2 * x - 1, DDPMScheduler(num_train_timesteps=1000)
    levels_of = {"down_block_types": ["DownBlock2D"] * len(widths), "up_block_types": ["UpBlock2D"] * len(widths)}
    net = UNet2DModel(sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=widths,
                      norm_num_groups=8, num_class_embeds=11, **levels_of) if own_net else OurNet(
                          size=28, widths=widths, classes=11)

    def loss(x0, labels):
        eps, t = torch.randn_like(x0), torch.randint(0, 1000, (len(x0),))
        return torch.nn.functional.mse_loss(net(noising.add_noise(x0, eps, t), t, hidden(labels, 10))[0], eps)

    @torch.no_grad()
    def draw(labels):
        net.eval()
        scheduler = DPMSolverMultistepScheduler.from_config(noising.config, **(solver or {}))
        scheduler.set_timesteps(levels)
        x = torch.randn(len(labels), 1, 28, 28)
        for t in scheduler.timesteps:
            with_label, without = net(x, t, labels)[0], net(x, t, torch.full_like(labels, 10))[0]
            x = scheduler.step(without + w * (with_label - without), t, x).prev_sample
        return grey(x)

    adam = torch.optim.AdamW(net.parameters(), lr=lr)
    return Arm(loop(net, Batches((x, y), batch, seed=seed), loss, adam, lr, share), draw, batch, net)


def smalldiffusion_loop(x: Tensor, y: Tensor, seed: int, share: Callable[[], float], ch=32, ch_mult=(1, 1), batch=16,
                        lr=7e-4, w=2.0, levels=10) -> Arm:
    """smalldiffusion's Fashion-MNIST example: its U-Net, schedule, loop, average of weights and fast sampler."""
    from diffusers.training_utils import EMAModel
    sd = imported("smalldiffusion")
    torch.manual_seed(seed)
    schedule = sd.ScheduleLogLinear(sigma_min=0.01, sigma_max=20, N=800)
    net = sd.Scaled(sd.Unet)(28, 1, 1, ch=ch, ch_mult=ch_mult, num_res_blocks=1, attn_resolutions=(), dropout=0.0,
                             cond_embed=sd.CondEmbedderLabel(4 * ch, 10))
    ema, batches = EMAModel(net.parameters(), decay=0.999), Batches((2 * x - 1, y), batch, seed=seed)

    def steps():
        for step in sd.training_loop((batches(n) for n in count()), net, schedule, epochs=1, lr=lr,
                                     conditional=True):
            ema.step(net.parameters())
            scheduled(step.optimizer, lr, share)
            yield step.loss.detach()

    def draw(labels):
        ema.copy_to(net.parameters())
        *_, x = sd.samples(net, schedule.sample_sigmas(levels), gam=1.6, cond=labels, cfg_scale=w - 1,
                           batchsize=len(labels))
        return grey(x)

    return Arm(steps(), draw, batch, net)


def lucidrains_loop(x: Tensor, y: Tensor, seed: int, share: Callable[[], float], dim=16, dim_mults=(1, 2), batch=16,
                    lr=3e-3, levels=10) -> Arm:
    """denoising-diffusion-pytorch: its U-Net with narrow attention, its loss, its Trainer's optimiser and EMA, DDIM.

    Unconditional: its conditional net is half as fast, and was farther from the data in the same seconds."""
    dd = imported("denoising_diffusion_pytorch")
    from ema_pytorch import EMA as TheirEMA
    torch.manual_seed(seed)
    net = dd.Unet(dim=dim, dim_mults=dim_mults, channels=1, attn_heads=1, attn_dim_head=16)
    diffusion = dd.GaussianDiffusion(net, image_size=28, timesteps=1000, sampling_timesteps=levels)
    ema = TheirEMA(diffusion, beta=0.995, update_every=10)

    adam = torch.optim.Adam(net.parameters(), lr=lr, betas=(0.9, 0.99))
    steps = loop(net, Batches(x, batch, seed=seed), diffusion, adam, lr, share, after=ema.update)
    return Arm(steps, lambda labels: ema.ema_model.sample(batch_size=len(labels)).clamp(0, 1), batch, net)


def imported(module: str):
    """A peer's module. Both peers import torchvision, for data sets only; where there is none, an empty stand-in takes
    its place while they are imported."""
    if importlib.util.find_spec("torchvision"):
        return importlib.import_module(module)
    sys.modules["torchvision"] = MagicMock()
    try:
        return importlib.import_module(module)
    finally:
        del sys.modules["torchvision"]


PEERS = {  # settings: the best of those tried, see README.md
    "canvaslab": Peer(ours, {}),
    "diffusers": Peer(diffusers_loop, {"lr": 2.5e-3, "solver": {"thresholding": True}}),
    "smalldiffusion": Peer(smalldiffusion_loop, {"batch": 32, "lr": 1.5e-3}, needs="smalldiffusion"),
    "denoising-diffusion-pytorch": Peer(
        lucidrains_loop, {"lr": 3e-3}, needs="denoising_diffusion_pytorch", guided=False),
    ABLATION: Peer(  # no peer, but our recipe taken away from our net
        diffusers_loop, {"own_net": False, "batch": 32, "lr": 2.5e-3, "solver": {"thresholding": True}}),
}


def missing(peer: Peer) -> str | None:
    """None where a peer can run; else one sentence that says why not and what to do."""
    if not peer.needs or importlib.util.find_spec(peer.needs):
        return None
    return (f"not measured, for {peer.needs.replace('_', '-')} is not installed: pip install \"canvaslab[bench]\", or, "
            "beside a CPU-only torch, pip install --no-deps smalldiffusion denoising-diffusion-pytorch ema-pytorch.")
