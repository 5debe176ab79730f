"""A diffusion transformer for images: (B, channels, size, size) -> the same."""
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .mlp import Conditioned, check_images

PRESETS = {
    "dit-xs": {"patch": 4, "width": 64, "depth": 4},
    "dit-s": {"patch": 4, "width": 192, "depth": 6},
    "dit-l": {"patch": 2, "width": 384, "depth": 8},
}


def patchify(x: Tensor, patch: int) -> Tensor:
    """Images (B, C, H, W) as tokens (B, H/patch * W/patch, C * patch^2), row by row; `unpatchify` undoes it."""
    return rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)


def unpatchify(tokens: Tensor, patch: int, rows: int) -> Tensor:
    """Tokens (B, rows * columns, C * patch^2) as images (B, C, rows * patch, columns * patch)."""
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, p=patch, q=patch)


def grid_positions(side: int, width: int) -> Tensor:
    """Where each of side x side tokens is: (side^2, width) cosines and sines, half for the row, half for the column.

    Token k of a row turns by k * 10000^(-4j / width) in its j-th pair (Vaswani et al. 2017, section 3.5, per axis).
    """
    angle = torch.arange(side)[:, None] * 1e4 ** -torch.linspace(0, 1, width // 4 + 1)[:-1]
    axis = torch.cat([angle.cos(), angle.sin()], dim=1)  # (side, width / 2)
    return torch.cat([axis.repeat_interleave(side, 0), axis.repeat(side, 1)], dim=1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """(B, N, width) times 1 + scale plus shift, both (B, width)."""
    return x * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """Attention, then an MLP, on tokens (B, N, width), each in a residual branch that begins closed (adaLN-zero).

    The embedding (B, width) shifts and scales what enters a branch, and gates what leaves it; the layer that makes
    these six vectors starts at zero, so the block starts as the identity. Source: Peebles & Xie 2023, section 3.2.
    """
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.film = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (three h c) -> three b h n c", three=3, h=self.heads)
        return self.out(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n c -> b n (h c)"))

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.film(F.silu(emb)).chunk(6, dim=1)
        x = x + gate[:, None] * self.attend(modulate(self.norm(x), shift, scale))
        return x + gate_mlp[:, None] * self.mlp(modulate(self.norm(x), shift_mlp, scale_mlp))


class DiT(Conditioned):
    """Diffusion transformer; call ``net(x, noise, cond=None)``.

    channels, size: of the images; patch: side of a token, in pixels; width, depth: of the transformer; heads: of
    attention (0: one for every 64 channels); classes: labels 0..classes-1 (0: unconditional). x (B, channels, size,
    size), noise (B,) of order one, e.g. log(sigma)/4, cond (B,) int64, -1 = no label, or None. Returns the shape of x;
    zero before training. 12 * depth * width^2 parameters or so, and half as many again that see the embedding only.
    Errors: a size that is no multiple of the patch; a width that is no multiple of 4 or of the heads.
    Source: Peebles & Xie 2023, 'Scalable diffusion models with transformers', with the noise told by `Fourier`.
    """
    def __init__(self, channels: int = 1, size: int = 32, patch: int = 4, width: int = 128, depth: int = 4,
                 heads: int = 0, classes: int = 0):
        super().__init__(width, classes)
        heads = heads or max(1, width // 64)
        if size % patch or width % 4 or width % heads:
            raise ValueError(f"DiT(size={size}, patch={patch}, width={width}, heads={heads}): the size must be a "
                             "multiple of the patch, the width a multiple of 4 and of the heads")
        self.channels, self.size, self.patch = channels, size, patch
        self.stem = nn.Linear(channels * patch**2, width)
        self.register_buffer("positions", grid_positions(size // patch, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.head_film, self.head = nn.Linear(width, 2 * width), nn.Linear(width, channels * patch**2)
        for p in [*self.head_film.parameters(), *self.head.parameters()]:
            nn.init.zeros_(p)

    def forward(self, x: Tensor, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        check_images(self, x)
        emb = self.embed(noise, cond, len(x))

        h = self.stem(patchify(x, self.patch)) + self.positions
        for block in self.blocks:
            h = block(h, emb)
        shift, scale = self.head_film(F.silu(emb)).chunk(2, dim=1)
        h = self.head(modulate(self.norm(h), shift, scale))
        return unpatchify(h, self.patch, self.size // self.patch)
