"""A net for points: (B, dim) -> (B, dim)."""
import math

import torch
from torch import Tensor, nn


class Fourier(nn.Module):
    """Cosines and sines of a scalar: (B,) -> (B, width). Fixed frequencies, `lo` to `hi` radians per unit, even in log.

    The scalar should be of order one, such as log(sigma)/4 or a flow time. Source: Karras et al. 2022, app. F.6,
    with evenly spaced instead of random frequencies.
    """
    def __init__(self, width: int, lo: float = 0.5, hi: float = 32.0):
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f"Fourier(width={width}): the width must be even and at least 2")
        self.register_buffer("frequencies", torch.logspace(math.log2(lo), math.log2(hi), width // 2, base=2.0))

    def forward(self, noise: Tensor) -> Tensor:
        angle = noise[:, None] * self.frequencies.to(noise.dtype)
        waves = torch.cat([angle.cos(), angle.sin()], dim=1) * math.sqrt(2)  # unit mean square
        return waves.to(self.frequencies.dtype)  # the weights': noise may be told more exactly than the net computes


class Labels(nn.Module):
    """Class embedding (B,) -> (B, width) with one extra row for 'no label', which is written -1."""
    def __init__(self, classes: int, width: int):
        super().__init__()
        self.classes = classes
        self.embed = nn.Embedding(classes + 1, width)

    def forward(self, cond: Tensor | None, batch: int) -> Tensor:
        if cond is None:
            return self.embed.weight[-1].expand(batch, -1)
        return self.embed(cond.long().remainder(self.classes + 1))  # -1 -> the last row


def check_images(net: nn.Module, x: Tensor) -> None:
    """One clear error for images that a net of ``channels`` and ``size`` was not made for."""
    if x.shape[1:] != (net.channels, net.size, net.size):
        raise ValueError(f"x of shape {tuple(x.shape)} was given to a {type(net).__name__} for images of shape "
                         f"(B, {net.channels}, {net.size}, {net.size}): resize them, or make the net for them")


class Conditioned(nn.Module):
    """A net that is told the noise level and, if it has classes, a label: both in one embedding (B, embedding)."""
    def __init__(self, embedding: int, classes: int):
        super().__init__()
        self.classes = classes
        self.embed_noise = nn.Sequential(Fourier(embedding), nn.Linear(embedding, embedding), nn.SiLU())
        self.embed_labels = Labels(classes, embedding) if classes else None

    def embed(self, noise: Tensor, cond: Tensor | None, batch: int) -> Tensor:
        """noise (batch,), cond (batch,) or None -> (batch, embedding); one clear error for labels it cannot take."""
        if cond is not None and (self.classes == 0 or cond.shape != (batch,)):
            have = "this net was made without classes" if self.classes == 0 else f"the batch has {batch} samples"
            raise ValueError(f"cond of shape {tuple(cond.shape)} was given, but {have}: pass (B,) integer labels "
                             "0..classes-1 (-1: no label) to a net made with classes=..., or cond=None")
        emb = self.embed_noise(noise)
        return emb if self.embed_labels is None else emb + self.embed_labels(cond, batch)


class Block(nn.Module):
    """Pre-norm residual block; the embedding shifts and scales the hidden units."""
    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.film = nn.Linear(embedding, 4 * width)
        self.act = nn.SiLU()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.film(emb).chunk(2, dim=1)
        return x + self.out(self.act(self.into(self.norm(x)) * (1 + scale) + shift))


class MLP(Conditioned):
    """Residual MLP for points; call ``net(x, noise, cond=None)``.

    dim: coordinates of a point; width: of the hidden layers; depth: residual blocks; classes: labels 0..classes-1
    (0: unconditional). x (B, dim), noise (B,) of order one, cond (B,) int64 with -1 = no label, or None.
    Returns (B, dim); zero before training. Pure: safe under `vmap`, `functional_call` and in float64.
    """
    def __init__(self, dim: int, width: int = 128, depth: int = 3, classes: int = 0):
        embedding = max(2, width // 2 * 2)
        super().__init__(embedding, classes)
        self.dim = dim
        self.stem = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(Block(width, embedding) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        if x.shape[-1] != self.dim or x.ndim != 2:
            raise ValueError(f"x of shape {tuple(x.shape)} was given to MLP(dim={self.dim}): pass (B, {self.dim})")
        emb = self.embed(noise, cond, len(x))
        h = self.stem(x)
        for block in self.blocks:
            h = block(h, emb)
        return self.head(self.norm(h))
