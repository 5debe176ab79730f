"""The shapes of the mode interpolation paper: three columns, each empty or with its own shape. All is known exactly.

A column is one of a few states (blank, or its shape at one of the positions), and columns are independent but for one
rule: no blank pictures. So the support can be listed, decided and counted, and its ideal denoiser is closed form.
Source: Aithal et al. 2024 (64 x 64, three columns of 21 pixels, 5000 pictures).
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .dataset import Dataset, generator

KINDS = ("triangle", "square", "pentagon")  # the shape of column 0, 1, 2
CLASSES = tuple("+".join(kind for k, kind in enumerate(KINDS) if bits >> k & 1) for bits in range(1, 8))


class Canvas(NamedTuple):
    """Pixels: rows and columns of the picture, the width of one of its three columns, the side of a shape."""

    rows: int
    columns: int
    width: int
    side: int


CANVASES = {16: Canvas(16, 24, 8, 6), 64: Canvas(64, 64, 21, 15)}


def canvas(size: int) -> Canvas:
    """The canvas with so many rows: 16 (16 x 24 pixels, 39 303 pictures) or 64 (64 x 64, the paper's)."""
    if size not in CANVASES:
        raise ValueError(f"there is no canvas of {size!r} rows; accepted: {', '.join(map(str, CANVASES))}")
    return CANVASES[size]


@cache
def templates(size: int = 16) -> Tensor:
    """The three shapes, each filling a box, bool (3, side, side).

    A pixel is set where its centre is at most a quarter of a pixel outside the outline: a triangle on its base, a
    square, and a regular pentagon on its base, stretched to the box.
    """
    side = canvas(size).side
    row, column = torch.arange(side)[:, None], torch.arange(side)[None]
    off_axis, height = (column - (side - 1) / 2).abs(), (row + 0.5) / side
    shoulder, base = 0.3820, 0.3090  # of a regular pentagon: where it is widest, and half its base over its width
    roof, wall = height / 2 / shoulder, 0.5 - (height - shoulder) / (1 - shoulder) * (0.5 - base)
    pentagon = off_axis <= side * torch.minimum(roof, wall) + 0.25
    return torch.stack([off_axis <= (row + 1) / 2, torch.ones_like(pentagon), pentagon])


@cache
def placed(size: int = 16) -> Tensor:
    """Every place of every shape in a column, bool (3, places, rows, width): 33 places on 16 rows, 350 on 64."""
    rows, _, width, side = canvas(size)
    down, right = rows - side + 1, width - side + 1
    states = torch.zeros(3, down, right, rows, width, dtype=torch.bool)
    for top in range(down):
        for left in range(right):
            states[:, top, left, top : top + side, left : left + side] = templates(size)
    return states.flatten(1, 2)


def _join(size: int, parts: Tensor) -> Tensor:
    """Three columns (N, 3, rows, width) -> pictures (N, 1, rows, columns); spare pixels at the right are background."""
    joined = parts.movedim(1, 2).flatten(2)
    return torch.nn.functional.pad(joined, (0, canvas(size).columns - joined.shape[2]))[:, None]


def _split(size: int, x: Tensor) -> Tensor:
    """Pictures (N, 1, rows, columns) -> their columns (N, 3, rows, width)."""
    rows, columns, width, _ = canvas(size)
    if x.shape[1:] != (1, rows, columns):
        raise ValueError(f"x has shape {tuple(x.shape)}; accepted for size={size}: (N, 1, {rows}, {columns})")
    return x[:, 0, :, : 3 * width].unflatten(2, (3, width)).movedim(2, 1)


def _draw(size: int, present: Tensor, place: Tensor) -> Tensor:
    parts = torch.stack([placed(size)[k][place[:, k]] & present[:, k, None, None] for k in range(3)], 1)
    return _join(size, parts).byte() * 255


def shapes(name: str, split: str, size: int = 16, n: int = 5000, seed: int = 0) -> Dataset:
    """n pictures, uint8 (n, 1, rows, columns) of 0 and 255, a function of (split, size, n, seed).

    Each column holds its own shape (0 triangle, 1 square, 2 pentagon) with probability 1/2, at a place drawn evenly;
    blank pictures are dropped. So no kind is there twice, or outside its column. y: which kinds are present.
    size: rows, 16 or 64. Source: Aithal et al. 2024; the shapes' outlines and sizes are ours.
    """
    if n < 1:
        raise ValueError(f"n is {n}; accepted: integers from 1")
    rng = generator(seed, name, split, str(size))
    bits = torch.randint(1, 8, (n,), generator=rng)  # seven equally likely sets
    present = (bits[:, None] >> torch.arange(3) & 1).bool()
    place = torch.randint(placed(size).shape[1], (n, 3), generator=rng)
    axes = ("image", "channel", "row", "column")
    return Dataset(_draw(size, present, place), bits - 1, CLASSES, axes, name, split, "drawn here", "canvaslab")


def every(size: int = 16) -> tuple[Tensor, Tensor]:
    """The whole support: all 39 303 pictures of the small canvas, uint8 (N, 1, 16, 24), and their probabilities (N,).

    Errors: ValueError for the large canvas, which has 43 million.
    """
    if size != 16:
        raise ValueError(f"size={size!r} has {(placed(size).shape[1] + 1) ** 3 - 1:,} pictures; accepted: 16")
    places = placed(size).shape[1]
    state = torch.cartesian_prod(*[torch.arange(places + 1)] * 3)[1:]  # 0 is blank; the first of all is dropped
    present = state > 0
    weight = (1 / places) ** present.sum(1).double() / 7
    return _draw(size, present, (state - 1).clamp_min(0)), weight


@dataclass(frozen=True)
class Ideal:
    """The exact denoiser of all possible pictures: ``ideal(x, sigma, cond=None) -> E[x0 | x]``. cond is unused.

    size: rows, 16 or 64. low, high: the pixel values of background and shapes in your units (2 numbers).
    Each column by itself is a mixture of its 34 (or 351) states; dropping the blank picture ties them: with b_c the
    probability that column c is blank, a shape is there with probability (1 - b_c) / (1 - b_0 b_1 b_2).
    """

    size: int = 16
    low: float = -1.0
    high: float = 1.0

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Tensor | None = None) -> Tensor:
        parts, step = _split(self.size, x) - self.low, self.high - self.low
        masks = placed(self.size).flatten(2).to(x)  # (3, places, rows * width)
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x)).view(-1, 1, 1)
        fit = torch.einsum("bcp,ckp->bck", parts.flatten(2), masks) * step - masks.sum(2) * (step**2 / 2)
        odds = fit / sigma.square()  # log(likelihood of a place / likelihood of blank)
        log_odds = odds.logsumexp(2) - np.log(masks.shape[1])  # a shape or none were equally likely before
        log_any = _log_any(log_odds)
        share = (torch.nn.functional.logsigmoid(log_odds) - log_any[:, None]).exp()  # (B, 3)
        mean = torch.einsum("bck,ckp->bcp", odds.softmax(2), masks) * share[..., None]
        return self.low + step * _join(self.size, mean.view_as(parts))


