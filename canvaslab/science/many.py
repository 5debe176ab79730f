"""Many small nets trained at once: one seed is an anecdote, and ten small matrices cost little more than one."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class ManyMLP(nn.Module):
    """``copies`` independent SiLU MLPs for points, behind one ordinary net: ``net(x, noise, cond=None)``.

    x: (copies * B, dim) rows, the first B for copy 0, the next B for copy 1, ...; noise: (copies * B,) of order one;
    cond: unused. Returns like x. So a ``Denoiser`` around it, ``denoising_loss`` and every sampler serve all copies in
    one call; no copy sees another's rows or gradients. width: of the hidden layers; depth: how many there are.
    seed: copy k starts from weights that depend on (seed, k) only. ``net.only(k)`` is copy k as a net of its own.
    Errors: ValueError when the rows do not share out evenly.
    """

    def __init__(self, copies: int, dim: int, width: int = 64, depth: int = 3, seed: int = 0):
        super().__init__()
        if copies < 1 or depth < 1:
            raise ValueError(f"copies and depth must be 1 or more, got {copies} and {depth}")
        self.copies, self.dim = copies, dim
        sizes = [dim + 3, *[width] * depth, dim]
        starts = [_start(sizes, 1000003 * seed + k) for k in range(copies)]
        self.weights = nn.ParameterList(torch.stack(layer) for layer in zip(*starts, strict=True))
        self.biases = nn.ParameterList(torch.zeros(copies, 1, size) for size in sizes[1:])

    def forward(self, x: Tensor, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.dim or len(x) % self.copies:
            raise ValueError(f"x has shape {tuple(x.shape)}; accepted: ({self.copies} copies * B, {self.dim})")
        angle = 3 * noise[:, None]
        h = torch.cat([x, noise[:, None], angle.sin(), angle.cos()], 1).view(self.copies, -1, self.dim + 3)
        *hidden, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in hidden:
            h = nn.functional.silu(torch.baddbmm(bias, h, weight), inplace=not torch.is_grad_enabled())
        return torch.baddbmm(last[1], h, last[0]).flatten(0, 1)

    @torch.no_grad()
    def only(self, k: int) -> "ManyMLP":
        """A copy of net k alone, with weights of its own: it takes rows (B, dim)."""
        if not 0 <= k < self.copies:
            raise ValueError(f"there is no copy {k}; accepted: 0 to {self.copies - 1}")
        one = ManyMLP(1, self.dim, self.weights[0].shape[2], len(self.weights) - 1)
        for mine, theirs in zip(one.parameters(), self.parameters(), strict=True):
            mine.copy_(theirs[k : k + 1])
        return one.to(self.weights[0])


def _start(sizes: list[int], seed: int) -> list[Tensor]:
    """Weights (in, out) of one net, normal with std 1 / sqrt(in); the last layer is zero."""
    rng = torch.Generator().manual_seed(seed)
    layers = [torch.randn(a, b, generator=rng) / math.sqrt(a) for a, b in pairwise(sizes)]
    layers[-1].zero_()
    return layers


class SideBySide(nn.Module):
    """Any nets behind one, like `ManyMLP`: ``net(x, noise, cond=None)``, the first rows for net 0, the next for net 1.

    nets: each takes (B, *shape), noise (B,), cond (B,) or None. shape: of one sample, where rows come flat, (copies *
    B, dim); they go back flat. Slower than `ManyMLP`, one net after another, but for every architecture.
    Errors: ValueError when the rows do not share out evenly.
    """

    def __init__(self, nets: Iterable[nn.Module], shape: Sequence[int]):
        super().__init__()
        self.nets, self.shape = nn.ModuleList(nets), tuple(shape)
        self.copies = len(self.nets)

    def forward(self, x: Tensor, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        if len(x) % self.copies or x[0].numel() != math.prod(self.shape):
            raise ValueError(f"x has shape {tuple(x.shape)}; accepted: ({self.copies} copies * B, "
                             f"{math.prod(self.shape)})")  # fmt: skip
        conds = [None] * self.copies if cond is None else cond.chunk(self.copies)
        parts = zip(self.nets, x.view(-1, *self.shape).chunk(self.copies), noise.chunk(self.copies), conds, strict=True)
        return torch.cat([net(*own) for net, *own in parts]).view_as(x)
