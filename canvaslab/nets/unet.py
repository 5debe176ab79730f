"""A U-Net for images: (B, channels, size, size) -> the same."""
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .mlp import Conditioned, check_images

PRESETS = {
    "xs": {"widths": (16, 32)},
    "s": {"widths": (24, 48)},
    "m": {"widths": (64, 128)},
    "l": {"widths": (128, 256), "blocks": 2},
    "xl": {"widths": (192, 384, 384), "blocks": 2, "size": 32},
}


def conv(into: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(into, out, kernel, stride=stride, padding=kernel // 2)


def zero(module: nn.Module) -> nn.Module:
    """Start a layer at zero, so that a residual branch begins as the identity."""
    for p in module.parameters():
        nn.init.zeros_(p)
    return module


def norm(width: int, affine: bool = True) -> nn.GroupNorm:
    return nn.GroupNorm(width // 8, width, affine=affine)


class Block(nn.Module):
    """Residual block (into -> out channels); the embedding scales and shifts it after the second norm (FiLM)."""
    def __init__(self, into: int, out: int, embedding: int, dropout: float):
        super().__init__()
        self.norm_in, self.conv_in = norm(into), conv(into, out)
        self.norm_out, self.conv_out = norm(out, affine=False), zero(conv(out, out))
        self.film = nn.Linear(embedding, 2 * out)
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Identity() if into == out else conv(into, out, kernel=1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = rearrange(self.film(emb), "b (two c) -> two b c 1 1", two=2)
        h = F.silu(torch.addcmul(shift, self.norm_out(h), 1 + scale))
        return self.skip(x) + self.conv_out(self.dropout(h))


class Attention(nn.Module):
    """Residual self-attention over all pixels, heads of about 32 channels."""
    def __init__(self, width: int):
        super().__init__()
        self.heads = next(h for h in range(max(1, width // 32), 0, -1) if width % h == 0)
        self.norm, self.qkv = norm(width), conv(width, 3 * width, kernel=1)
        self.out = zero(conv(width, width, kernel=1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(self.norm(x)), "b (three h c) y x -> three b h (y x) c", three=3, h=self.heads)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(rearrange(h, "b h (y x) c -> b (h c) y x", y=x.shape[2]))


class UNet(Conditioned):
    """U-Net on pixel blocks; call ``net(x, noise, cond=None)``.

    A pixel-unshuffle stem (``patch`` x ``patch`` pixels become channels) is followed by one level per width, each at
    half the resolution of the one before: ``blocks`` residual blocks down, ``blocks + 1`` up, attention in the middle.
    channels, size: of the images; widths: channels of each level; classes: labels 0..classes-1 (0: unconditional);
    embedding: width of the noise and label embedding; dropout: in [0, 1).
    x (B, channels, size, size), noise (B,) of order one, e.g. log(sigma)/4, cond (B,) int64, -1 = no label, or None.
    Returns the shape of x; zero before training. Convolutions are stored channels_last.
    Errors: a size that cannot be halved often enough; widths that are not multiples of 8.

    `PRESETS`: ``UNet(**PRESETS["s"], classes=10)``; parameters without classes:

    ====  =========================================  ==========
    name  arguments                                  parameters
    ====  =========================================  ==========
    xs    widths=(16, 32)                                0.20 M
    s     widths=(24, 48)                                0.39 M
    m     widths=(64, 128)                               2.39 M
    l     widths=(128, 256), blocks=2                   13.17 M
    xl    widths=(192, 384, 384), blocks=2, size=32     50.47 M
    ====  =========================================  ==========
    """
    def __init__(self, channels: int = 1, size: int = 28, widths: tuple[int, ...] = (16, 32), classes: int = 0,
                 patch: int = 2, blocks: int = 1, embedding: int = 128, dropout: float = 0.0):
        super().__init__(embedding, classes)
        multiple = patch * 2 ** (len(widths) - 1)
        if size % multiple:
            raise ValueError(f"UNet(size={size}, patch={patch}, {len(widths)} widths): the size must be a multiple of "
                             f"patch * 2^(levels - 1) = {multiple}; pad the images, or use fewer widths or patch=1")
        if any(w % 8 for w in widths):
            raise ValueError(f"UNet(widths={tuple(widths)}): every width must be a multiple of 8")
        self.channels, self.size, self.patch = channels, size, patch
        self.stem = conv(channels * patch**2, widths[0])

        self.down, self.up, width, skips = nn.ModuleList(), nn.ModuleList(), widths[0], [widths[0]]
        for level, w in enumerate(widths):
            if level:
                self.down.append(conv(width, w, stride=2))
                width = w
                skips.append(w)
            for _ in range(blocks):
                self.down.append(Block(width, w, embedding, dropout))
                skips.append(w)
        self.middle = nn.ModuleList([Block(width, width, embedding, dropout), Attention(width)])
        for level, w in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(Block(width + skips.pop(), w, embedding, dropout))
                width = w
            if level:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), conv(width, width)))
        self.head = nn.Sequential(norm(width), nn.SiLU(), zero(conv(width, channels * patch**2)))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        check_images(self, x)
        emb = self.embed(noise, cond, len(x))

        h = self.stem(F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last))
        skips = [h]
        for layer in self.down:
            h = layer(h, emb) if isinstance(layer, Block) else layer(h)
            skips.append(h)
        block, attention = self.middle
        h = attention(block(h, emb))
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), emb) if isinstance(layer, Block) else layer(h)
        return F.pixel_shuffle(self.head(h), self.patch)