def _log_any(log_odds: Tensor) -> Tensor:
    """log(1 - product over columns of P(blank)), also where every shape is next to impossible, (B,)."""
    blank = torch.nn.functional.softplus(log_odds).sum(1)  # minus its log
    tiny = torch.nn.functional.logsigmoid(log_odds).logsumexp(1)  # the first order, exact as the odds go to 0
    return torch.where(blank < 1e-6, tiny, (-torch.expm1(-blank.clamp_min(1e-12))).log())


class Count(NamedTuple):
    """What pictures show: shapes (N, column, kind) int64, and fragments (N, column), components that are no shape."""

    shapes: Tensor
    fragments: Tensor

    @property
    def broken(self) -> Tensor:
        """(N,) at least one component is not a shape."""
        return self.fragments.sum(1) > 0

    @property
    def twice(self) -> Tensor:
        """(N,) some kind is there more than once, wherever: the paper's impossible pictures."""
        return (self.shapes.sum(1) > 1).any(1)

    @property
    def misplaced(self) -> Tensor:
        """(N,) some shape stands in a column that is not its own."""
        return (self.shapes.sum((1, 2)) - self.shapes.diagonal(dim1=1, dim2=2).sum(1)) > 0

    @property
    def blank(self) -> Tensor:
        """(N,) nothing is there."""
        return (self.shapes.sum((1, 2)) + self.fragments.sum(1)) == 0

    @property
    def possible(self) -> Tensor:
        """(N,) in the support: whole shapes only, each at most once and in its column, and at least one."""
        return ~(self.broken | self.twice | self.misplaced | self.blank)


def count(x: Tensor, size: int = 16) -> Count:
    """Count the shapes in pictures by connected components. x: (N, 1, rows, columns), uint8, or floats in [0, 1].

    Pixels above one half are on. Components (neighbours share an edge or a corner) are found in each column by itself:
    shapes that touch across a border stay two, and one that straddles it is two fragments. A component is the kind
    that it differs least from, at its best place, if by fewer than half the pixels in which the two kinds most alike
    differ; else it is a fragment.
    """
    from scipy.ndimage import label

    on = _split(size, x.cpu() > (127 if x.dtype == torch.uint8 else 0.5)).flatten(0, 1).numpy()  # (N * 3, rows, width)
    apart = np.zeros((3, 3, 3), dtype=int)
    apart[1] = 1  # connected within a column, never to the next one
    labels, total = label(on, structure=apart)
    where = np.nonzero(labels)
    which = labels[where] - 1
    components = torch.zeros(total, on.shape[1] * on.shape[2])
    components[which, where[1] * on.shape[2] + where[2]] = 1
    column = torch.zeros(total, dtype=torch.int64)
    column[which] = torch.from_numpy(where[0])
    kind, whole = _recognise(size, components)
    seen = torch.zeros(len(on), 3, dtype=torch.int64)
    seen.index_put_((column[whole], kind[whole]), torch.ones(int(whole.sum()), dtype=torch.int64), accumulate=True)
    fragments = torch.bincount(column[~whole], minlength=len(on))
    return Count(seen.view(len(x), 3, 3), fragments.view(len(x), 3))


def _recognise(size: int, components: Tensor) -> tuple[Tensor, Tensor]:
    """Kind of each component (C, pixels of a column), (C,), and whether it is close enough to be one, (C,)."""
    masks = placed(size).flatten(2).float()
    both = torch.einsum("ip,ckp->ick", components, masks)
    differ = components.sum(1)[:, None, None] + masks.sum(2) - 2 * both  # whole numbers, exact in float32
    least, kind = differ.amin(2).min(1)
    return kind, least < tolerance(size)


@cache
def tolerance(size: int = 16) -> float:
    """Half the number of pixels in which the two most similar kinds differ, wherever they are put."""
    kinds = placed(size).flatten(2).float()
    middle = kinds[:, kinds.shape[1] // 2]  # somewhere off the borders
    both = torch.einsum("ip,ckp->ick", middle, kinds)
    differ = (middle.sum(1)[:, None, None] + kinds.sum(2) - 2 * both).amin(2)
    return float(differ[~torch.eye(3, dtype=torch.bool)].min()) / 2
