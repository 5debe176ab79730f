"""A small autoencoder, whose latents a denoiser can be trained on."""
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .unet import conv, norm


class Residual(nn.Module):
    """Residual block of two 3 x 3 convolutions: (B, width, h, w) -> the same."""
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(norm(width), nn.SiLU(), conv(width, width),
                                  norm(width), nn.SiLU(), conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Autoencoder(nn.Module):
    """Images (B, channels, H, W) to standardised latents (B, latents, H/factor, W/factor) and back.

    channels: of the images; latents: channels of a latent; widths: of the layers at H/2, H/4, ..., multiples of 8, so
    the factor is 2^len(widths). Train it with `autoencoder_loss`, then show it data once with ``measure``: from then on
    ``encode`` gives latents with mean 0 and std 0.5 in each channel, and ``decode`` takes such. Both are
    deterministic, and outputs are not bounded. Errors: images with other channels, or a size that the factor does not
    divide. Source: Rombach et al. 2022, section 3.1, without the adversarial and perceptual losses.
    """
    def __init__(self, channels: int = 1, latents: int = 4, widths: tuple[int, ...] = (32, 64)):
        super().__init__()
        self.channels, self.latents, self.factor = channels, latents, 2 ** len(widths)
        pairs = list(pairwise(widths))
        self.stem = conv(channels * 4, widths[0])
        self.down = nn.Sequential(Residual(widths[0]), *(
            nn.Sequential(conv(a, b, stride=2), Residual(b)) for a, b in pairs))
        self.head_latent = nn.Sequential(norm(widths[-1]), nn.SiLU(), conv(widths[-1], latents))
        self.stem_latent = conv(latents, widths[-1])
        self.up = nn.Sequential(Residual(widths[-1]), *(
            nn.Sequential(nn.Upsample(scale_factor=2), conv(b, a), Residual(a)) for a, b in reversed(pairs)))
        self.head = nn.Sequential(norm(widths[0]), nn.SiLU(), conv(widths[0], channels * 4))
        self.register_buffer("mean", torch.zeros(latents, 1, 1))
        self.register_buffer("std", torch.full((latents, 1, 1), 0.5))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """(reconstruction, raw latents); normal noise of that std is added to the latents before they are decoded."""
        raw = self.raw(x)
        return self.image(raw + noise * torch.randn_like(raw)), raw

    def raw(self, x: Tensor) -> Tensor:
        """Latents as the encoder makes them, on whatever scale training has left them."""
        if x.ndim != 4 or x.shape[1] != self.channels or any(side % self.factor for side in x.shape[2:]):
            raise ValueError(f"x of shape {tuple(x.shape)} was given; accepted: (B, {self.channels}, H, W) with H and "
                             f"W multiples of {self.factor}: pad the images")
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        return self.head_latent(self.down(self.stem(x)))

    def image(self, raw: Tensor) -> Tensor:
        """Images of raw latents."""
        return F.pixel_shuffle(self.head(self.up(self.stem_latent(raw))), 2)

    @torch.no_grad()
    def measure(self, x: Tensor, size: int = 500) -> "Autoencoder":
        """Take mean and std of each latent channel from images x, ``size`` at a time, and return self."""
        raw = torch.cat([self.raw(part) for part in x.split(size)]).double()
        self.mean.copy_(raw.mean((0, 2, 3))[:, None, None])
        self.std.copy_(raw.std((0, 2, 3))[:, None, None])
        return self

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Standardised latents of images."""
        return (self.raw(x) - self.mean) / self.std * 0.5

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Images of standardised latents."""
        return self.image(z / 0.5 * self.std + self.mean)


def autoencoder_loss(model, batch: tuple[Tensor, ...], noise: float = 1.0, penalty: float = 1e-4) -> Tensor:
    """Squared error of the reconstruction from noisy latents, plus ``penalty`` times the latents' mean square.

    The loss of a variational autoencoder whose posterior has the fixed std ``noise``: the noise asks for latents far
    apart, the penalty (the Kullback-Leibler divergence to a normal prior, up to a constant) holds them together.
    model: an `Autoencoder` or its wrapper; batch: a tuple that begins with images. Source: Kingma & Welling 2014, eq. 7
    and appendix B, with the variance held fixed.
    """
    x = batch[0]
    back, raw = model(x, noise)
    return (back - x).square().mean() + penalty * raw.square().mean()
