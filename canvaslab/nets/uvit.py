"""A U-ViT for large images: convolutions where pixels are many, a transformer where they are few."""
from itertools import pairwise

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .mlp import Conditioned, check_images
from .transformer import Block as Transformer
from .transformer import grid_positions
from .unet import Block, conv, norm, zero


class UViT(Conditioned):
    """Residual U-ViT; call ``net(x, noise, cond=None)``.

    ``patch`` x ``patch`` pixels become channels; each level has one residual block on the way down, one on the way up,
    and half the resolution of the one before; below the last, ``depth`` transformer blocks of ``width`` channels. What
    a level passed down is added to what comes up (one skip a level, none between blocks, so nothing is concatenated).
    channels, size: of the images; widths: channels of the convolutional levels; heads: of attention (0: one for every
    32 channels); classes: labels 0..classes-1 (0: unconditional). x (B, channels, size, size), noise (B,) of order
    one, e.g. log(sigma)/4, cond (B,) int64, -1 = no label, or None. Returns the shape of x; zero before training.
    Errors: a size that cannot be halved often enough; widths that are not multiples of 8, or a width not of its heads.
    Source: Hoogeboom et al. 2023 (simple diffusion: U-ViT), Hoogeboom et al. 2024 (SiD2: one residual skip a level).
    """
    def __init__(self, channels: int = 1, size: int = 64, widths: tuple[int, ...] = (32,), width: int = 64,
                 depth: int = 3, heads: int = 0, classes: int = 0, patch: int = 4):
        super().__init__(width, classes)
        heads, multiple = heads or max(1, width // 32), patch * 2 ** len(widths)
        if size % multiple:
            raise ValueError(f"UViT(size={size}, patch={patch}, {len(widths)} widths): the size must be a multiple of "
                             f"patch * 2^levels = {multiple}; pad the images, or use fewer widths or a smaller patch")
        if any(w % 8 for w in (*widths, width)) or width % heads:
            raise ValueError(f"UViT(widths={tuple(widths)}, width={width}, heads={heads}): every width must be a "
                             "multiple of 8, and the transformer's of its heads")
        self.channels, self.size, self.patch = channels, size, patch
        wide = (*widths, width)
        self.stem = conv(channels * patch**2, wide[0])
        self.down = nn.ModuleList(Block(w, w, width, 0.0) for w in widths)
        self.shrink = nn.ModuleList(conv(a, b, stride=2) for a, b in pairwise(wide))
        self.register_buffer("positions", grid_positions(size // multiple, width), persistent=False)
        self.middle = nn.ModuleList(Transformer(width, heads) for _ in range(depth))
        self.grow = nn.ModuleList(nn.Sequential(nn.Upsample(scale_factor=2), conv(b, a)) for a, b in pairwise(wide))
        self.up = nn.ModuleList(Block(w, w, width, 0.0) for w in widths)
        self.head = nn.Sequential(norm(wide[0]), nn.SiLU(), zero(conv(wide[0], channels * patch**2)))

    def forward(self, x: Tensor, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        check_images(self, x)
        emb = self.embed(noise, cond, len(x))

        h, skips = self.stem(F.pixel_unshuffle(x, self.patch)), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            h = block(h, emb)
            skips.append(h)
            h = shrink(h)
        side = h.shape[-1]
        tokens = rearrange(h, "b c y x -> b (y x) c") + self.positions
        for block in self.middle:
            tokens = block(tokens, emb)
        h = h + rearrange(tokens, "b (y x) c -> b c y x", y=side)
        for block, grow in zip(reversed(self.up), reversed(self.grow), strict=True):
            h = block(skips.pop() + grow(h), emb)
        return F.pixel_shuffle(self.head(h), self.patch)
